"""The options of a dataset, with their defaults and checks; nothing heavy is imported here."""

from dataclasses import dataclass

from dogbreed.platform.errors import UnknownName

CROPS = ("box", "none", "defer")
OBJECTS = ("largest", "first", "each")
SPLIT_MODES = ("official", "stratified")
RESAMPLES = ("lanczos", "area")


@dataclass(frozen=True)
class DatasetOptions:
    """What determines a dataset besides its source; every field enters the configuration's hash."""

    size: int = 224  # shorter side of a crop, pixels
    crop: str = "box"
    margin: float = 0.1  # share of the box's width and height added on each side
    objects: str = "largest"
    resample: str = "lanczos"
    square: bool = False  # squash each crop to a square, so that training has nothing to resize
    split: str = "official"
    seed: int = 0  # of the validation carve
    keep_leaks: bool = False  # leave copies of test photos in train and validation
    breeds: tuple[str, ...] = ()  # all when empty
    per_breed: int | None = None  # at most so many photos of each breed in train and in test
    shards: int | None = None  # about so many in all; None: 512 photos each

    def __post_init__(self) -> None:
        choices = ((self.crop, CROPS), (self.objects, OBJECTS), (self.resample, RESAMPLES), (self.split, SPLIT_MODES))
        for value, known in choices:
            if value not in known:
                raise UnknownName(f"unknown value {value!r}; known are {', '.join(known)}")
        if self.square and self.crop == "defer":
            raise UnknownName("square needs the crop now; choose crop box or none")
        if not 16 <= self.size <= 1024:
            raise UnknownName(f"size {self.size} is outside 16 to 1024 pixels")
        if not 0 <= self.margin <= 1:
            raise UnknownName(f"margin {self.margin} is outside 0 to 1 box sides")
        for name, count in (("per-breed", self.per_breed), ("shards", self.shards)):
            if count is not None and count < 1:
                raise UnknownName(f"{name} {count} is below 1")
