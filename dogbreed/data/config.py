"""The configuration of a dataset with its defaults and checks; imports nothing heavy, for fast --help."""

from dataclasses import dataclass
from typing import Any

from dogbreed.core.errors import UsageError
from dogbreed.core.names import DEFAULT_NAME, require_valid_name

CROPS = ("box", "none", "defer")
OBJECTS = ("largest", "first", "each")
SPLIT_MODES = ("official", "stratified")
DUPLICATES = ("separate", "keep", "drop")
RESAMPLES = ("lanczos", "area")
RESIZE_MODES = ("keep-aspect", "squash")
TTA = ("none", "flip", "flip-shift")  # kinds of test-time augmentation
DATASET_NAMES = {  # by source; images of one's own have none
    "stanford-dogs": DEFAULT_NAME,
    "synthetic": DEFAULT_NAME,
    "cifar10": "cifar10",
    "cifar100": "cifar100",
}


@dataclass(frozen=True)
class DatasetConfig:
    """Everything that determines a dataset besides its source; every field is part of the configuration id."""

    size: int = 224  # shorter side of a crop, pixels
    crop: str = "box"
    margin: float = 0.1  # fraction of the box's width and height added on each side
    objects: str = "largest"
    resample: str = "lanczos"
    resize_mode: str = "keep-aspect"  # squash: each crop becomes a square, so that training need not resize
    split: str = "official"
    seed: int = 0  # of what is sampled for validation (and test, if stratified)
    duplicates: str = "separate"  # exclude copies of published test images, or keep all, or one of each
    classes: tuple[str, ...] = ()  # all when empty
    per_class: int | None = None  # at most so many images of each class in train and in test
    shards: int | None = None  # about so many in all; None: 512 images each
    name: str = DEFAULT_NAME  # of the dataset; has its own key in the manifest

    def __post_init__(self) -> None:
        try:
            require_valid_name(self.name)
        except ValueError as error:
            raise UsageError(f"dataset name {error}") from error
        choices = (
            (self.crop, CROPS),
            (self.objects, OBJECTS),
            (self.resample, RESAMPLES),
            (self.resize_mode, RESIZE_MODES),
            (self.split, SPLIT_MODES),
            (self.duplicates, DUPLICATES),
        )
        for value, known in choices:
            if value not in known:
                raise UsageError(f"unknown value {value!r}; known are {', '.join(known)}")
        if self.resize_mode == "squash" and self.crop == "defer":
            raise UsageError("resize mode squash cannot be combined with crop defer; choose crop box or none")
        if not 16 <= self.size <= 1024:
            raise UsageError(f"size {self.size} is outside 16 to 1024 pixels")
        if not 0 <= self.margin <= 1:
            raise UsageError(f"margin {self.margin} is outside 0 to 1 box sides")
        for name, count in (("per-class", self.per_class), ("shards", self.shards)):
            if count is not None and count < 1:
                raise UsageError(f"{name} {count} is below 1")

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest's `config`: all fields but the name.

        A field that is added later is left out while it has its default, so that digests of older datasets stay.
        """
        return {
            "size": self.size,
            "crop": self.crop,
            "margin": self.margin,
            "objects": self.objects,
            "resample": self.resample,
            "resize_mode": self.resize_mode,
            "split": self.split,
            "seed": self.seed,
            "duplicates": self.duplicates,
            "classes": list(self.classes),
            "per_class": self.per_class,
            "shards": self.shards,
        }
