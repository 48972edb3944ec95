"""Which photos go into which shard of which split: a function of source and options alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data import images
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import FORMAT, DuplicatePair, QuarantinedImage, config_id
from dogbreed.data.near_duplicates import connected_groups, train_test_leaks
from dogbreed.data.raw import Source, SourceImage
from dogbreed.data.sharded_work import part_key
from dogbreed.data.splits import SPLITS, TEST, TRAIN, VALIDATION, assign_splits, hash_order, sample_per_group

PHOTOS_PER_SHARD = 512  # 12 MB at 224 px: one PUT, few requests, and room for shuffling whole shards
NOT_SELECTED = "not selected"  # why images are excluded
DUPLICATES_OF = {TEST: "duplicates of test images", VALIDATION: "duplicates of validation images"}


@dataclass(frozen=True)
class ShardPlan:
    """Which photos go into which shard."""

    config: DatasetConfig
    source: Source = field(repr=False)
    classes: tuple[str, ...]
    shards: tuple[tuple[str, tuple[SourceImage, ...]], ...]  # (split, photos)
    quarantine: tuple[QuarantinedImage, ...]  # images that are not even read
    excluded: dict[str, int]  # images that were left out, by reason
    duplicates: tuple[DuplicatePair, ...]

    @cached_property
    def config_id(self) -> str:
        """Name of this configuration; parts are kept below it."""
        return config_id(FORMAT, self.config.to_dict(), self.source.digest, images.versions())

    @property
    def photos(self) -> list[SourceImage]:
        """The photos of all shards."""
        return [photo for _, photos in self.shards for photo in photos]

    def part_key(self, part: int | str) -> str:
        """Return the key of what became of a part of the work: of a shard, by its number, or of the `duplicates`."""
        return part_key(self.config_id, part)


def plan_dataset(source: Source, config: DatasetConfig, duplicates: Sequence[DuplicatePair] = ()) -> ShardPlan:
    """Select, split and order the images; DataError when the configuration does not fit the source.

    Duplicates of one another come into the same split; where the split was published, those of a test image are
    excluded from train and validation, and those of a validation image from train, unless `keep_duplicates`.
    """
    config = replace(config, classes=tuple(sorted({_strip_synset(name) for name in config.classes})))
    selected = _select(source, config)
    excluded = Counter({NOT_SELECTED: len(source.photos) - len(selected)})
    group = connected_groups(duplicates)
    if config.split == "official" and not config.keep_duplicates:
        for held_out, reason in DUPLICATES_OF.items():  # test first: what is left of validation has no duplicate in it
            leaks = train_test_leaks(group, {photo.key for photo in selected if photo.split == held_out})
            kept = [photo for photo in selected if photo.key not in leaks]
            excluded[reason] = len(selected) - len(kept)
            selected = kept
    splits = assign_splits([(p.breed, p.key, p.split or TRAIN) for p in selected], config.split, config.seed, group)
    usable = [photo for photo in selected if photo.invalid_reason is None]
    if not usable:
        raise DataError(f"none of the source's {len(source.photos)} images can be used; check --raw")
    return ShardPlan(
        config=config,
        source=source,
        classes=tuple(sorted({photo.breed for photo in selected})),
        shards=_shards(usable, splits, config.shards),
        quarantine=tuple(
            QuarantinedImage(photo.key, photo.invalid_reason) for photo in selected if photo.invalid_reason
        ),
        excluded={reason: count for reason, count in excluded.items() if count},
        duplicates=tuple(duplicates),
    )


def _shards(
    photos: Sequence[SourceImage], splits: dict[str, str], count: int | None
) -> tuple[tuple[str, tuple[SourceImage, ...]], ...]:
    length = ceil(len(photos) / count) if count else PHOTOS_PER_SHARD
    shards = []
    for name in SPLITS:
        own = sorted((p for p in photos if splits[p.key] == name), key=lambda photo: hash_order(photo.key))
        shards += [(name, tuple(own[start : start + length])) for start in range(0, len(own), length)]
    return tuple(shards)


def _select(source: Source, config: DatasetConfig) -> list[SourceImage]:
    if config.split == "official" and not any(photo.split for photo in source.photos):
        raise DataError(
            "the source has no published split (lists.tar, or folders train/ and test/); use --split stratified"
        )
    wanted = set(config.classes)
    if unknown := wanted - {_strip_synset(photo.breed) for photo in source.photos}:
        raise UsageError(f"no class {', '.join(sorted(unknown))} in the source; names are as in Images/")
    photos = [photo for photo in source.photos if not wanted or _strip_synset(photo.breed) in wanted]
    if config.per_class is not None:
        groups = [(f"{photo.breed}/{photo.split}", photo.key) for photo in photos]
        kept = sample_per_group(groups, config.per_class)
        photos = [photo for photo in photos if photo.key in kept]
    return photos


def _strip_synset(breed: str) -> str:
    """`n02085620-Chihuahua` and `Chihuahua` name the same breed."""
    synset, dash, name = breed.partition("-")
    return (name if dash and synset[1:].isdigit() else breed).lower()
