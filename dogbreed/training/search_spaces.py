"""Search spaces: the fields of a recipe that jobs.search varies, and the values that each may take."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dogbreed.core.errors import UsageError
from dogbreed.models import registry
from dogbreed.training.recipe import Recipe, apply_overrides, get_field

DIGITS = 4  # significant ones of a value: enough to repeat a trial by --set, and short
FIXED = ("name", "weights", "distillation.teacher")  # what a study is about, and its trials share

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`; with `log`, uniform in their logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError("the first number must be below the second, and both finite")
        if self.log and self.low <= 0:
            raise UsageError("a logarithmic range begins above 0")

    def __str__(self) -> str:
        return f"{'log:' if self.log else ''}{self.low:g}:{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """Some values, as --set takes them."""

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise UsageError("give LOW:HIGH, or at least two different values")

    def __str__(self) -> str:
        return ",".join(self.values)


Parameter: TypeAlias = Range | Choice


@dataclass(frozen=True)
class SearchSpace:
    """Fields of a recipe with the values that are searched, and settings that all trials share."""

    parameters: Mapping[str, Parameter]  # by field: learning_rate, augment.min_area, head.epochs
    settings: tuple[str, ...] = ()  # KEY=VALUE
    needs_weights: bool = False  # of a pretrained body

    def to_dict(self) -> dict[str, Any]:
        """Return what identifies the space, as a study keeps it."""
        return {
            "parameters": {field: str(parameter) for field, parameter in self.parameters.items()},
            "settings": list(self.settings),
        }

    @property
    def fields(self) -> dict[str, bool]:
        """Fields, and whether they are searched in their logarithm."""
        return {field: isinstance(found, Range) and found.log for field, found in self.parameters.items()}

    def check(self, recipe: Recipe) -> None:
        """Raise UsageError for a field that the recipe has not, or that cannot be varied like this."""
        if not self.parameters:
            raise UsageError("nothing is varied; give --space or --vary")
        if self.needs_weights and recipe.weights == "none":
            raise UsageError("this space is for the head or the upper part of a pretrained body; give --weights")
        for field, parameter in self.parameters.items():
            try:
                _check(field, parameter, recipe)
            except UsageError as error:
                raise UsageError(f"--vary {field}={parameter}: {error}") from error


def _check(field: str, parameter: Parameter, recipe: Recipe) -> None:
    """Raise UsageError unless the recipe may have each of the values, or both ends of the range."""
    if field in FIXED or (field == "model" and recipe.weights != "none"):
        raise UsageError("all trials of a study have the same name, weights, teacher and, with weights, model")
    if field == "test_zoom":
        raise UsageError("trials are compared without a zoom; the training that follows a search chooses it")
    present = get_field(recipe, field)
    if isinstance(parameter, Choice):
        for value in parameter.values:
            registry.get(apply_overrides(recipe, [f"{field}={value}"]).model)
        return
    if not is_number(present):
        raise UsageError(f"{field} is no number; list its values: A,B")
    if isinstance(present, int) and parameter.low % 1 + parameter.high % 1:
        raise UsageError(f"{field} is a whole number, and so are the ends of its range")
    for end in (parameter.low, parameter.high):
        apply_overrides(recipe, [to_setting(field, int(end) if isinstance(present, int) else end)])


def is_number(value: Any) -> bool:
    """Return whether a field's value is a number that a range can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def head() -> SearchSpace:
    """Of a new head on the features of a pretrained body, which stays as it is: a trial takes seconds."""
    return SearchSpace(
        {
            "head.learning_rate": Range(2e-4, 2e-2, log=True),
            "head.epochs": Range(10, 60),
            "head.batch_size": Choice(("64", "128", "256", "512")),
            "weight_decay": Range(1e-4, 0.3, log=True),
            "label_smoothing": Range(0.0, 0.2),
            "dropout": Range(0.0, 0.8),
        },
        ("trainable_fraction=0",),
        needs_weights=True,
    )


def fine_tuning() -> SearchSpace:
    """Of the body's upper part, after the head."""
    return SearchSpace(
        {
            "learning_rate": Range(3e-6, 3e-4, log=True),
            "layer_decay": Range(0.1, 1.0, log=True),
            "trainable_fraction": Range(0.1, 1.0),
            "weight_decay": Range(1e-3, 0.3, log=True),
            "label_smoothing": Range(0.0, 0.2),
            "dropout": Range(0.2, 0.8),
        },
        needs_weights=True,
    )


def from_scratch() -> SearchSpace:
    """Of a training without pretrained weights."""
    return SearchSpace(
        {
            "learning_rate": Range(3e-4, 1e-2, log=True),
            "weight_decay": Range(1e-3, 0.3, log=True),
            "label_smoothing": Range(0.0, 0.2),
            "dropout": Range(0.0, 0.5),
            "augment.min_area": Range(0.2, 0.8),
            "augment.cutmix_prob": Range(0.0, 0.8),
            "augment.erase_prob": Range(0.0, 0.4),
        },
    )


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "head": head,
    "fine-tuning": fine_tuning,
    "from-scratch": from_scratch,
}


def get_space(name: str | None, varied: Sequence[str], settings: Sequence[str] = ()) -> SearchSpace:
    """Return the named space, or none, with the fields of `--vary` added or replaced, without those of `--set`.

    Args:
        varied: KEY=LOW:HIGH, KEY=log:LOW:HIGH or KEY=A,B,C.
        settings: KEY=VALUE, of all trials.

    Raises:
        UsageError: no such space, text that is none of these, or a field that is varied and set.
    """
    if name and name not in SPACES:
        raise UsageError(f"unknown space {name!r}; known are {', '.join(SPACES)}")
    space = SPACES[name]() if name else SearchSpace({})
    added = dict(_parse_varied(text) for text in varied)
    fixed = {text.partition("=")[0] for text in settings}
    for field in sorted(fixed & {*added, *(text.partition("=")[0] for text in space.settings)}):
        raise UsageError(f"--set {field}: the field is varied, or set by the space {name}; leave --set out")
    for field in sorted(fixed & space.parameters.keys()):
        log.info("%s is fixed by --set and not searched", field)
    named = {field: parameter for field, parameter in space.parameters.items() if field not in fixed}
    return dataclasses.replace(space, parameters={**named, **added})


def _parse_varied(text: str) -> tuple[str, Parameter]:
    field, equals, values = text.partition("=")
    try:
        if not equals:
            raise ValueError
        if ":" not in values:
            return field, Choice(tuple(values.split(",")))
        *log, low, high = values.split(":")
        if log not in ([], ["log"]):
            raise ValueError
        return field, Range(float(low), float(high), bool(log))
    except ValueError as error:
        raise UsageError(f"--vary takes KEY=LOW:HIGH, KEY=log:LOW:HIGH or KEY=A,B,C, not {text!r}") from error
    except UsageError as error:
        raise UsageError(f"--vary {text}: {error}") from error


def to_setting(field: str, value: float | str) -> str:
    """Return KEY=VALUE of a value that was chosen."""
    return f"{field}={value:.{DIGITS}g}" if isinstance(value, float) else f"{field}={value}"
