"""Where photos come from: each source lists its photos with boxes and official split, and reads them."""

from dataclasses import dataclass
from typing import Protocol

from dogbreed.core.errors import UsageError
from dogbreed.core.storage import Store
from dogbreed.data.boxes import Box


@dataclass(frozen=True)
class SourceImage:
    """A photo as its source describes it, before anybody has decoded it."""

    key: str  # <breed folder>/<file name without extension>
    breed: str  # <synset>-<Breed>
    split: str | None  # the official one: train, validation or test
    boxes: tuple[Box, ...] = ()  # none: the whole photo is used
    invalid_reason: str | None = None  # why it goes to the quarantine without being read

    @property
    def filename(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


class Source(Protocol):
    """A set of photos with a digest of everything that they are made of."""

    digest: str
    photos: list[SourceImage]

    def read(self, image: SourceImage) -> bytes:
        """Return the encoded photo; CorruptData when it is not what the index says."""


def open_source(name: str, raw: Store) -> Source:
    """Return the named source over a raw archive; synthetic images have the published layout."""
    from dogbreed.data.raw.cifar import LAYOUTS, Cifar
    from dogbreed.data.raw.image_folder import ImageFolder
    from dogbreed.data.raw.stanford_dogs import StanfordDogs

    if name not in SOURCES:
        raise UsageError(f"unknown source {name!r}; known are {', '.join(SOURCES)}")
    if name in LAYOUTS:
        return Cifar(raw, name)
    return ImageFolder(raw) if name == "image-folder" else StanfordDogs(raw)


DOWNLOADABLE = ("stanford-dogs", "synthetic")  # what jobs.fetch brings
SOURCES = (*DOWNLOADABLE, "image-folder", "cifar10", "cifar100")
