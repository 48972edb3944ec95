"""The plan of a dataset: the shard and split of each image, a function of source and configuration alone."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from dogbreed.core.errors import DataError, UsageError, shorten_list
from dogbreed.core.storage import key_problem
from dogbreed.data import images
from dogbreed.data.class_names import breed_name, class_key, describe_unknown_classes
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup, DuplicatesFile
from dogbreed.data.duplicate_rules import check_sizes, exclude_duplicates, sampling_units
from dogbreed.data.manifest import FORMAT, Manifest, QuarantinedImage, Split
from dogbreed.data.raw import Source, SourceImage
from dogbreed.data.sharded_work import PlannedShard, WorkPlan
from dogbreed.data.splits import SPLITS, TRAIN, Candidate, assign_splits, hash_order, sample_per_group

IMAGES_PER_SHARD = 512  # 12 MB at 224 px: one PUT, few requests, and room for shuffling whole shards
NOT_SELECTED = "not selected"  # why images are excluded
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardPlan(WorkPlan[SourceImage]):
    """Which images of a source go into which shard; `empty_manifest` holds classes, quarantine and exclusions."""

    config: DatasetConfig
    source: Source = field(repr=False)
    selected: tuple[SourceImage, ...] = field(repr=False)  # before duplicates are excluded
    duplicates: tuple[DuplicateGroup, ...] = field(repr=False)  # none before they were searched for

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; a label is a position in here."""
        return self.empty_manifest.classes

    @property
    def images(self) -> list[SourceImage]:
        """The images of all shards."""
        return [image for shard in self.shards for image in shard.images]

    def with_duplicates(self, groups: Sequence[DuplicateGroup]) -> "ShardPlan":
        """Return the plan that takes these groups into account, see `duplicate_rules`.

        Raises:
            DataError: a class or a split has no image left, or too few.
        """
        if tuple(groups) == self.duplicates:
            return self
        return _plan_selected(self.source, self.config, self.selected, tuple(groups))


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
    displayed = Counter(map(_displayed_name, classes))
    if same := [name for name in classes if displayed[_displayed_name(name)] > 1]:
        raise DataError(
            f"the classes {shorten_list([*map(repr, same)])} are displayed alike; give them one name if they are one "
            "class, for example to its folders in all splits, and otherwise different ones"
        )
    if config.split == "official":
        _check_published_splits(source, config, classes)
        return
    if published := sorted({image.split for image in source.images if image.split}):
        log.info("the published splits (%s) are not used: --split stratified samples all", ", ".join(published))
    if not config.classes:
        _warn_of_untrained_classes(source, classes)


def _check_published_splits(source: Source, config: DatasetConfig, classes: Sequence[str]) -> None:
    """Raise DataError if there is nothing to evaluate on, or nothing to train on for a class."""
    splits = {image.split for image in source.images if image.split}
    if splits == {TRAIN}:
        raise DataError("the source publishes only images to train on; use --split stratified to sample the others")
    trained = {image.class_name for image in source.images if image.split == TRAIN}
    missing = sorted(set(classes) - trained)
    if splits and missing and not config.classes:
        raise DataError(
            f"no image to train on for {len(missing)} of {len(classes)} classes: {shorten_list(missing)}; correct the "
            "folders, select other classes with --classes, or use --split stratified"
        )


def _warn_of_untrained_classes(source: Source, classes: Sequence[str]) -> None:
    """Log the classes that only published test or validation images have: their folders may be none of a class."""
    trained = {image.class_name for image in source.images if image.split in (TRAIN, None)}
    missing = sorted(set(classes) - trained)
    if trained and missing:
        log.warning(
            "%d of %d classes have images in published test or validation folders only: %s; if they are no classes, "
            "delete or move those folders, or select the others with --classes",
            len(missing),
            len(classes),
            shorten_list(missing),
        )


def _displayed_name(class_name: str) -> str:
    """Return what tells classes apart for a reader: without WordNet id, case and kinds of blanks."""
    name = unicodedata.normalize("NFKC", breed_name(class_name)).replace("\u200b", "")
    return " ".join(name.split()).casefold()


def plan_dataset(source: Source, config: DatasetConfig) -> ShardPlan:
    """Select the images, assign them to splits and shards; nothing is known about duplicates yet.

    Raises:
        DataError: the configuration does not fit the source, or none of its images can be used.
        UsageError: a class of the configuration is not in the source.
    """
    config = replace(config, classes=tuple(sorted({class_key(name) for name in config.classes})))
    return _plan_selected(source, config, tuple(_select(source, config)), ())


def _plan_selected(
    source: Source, config: DatasetConfig, selected: tuple[SourceImage, ...], groups: tuple[DuplicateGroup, ...]
) -> ShardPlan:
    kept, excluded = exclude_duplicates(config, selected, groups)
    excluded = {NOT_SELECTED: len(source.images) - len(selected), **excluded}
    usable = [image for image in kept if image.invalid_reason is None]
    if not usable:
        raise DataError(f"no image of the source can be used, of {len(source.images):,} in all; check --raw")
    classes = tuple(sorted({image.class_name for image in kept}))
    _check_class_names(classes)
    splits, groups = _assign_splits(config, kept, groups)
    empty_manifest = Manifest(
        format=FORMAT,
        name=config.name,
        config=config.to_dict(),
        source_digest=source.digest,
        versions=images.versions(),
        classes=classes,
        splits={name: Split(0, ()) for name in SPLITS},
        quarantine=tuple(QuarantinedImage(i.source_id, i.invalid_reason) for i in kept if i.invalid_reason),
        excluded={reason: count for reason, count in excluded.items() if count},
        duplicates=DuplicatesFile.from_groups(groups) if groups else None,
    )
    return ShardPlan(_shards(usable, splits, config.shards), empty_manifest, config, source, selected, groups)


def _assign_splits(
    config: DatasetConfig, kept: Sequence[SourceImage], groups: Sequence[DuplicateGroup]
) -> tuple[dict[str, str], tuple[DuplicateGroup, ...]]:
    """Return source id -> split, and the groups, marked if they are divided."""
    candidates = [Candidate(image.source_id, image.class_name, image.split or TRAIN) for image in kept]
    without = assign_splits(candidates, config.split, config.seed)
    if not groups:
        return without, ()
    units, divided = sampling_units(config, kept, groups)
    splits = assign_splits(candidates, config.split, config.seed, units)
    check_sizes(splits, without, groups)
    return splits, tuple(replace(g, divided=g.chain in divided) for g in groups)


def _check_class_names(classes: Sequence[str]) -> None:
    for name in classes:
        if problem := key_problem(name):
            raise DataError(f"the class {name!r} {problem}; rename its folder or correct its label")


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
            "the source has no published split (lists.tar, folders train/ and test/, or a column of splits in "
            "--labels); use --split stratified"
        )
    names = set(config.classes)
    keys = {name: class_key(name) for name in {image.class_name for image in source.images}}
    if unknown := names - {*keys.values()}:
        raise UsageError(describe_unknown_classes(sorted(unknown), [*keys]))
    selected = [image for image in source.images if not names or keys[image.class_name] in names]
    if config.per_class is None:
        return selected
    members = [(f"{image.class_name}/{image.split}", image.source_id) for image in selected]
    sampled = sample_per_group(members, config.per_class)
    return [image for image in selected if image.source_id in sampled]
