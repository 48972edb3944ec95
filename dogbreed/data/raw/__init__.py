"""Sources of raw images: each lists its images with boxes and published split, and reads them."""

from dataclasses import dataclass
from typing import Protocol

from dogbreed.core.errors import UsageError
from dogbreed.core.storage import Store
from dogbreed.data.boxes import Box
from dogbreed.data.raw.census import Ignored
from dogbreed.data.raw.labels import LabelsOption


@dataclass(frozen=True)
class SourceImage:
    """An image as its source describes it, before it is read."""

    source_id: str  # unique in the source, for example <class folder>/<file name without extension>
    class_name: str  # for example <WordNet id>-<breed>
    split: str | None  # the published one: train, validation or test
    boxes: tuple[Box, ...] = ()  # none: the whole image is used
    invalid_reason: str | None = None  # why it is quarantined without being read

    @property
    def filename(self) -> str:
        """The last part of the source id."""
        return self.source_id.rpartition("/")[2]


class Source(Protocol):
    """A set of images with a digest of everything that they are made of."""

    digest: str
    images: list[SourceImage]
    ignored: Ignored  # the other files below the prefix, or members of the archives

    def read(self, image: SourceImage) -> bytes:
        """Return the encoded image; CorruptData if it differs from the source's index."""


def open_source(name: str, raw: Store, labels: LabelsOption | None = None) -> Source:
    """Return the named source over a raw prefix; synthetic images have the published layout.

    labels: tables that name the classes of an image folder.
    """
    from dogbreed.data.raw.cifar import LAYOUTS, Cifar
    from dogbreed.data.raw.image_folder import ImageFolder
    from dogbreed.data.raw.stanford_dogs import StanfordDogs

    if name not in SOURCES:
        raise UsageError(f"unknown source {name!r}; known are {', '.join(SOURCES)}")
    if name in LAYOUTS:
        return Cifar(raw, name)
    if labels and name != "image-folder":
        raise UsageError("--labels needs --source image-folder; the other sources name the classes themselves")
    return ImageFolder(raw, labels) if name == "image-folder" else StanfordDogs(raw)


DOWNLOADABLE = ("stanford-dogs", "synthetic")  # what jobs.fetch brings
SOURCES = (*DOWNLOADABLE, "image-folder", "cifar10", "cifar100")
