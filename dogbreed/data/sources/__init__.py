"""Where photos come from: each source lists its photos with boxes and official split, and reads them."""

from dataclasses import dataclass
from typing import Protocol

from dogbreed.data.annotation import Box
from dogbreed.platform.errors import UnknownName
from dogbreed.platform.storage import Store


@dataclass(frozen=True)
class Photo:
    """A photo as its source describes it, before anybody has decoded it."""

    key: str  # <breed folder>/<file name without extension>
    breed: str  # <synset>-<Breed>
    split: str | None  # the official one: train, validation or test
    boxes: tuple[Box, ...] = ()  # none: the whole photo is used
    problem: str | None = None  # why it goes to the quarantine without being read

    @property
    def filename(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


class Source(Protocol):
    """A set of photos with a digest of everything that they are made of."""

    digest: str
    photos: list[Photo]

    def read(self, photo: Photo) -> bytes:
        """Return the encoded photo; DamagedData when it is not what the index says."""


def open_source(name: str, raw: Store) -> Source:
    """Return the named source over a raw archive; synthetic images have the published layout."""
    from dogbreed.data.sources.cifar import LAYOUTS, Cifar
    from dogbreed.data.sources.image_folder import ImageFolder
    from dogbreed.data.sources.stanford_dogs import StanfordDogs

    if name not in NAMES:
        raise UnknownName(f"unknown source {name!r}; known are {', '.join(NAMES)}")
    if name in LAYOUTS:
        return Cifar(raw, name)
    return ImageFolder(raw) if name == "image-folder" else StanfordDogs(raw)


FETCHED = ("stanford-dogs", "synthetic")  # what jobs.fetch brings
NAMES = (*FETCHED, "image-folder", "cifar10", "cifar100")
