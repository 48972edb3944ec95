"""What becomes of duplicates: excluded, kept in one split, or divided where a group would move the splits."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from dogbreed.core.errors import DataError
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.raw import SourceImage
from dogbreed.data.splits import TEST, TEST_FRACTION, TRAIN, VALIDATION, VALIDATION_FRACTION, train_test_leaks

LARGE = 20  # images; larger groups are warned of, and divided if they have more than a tenth of a split
TOLERANCE = 0.02  # of all images: how far duplicates may move the size of a sampled split
COPIES = "duplicates"  # why images are excluded by --duplicates drop
DUPLICATES_OF = {TEST: "duplicates of test images", VALIDATION: "duplicates of validation images"}


def exclude_duplicates(
    config: DatasetConfig, selected: Sequence[SourceImage], groups: Iterable[DuplicateGroup]
) -> tuple[Sequence[SourceImage], dict[str, int]]:
    """Return the images that are kept, and how many were excluded by reason.

    separate: without the duplicates of published test images in train and validation, and of published validation
    images in train. keep: all. drop: without all members of groups but their representatives.

    Raises:
        DataError: a class or a published split has no image left.
    """
    kept: Sequence[SourceImage]
    if config.duplicates == "drop":
        members = {member.source_id for group in groups for member in group.members}
        kept = [image for image in selected if image.source_id not in members]
        excluded = {COPIES: len(selected) - len(kept)}
    elif config.duplicates == "separate" and config.split == "official":
        kept, excluded = _exclude_leaks(selected, groups)
    else:
        return selected, {}
    _check_emptied(config, selected, kept)
    return kept, excluded


def _exclude_leaks(
    selected: Sequence[SourceImage], groups: Iterable[DuplicateGroup]
) -> tuple[Sequence[SourceImage], dict[str, int]]:
    excluded = {}
    group_of = {source_id: group.representative for group in groups for source_id in group.source_ids}
    for held_out, reason in DUPLICATES_OF.items():  # test first: what is left of validation has no duplicate in it
        leaks = train_test_leaks(group_of, {image.source_id for image in selected if image.split == held_out})
        kept = [image for image in selected if image.source_id not in leaks]
        excluded[reason] = len(selected) - len(kept)
        selected = kept
    return selected, excluded


def _check_emptied(config: DatasetConfig, selected: Sequence[SourceImage], kept: Sequence[SourceImage]) -> None:
    def is_trained_on(image: SourceImage) -> bool:
        return config.split == "stratified" or (image.split or TRAIN) == TRAIN

    train, validation = ([{i.class_name for i in images if is_trained_on(i)} for images in (selected, kept)],
                         [any(i.split == VALIDATION for i in images) for images in (selected, kept)])  # fmt: skip
    emptied = [f"class {name} to train on" for name in sorted(train[0] - train[1])]
    if config.split == "official" and validation[0] and not validation[1]:
        emptied.append("the published validation split")
    if emptied:
        raise DataError(
            f"near-duplicates leave no image of {', '.join(emptied)}: all are duplicates of images that are kept "
            "elsewhere; use --duplicates keep, remove copies from the source, or select other --classes"
        )


def sampling_units(
    config: DatasetConfig, kept: Sequence[SourceImage], groups: Iterable[DuplicateGroup]
) -> tuple[dict[str, str], set[str]]:
    """Return source id -> the unit that is sampled as a whole, and which chains are divided among the splits.

    A chain is one unit, unless it has more than LARGE images and more than a tenth of the smallest sampled split. Then
    each of its groups is one, under the same condition. In a group that is still too large, the images of each class,
    in order of their ids, are cut into units of at most that tenth: neighbouring frames stay together, and each split
    has its share of the group.
    """
    class_of = {image.source_id: image.class_name for image in _sampled(config, kept)}
    tenth = len(class_of) * _smallest_fraction(config) / 10
    chains: dict[str, list[list[str]]] = defaultdict(list)
    for group in groups:
        chains[group.chain].append([source_id for source_id in group.source_ids if source_id in class_of])
    units: dict[str, str] = {}
    divided = set()
    for chain, parts in chains.items():
        if sum(map(len, parts)) <= max(LARGE, tenth):
            units.update((source_id, chain) for part in parts for source_id in part)
            continue
        divided.add(chain)
        for part in parts:
            if len(part) > max(LARGE, tenth):
                units.update(_cut(part, class_of, max(1, int(tenth))))
            else:
                units.update((source_id, part[0]) for source_id in part)
    return units, divided


def _sampled(config: DatasetConfig, images: Sequence[SourceImage]) -> list[SourceImage]:
    """Return the images whose split is not published."""
    if config.split == "stratified":
        return list(images)
    published = {image.split for image in images}
    return [] if VALIDATION in published else [image for image in images if image.split != TEST]


def _smallest_fraction(config: DatasetConfig) -> float:
    return VALIDATION_FRACTION * (1 - TEST_FRACTION) if config.split == "stratified" else VALIDATION_FRACTION


def _cut(source_ids: Collection[str], class_of: Mapping[str, str], length: int) -> dict[str, str]:
    """Return source id -> first id of its unit: up to `length` successive ids of one class."""
    of_class: dict[str, list[str]] = defaultdict(list)
    for source_id in sorted(source_ids):
        of_class[class_of[source_id]].append(source_id)
    return {key: ids[place - place % length] for ids in of_class.values() for place, key in enumerate(ids)}


def check_sizes(splits: Mapping[str, str], without: Mapping[str, str], groups: Sequence[DuplicateGroup]) -> None:
    """Raise DataError if groups move the size of a split too far, or empty it.

    Args:
        splits: source id -> split.
        without: the same if no image had a duplicate.
        groups: to be named.
    """
    counts, expected = Counter(splits.values()), Counter(without.values())
    for name, count in expected.items():
        if not counts[name] or abs(counts[name] - count) > max(LARGE, TOLERANCE * len(splits)):
            largest = max(groups, key=lambda group: len(group.source_ids))
            raise DataError(
                f"near-duplicates that stay together leave {counts[name]} instead of {count} images to the {name} "
                f"split; the largest of {len(groups)} groups has {len(largest.source_ids)} images, among them "
                f"{largest.representative}; use --duplicates drop, which keeps one image of each group"
            )
