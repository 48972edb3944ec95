"""The plan of a dataset: the shard and split of each image, a function of source and configuration alone."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data import images
from dogbreed.data.class_names import breed_name
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import FORMAT, DuplicatePair, Manifest, QuarantinedImage, Split
from dogbreed.data.raw import Source, SourceImage
from dogbreed.data.sharded_work import PlannedShard, WorkPlan
from dogbreed.data.splits import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Candidate,
    assign_splits,
    connected_groups,
    hash_order,
    sample_per_group,
    train_test_leaks,
)

IMAGES_PER_SHARD = 512  # 12 MB at 224 px: one PUT, few requests, and room for shuffling whole shards
NOT_SELECTED = "not selected"  # why images are excluded
log = logging.getLogger(__name__)
DUPLICATES_OF = {TEST: "duplicates of test images", VALIDATION: "duplicates of validation images"}


@dataclass(frozen=True)
class ShardPlan(WorkPlan[SourceImage]):
    """Which images of a source go into which shard; `empty_manifest` holds classes, quarantine and exclusions."""

    config: DatasetConfig
    source: Source = field(repr=False)
    selected: tuple[SourceImage, ...] = field(repr=False)  # before duplicates are excluded

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; a label is a position in here."""
        return self.empty_manifest.classes

    @property
    def images(self) -> list[SourceImage]:
        """The images of all shards."""
        return [image for shard in self.shards for image in shard.images]

    def with_duplicates(self, duplicates: Sequence[DuplicatePair]) -> "ShardPlan":
        """Return the plan that takes these pairs into account.

        Duplicates of one another come into the same split. Where the split was published, duplicates of a test image
        are excluded from train and validation, and those of a validation image from train, unless `keep_duplicates`.
        """
        if tuple(duplicates) == self.empty_manifest.duplicates:
            return self
        return _plan_selected(self.source, self.config, self.selected, tuple(duplicates))


def check_source(source: Source, config: DatasetConfig) -> None:
    """Check that a source has several classes, or those that were selected, and images to evaluate on.

    Raises:
        DataError: one class that was not selected, classes with one displayed name, or only images to train on.
    """
    classes = sorted({image.class_name for image in source.images})
    if len(classes) == 1 and not config.classes:
        raise DataError(
            f"all images are of one class, {classes[0]}: --raw must hold a folder for each class; if one is all that "
            "you want, select it with --classes"
        )
    displayed = Counter(breed_name(name).strip() for name in classes)
    if same := [name for name in classes if displayed[breed_name(name).strip()] > 1]:
        raise DataError(f"the classes {', '.join(map(repr, same[:5]))} are displayed alike; rename all but one")
    splits = {image.split for image in source.images}
    if config.split == "official" and splits == {TRAIN}:
        raise DataError("the source publishes only images to train on; use --split stratified to sample the others")
    if config.split == "official" and TRAIN in splits and TEST not in splits:
        log.warning("the source publishes no test images: evaluate with --split validation, or use --split stratified")


def plan_dataset(source: Source, config: DatasetConfig) -> ShardPlan:
    """Select the images, assign them to splits and shards; nothing is known about duplicates yet.

    Raises:
        DataError: the configuration does not fit the source, or none of its images can be used.
        UsageError: a class of the configuration is not in the source.
    """
    config = replace(config, classes=tuple(sorted({_strip_synset(name) for name in config.classes})))
    return _plan_selected(source, config, tuple(_select(source, config)), ())


def _plan_selected(
    source: Source, config: DatasetConfig, selected: tuple[SourceImage, ...], duplicates: tuple[DuplicatePair, ...]
) -> ShardPlan:
    group = connected_groups([(pair.source_id, pair.other) for pair in duplicates])
    kept, excluded = _exclude_duplicates(config, selected, group)
    excluded = {NOT_SELECTED: len(source.images) - len(selected), **excluded}
    usable = [image for image in kept if image.invalid_reason is None]
    if not usable:
        raise DataError(f"none of the source's {len(source.images)} images can be used; check --raw")
    candidates = [Candidate(image.source_id, image.class_name, image.split or TRAIN) for image in kept]
    splits = assign_splits(candidates, config.split, config.seed, group)
    empty_manifest = Manifest(
        format=FORMAT,
        config=config.to_dict(),
        source_digest=source.digest,
        versions=images.versions(),
        classes=tuple(sorted({image.class_name for image in kept})),
        splits={name: Split(0, ()) for name in SPLITS},
        quarantine=tuple(QuarantinedImage(i.source_id, i.invalid_reason) for i in kept if i.invalid_reason),
        excluded={reason: count for reason, count in excluded.items() if count},
        duplicates=duplicates,
    )
    return ShardPlan(_shards(usable, splits, config.shards), empty_manifest, config, source, selected)


def _exclude_duplicates(
    config: DatasetConfig, selected: Sequence[SourceImage], group: Mapping[str, str]
) -> tuple[Sequence[SourceImage], dict[str, int]]:
    """Return the images without duplicates of published test or validation images, and how many were excluded."""
    excluded: dict[str, int] = {}
    if config.split != "official" or config.keep_duplicates:
        return selected, excluded
    for held_out, reason in DUPLICATES_OF.items():  # test first: what is left of validation has no duplicate in it
        leaks = train_test_leaks(group, {image.source_id for image in selected if image.split == held_out})
        kept = [image for image in selected if image.source_id not in leaks]
        excluded[reason] = len(selected) - len(kept)
        selected = kept
    return selected, excluded


def _shards(
    images: Sequence[SourceImage], splits: Mapping[str, str], count: int | None
) -> tuple[PlannedShard[SourceImage], ...]:
    """Return each split's images in hash order, cut into shards; `count`: about so many shards in all."""
    length = ceil(len(images) / count) if count else IMAGES_PER_SHARD
    shards = []
    for name in SPLITS:
        own = sorted((i for i in images if splits[i.source_id] == name), key=lambda image: hash_order(image.source_id))
        shards += [PlannedShard(name, tuple(own[at : at + length])) for at in range(0, len(own), length)]
    return tuple(shards)


def _select(source: Source, config: DatasetConfig) -> list[SourceImage]:
    """Return the images of the selected classes, at most `per_class` of each class and published split."""
    if config.split == "official" and not any(image.split for image in source.images):
        raise DataError(
            "the source has no published split (lists.tar, folders train/ and test/, or a column split of --labels); "
            "use --split stratified"
        )
    names = set(config.classes)
    if unknown := names - {_strip_synset(image.class_name) for image in source.images}:
        raise UsageError(f"no class {', '.join(sorted(unknown))} in the source; names are as in Images/")
    selected = [image for image in source.images if not names or _strip_synset(image.class_name) in names]
    if config.per_class is None:
        return selected
    members = [(f"{image.class_name}/{image.split}", image.source_id) for image in selected]
    sampled = sample_per_group(members, config.per_class)
    return [image for image in selected if image.source_id in sampled]


def _strip_synset(class_name: str) -> str:
    """`n02085620-Chihuahua` and `Chihuahua` name the same class."""
    synset, dash, name = class_name.partition("-")
    return (name if dash and synset[1:].isdigit() else class_name).lower()
