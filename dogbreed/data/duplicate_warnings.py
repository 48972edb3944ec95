"""Warnings of duplicates: large groups, divided chains, contradicting labels, changed classes and splits."""

import logging
from collections import Counter
from collections.abc import Sequence

from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.duplicate_rules import LARGE
from dogbreed.data.plan import ShardPlan
from dogbreed.data.splits import TRAIN

NAMED = 20  # names in one warning; tables/duplicates.csv of the run has all
CHANGE = 0.1  # of a class or split

log = logging.getLogger(__name__)


def warn_of_duplicates(before: ShardPlan, after: ShardPlan) -> None:
    """Log a warning for each kind of effect; `before` is the plan without duplicates."""
    large = [group for group in after.duplicates if len(group.source_ids) > LARGE]
    if large:
        log.warning(
            "groups of more than %d duplicates: %d (%s); %s",
            LARGE,
            len(large),
            _join([_describe(group) for group in sorted(large, key=lambda group: -len(group.source_ids))]),
            "one image of each is kept"
            if after.config.duplicates == "drop"
            else "--duplicates drop keeps one image of each",
        )
    sizes: Counter[str] = Counter()
    for group in after.duplicates:
        if group.divided:
            sizes[group.chain] += len(group.source_ids)
    if sizes:
        log.warning(
            "chains of duplicates that have more than a tenth of a split and are divided, so that duplicates are in "
            "different splits: %d (%s)",
            len(sizes),
            _join([f"{chain} ({count:,} images)" for chain, count in sizes.most_common()]),
        )
    _warn_of_contradicting_labels(after)
    if changed := _changes(before, after):
        log.warning("duplicates change classes or splits by more than a tenth: %s", _join(changed))


def _warn_of_contradicting_labels(plan: ShardPlan) -> None:
    """Log the groups whose images are of several classes; near-duplicates may rightly be."""
    classes = {image.source_id: image.class_name for image in plan.selected}
    same: list[str] = []
    near: list[str] = []
    for group in plan.duplicates:
        others = [member for member in group.members if classes[member.source_id] != classes[group.representative]]
        if others:
            other = min(others, key=lambda member: member.kind == "near")  # equal ones first
            (near if other.kind == "near" else same).append(f"{group.representative} and {other.source_id}")
    if same:
        log.warning(
            "%d groups of equal images are of several classes, so that the label of at least one image of each is "
            "wrong; delete the wrong copies or correct their labels: %s",
            len(same),
            _join(same),
        )
    if near:
        log.warning("%d groups of near-duplicates are of several classes; check the labels: %s", len(near), _join(near))


def _describe(group: DuplicateGroup) -> str:
    return f"{group.representative} ({len(group.source_ids):,} images)"


def _changes(before: ShardPlan, after: ShardPlan) -> list[str]:
    """Return which splits, and which classes in train, have more than a tenth more or fewer images than before."""
    counts = [
        Counter({"all splits": len(plan.images)})
        + Counter(name for name, images in plan.shards for _ in images)
        + Counter(f"{TRAIN}/{image.class_name}" for name, images in plan.shards for image in images if name == TRAIN)
        for plan in (before, after)
    ]
    old, new = counts
    return [
        f"{name} {new[name]:,} instead of {count:,} images"
        for name, count in old.items()
        if abs(new[name] - count) > CHANGE * count
    ]


def _join(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
