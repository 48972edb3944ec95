"""Names of the baselines and subsets whose scores an evaluation reports beside those of the whole split."""

from enum import StrEnum

Scores = dict[str, float]  # of metrics.compute_metrics, of a subset also `images`


class ScoreGroup(StrEnum):
    """A baseline or a subset: its metrics are `<split>_<value>_<score>`, `description` is its row in the report."""

    description: str

    def __new__(cls, value: str, description: str) -> "ScoreGroup":
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    SEEN = "seen", "images in the pretraining list"
    UNSEEN = "unseen", "images not in the pretraining list"
    WITH_DUPLICATE = "with_duplicate", "images with a duplicate in another split"
    WITHOUT_DUPLICATE = "without_duplicate", "images without such a duplicate"
    MAJORITY_BASELINE = "majority_baseline", "baseline: always the most frequent classes"
    IMAGENET_ZERO_SHOT = "imagenet_zero_shot", "baseline: the ImageNet classifier, zero-shot"
