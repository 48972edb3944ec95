"""Which photos go into which shard of which split: a function of source and options alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import ceil

from dogbreed.data import image
from dogbreed.data.dataset import FORMAT, Copy, Rejected, config_id
from dogbreed.data.leakage import groups, leaked
from dogbreed.data.options import DatasetOptions
from dogbreed.data.parts import part_key
from dogbreed.data.sources import Photo, Source
from dogbreed.data.split import SPLITS, TEST, TRAIN, VALIDATION, assign, first_of_each, rank
from dogbreed.platform.errors import DataContradiction, UnknownName

PHOTOS_PER_SHARD = 512  # 12 MB at 224 px: one PUT, few requests, and room for shuffling whole shards
NOT_ASKED = "not asked for"  # why photos are left out
LEAKED = {TEST: "copies of test photos", VALIDATION: "copies of validation photos"}


@dataclass(frozen=True)
class Plan:
    """Which photos go into which shard."""

    options: DatasetOptions
    source: Source = field(repr=False)
    classes: tuple[str, ...]
    shards: tuple[tuple[str, tuple[Photo, ...]], ...]  # (split, photos)
    quarantine: tuple[Rejected, ...]  # photos that are not even read
    dropped: dict[str, int]  # photos that were left out, by reason
    copies: tuple[Copy, ...]

    @cached_property
    def config_id(self) -> str:
        """Name of this configuration; parts are kept below it."""
        return config_id(FORMAT, asdict(self.options), self.source.digest, image.versions())

    @property
    def photos(self) -> list[Photo]:
        """The photos of all shards."""
        return [photo for _, photos in self.shards for photo in photos]

    def part_key(self, part: int | str) -> str:
        """Return the key of what became of a part of the work: of a shard, by its number, or of the `copies`."""
        return part_key(self.config_id, part)


def make_plan(source: Source, options: DatasetOptions, copies: Sequence[Copy] = ()) -> Plan:
    """Select, split and order the photos; DataContradiction when the options do not fit the source.

    Copies of one another come into the same split; where the split was published, those of a test photo are left out
    of train and validation, and those of a validation photo out of train, unless `keep_leaks`.
    """
    options = replace(options, breeds=tuple(sorted({_bare(breed) for breed in options.breeds})))
    selected = _select(source, options)
    dropped = Counter({NOT_ASKED: len(source.photos) - len(selected)})
    group = groups(copies)
    if options.split == "official" and not options.keep_leaks:
        for held_out, reason in LEAKED.items():  # test first: what is left of validation has no copy in it
            leaks = leaked(group, {photo.key for photo in selected if photo.split == held_out})
            kept = [photo for photo in selected if photo.key not in leaks]
            dropped[reason] = len(selected) - len(kept)
            selected = kept
    splits = assign([(p.breed, p.key, p.split or TRAIN) for p in selected], options.split, options.seed, group)
    usable = [photo for photo in selected if photo.problem is None]
    if not usable:
        raise DataContradiction(f"none of the source's {len(source.photos)} photos can be used; check --raw")
    return Plan(
        options=options,
        source=source,
        classes=tuple(sorted({photo.breed for photo in selected})),
        shards=_shards(usable, splits, options.shards),
        quarantine=tuple(Rejected(photo.key, photo.problem) for photo in selected if photo.problem),
        dropped={reason: count for reason, count in dropped.items() if count},
        copies=tuple(copies),
    )


def _shards(
    photos: Sequence[Photo], splits: dict[str, str], count: int | None
) -> tuple[tuple[str, tuple[Photo, ...]], ...]:
    length = ceil(len(photos) / count) if count else PHOTOS_PER_SHARD
    shards = []
    for name in SPLITS:
        own = sorted((p for p in photos if splits[p.key] == name), key=lambda photo: rank(photo.key))
        shards += [(name, tuple(own[start : start + length])) for start in range(0, len(own), length)]
    return tuple(shards)


def _select(source: Source, options: DatasetOptions) -> list[Photo]:
    if options.split == "official" and not any(photo.split for photo in source.photos):
        raise DataContradiction(
            "the source has no published split (lists.tar, or folders train/ and test/); use --split stratified"
        )
    wanted = set(options.breeds)
    if unknown := wanted - {_bare(photo.breed) for photo in source.photos}:
        raise UnknownName(f"no breed {', '.join(sorted(unknown))} in the source; names are as in Images/")
    photos = [photo for photo in source.photos if not wanted or _bare(photo.breed) in wanted]
    if options.per_breed is not None:
        groups = [(f"{photo.breed}/{photo.split}", photo.key) for photo in photos]
        kept = first_of_each(groups, options.per_breed)
        photos = [photo for photo in photos if photo.key in kept]
    return photos


def _bare(breed: str) -> str:
    """`n02085620-Chihuahua` and `Chihuahua` name the same breed."""
    synset, dash, name = breed.partition("-")
    return (name if dash and synset[1:].isdigit() else breed).lower()
