"""Recipes: everything about a training that is chosen, frozen and checked."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dogbreed.core.canonical_json import short_id
from dogbreed.core.errors import UsageError
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import CACHES
from dogbreed.data.manifest import FORMAT
from dogbreed.data.resize import ResizeSpec

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("adamw", "sgd")
XLA = ("auto", "on", "off")
BATCH_NORM = ("per-replica", "synchronized")
AUTO_ZOOM = "auto"


@dataclass(frozen=True)
class Head:
    """How a new head is trained on the features of a body whose weights came from elsewhere, before the body learns."""

    epochs: int = 0  # passes over the features; 0: the head begins together with the body
    augmentations: int = 1  # random augmentations of each image whose features are kept
    learning_rate: float = 2e-3  # at the first step; a cosine leads to 0
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.epochs < 0 or min(self.augmentations, self.batch_size) < 1 or self.learning_rate <= 0:
            raise UsageError(
                "head: epochs is at least 0, augmentations and batch_size at least 1, learning_rate above 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; one that is added later is left out while it has its default."""
        return {
            "epochs": self.epochs,
            "augmentations": self.augmentations,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
        }


@dataclass(frozen=True)
class Distillation:
    """How a student learns from a teacher's probabilities instead of labels (Beyer et al., arXiv:2106.05237)."""

    teacher: str = "none"  # none, or where the model is
    views: int = 8  # random views of each image, for which the teacher's probabilities are kept; one an epoch in turn
    temperature: float = 1.0  # by which the logits of both are divided (Hinton et al., arXiv:1503.02531)

    def __post_init__(self) -> None:
        if self.views < 1 or self.temperature <= 0:
            raise UsageError("distillation: views is at least 1, temperature above 0")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; one that is added later is left out while it has its default."""
        return {"teacher": self.teacher, "views": self.views, "temperature": self.temperature}


@dataclass(frozen=True)
class Recipe:
    """One way to train; `--set key=value` changes a field, `head.key=value` one of the part `head`."""

    name: str
    model: str  # a name in dogbreed.models.registry
    size: int  # side of the square that the model sees, pixels
    resize_mode: str = "squash"  # how an image becomes a square: squash, pad or crop
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 2e-3  # at the end of the warm-up; a cosine leads to 0
    warmup_epochs: float = 3.0
    weight_decay: float = 0.05  # of kernels only (Loshchilov & Hutter, arXiv:1711.05101)
    label_smoothing: float = 0.1
    dropout: float = 0.2
    global_clipnorm: float = 0.0  # largest norm of all gradients together; 0: any
    class_weights: bool = False  # images of rare breeds count more, so that every breed counts the same
    ema_decay: float = 0.0  # momentum of the weights' running mean that is validated and kept; 0: none
    patience: int = 10  # epochs without a better val_top1 before training stops
    precision: str = "auto"  # auto: mixed_bfloat16 or, on GPUs before Ampere, mixed_float16; float32 on a CPU
    xla: str = "auto"  # whether XLA compiles the steps; auto: on with a GPU, off on a CPU
    batch_norm: str = "per-replica"  # statistics of a replica's images; synchronized: of the batch, without XLA
    steps_per_execution: int = 1  # steps in one call of the compiled function; more help small models on a fast GPU
    cache: str = "none"  # memory, disk: decoded images are kept as the model sees them, random crops are cut from those
    augment: Augment = Augment()
    weights: str = "none"  # that the body begins with: none, imagenet, or where they are
    head: Head = Head()
    trainable_fraction: float = (
        1.0  # with weights: fraction of the body's layers, from the last one, that learn after the head
    )
    layer_decay: float = 1.0  # with weights: the first of those learns at so many times the head's rate
    distillation: Distillation = Distillation()
    test_zoom: str = AUTO_ZOOM  # with which the model is evaluated and served: 1 (none) to 2; auto: best on validation
    optimizer: str = "adamw"  # of the whole model, heads take adamw; sgd: with Nesterov momentum of 0.9
    start_size: int = 0  # side to which images are reduced in the first epochs, at least two thirds of `size`; 0: none
    start_fraction: float = 0.5  # of all epochs, with start_size

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.patience, self.steps_per_execution) < 1:
            raise UsageError("epochs, batch_size, patience and steps_per_execution are at least 1")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.warmup_epochs < 0:
            raise UsageError("learning_rate is above 0; weight_decay and warmup_epochs are at least 0")
        if self.global_clipnorm < 0 or not (0 <= self.trainable_fraction <= 1 and 0 < self.layer_decay <= 1):
            raise UsageError(
                "global_clipnorm is at least 0, trainable_fraction in 0 to 1, layer_decay above 0 and at most 1"
            )
        if not self.trainable_fraction and not self.head.epochs:
            raise UsageError("trainable_fraction and head.epochs are both 0, so nothing would be trained")
        if not (0 <= self.label_smoothing < 1 and 0 <= self.dropout < 1 and 0 <= self.ema_decay < 1):
            raise UsageError("label_smoothing, dropout and ema_decay are at least 0 and below 1")
        if self.has_teacher and (self.label_smoothing or not self.trainable_fraction):
            raise UsageError(
                "a teacher's probabilities are not smoothed, and a head alone learns from labels; with a teacher use "
                "--set label_smoothing=0 and a trainable_fraction above 0"
            )
        # below two thirds, images would need antialiasing (dogbreed.data.resize)
        if self.start_size and not 2 * self.size <= 3 * self.start_size < 3 * self.size:
            raise UsageError(f"start_size is 0, or at least two thirds of size {self.size} and below it")
        if not 0 < self.start_fraction < 1:
            raise UsageError("start_fraction is above 0 and below 1")
        choices = {
            "precision": PRECISIONS,
            "cache": CACHES,
            "xla": XLA,
            "batch_norm": BATCH_NORM,
            "optimizer": OPTIMIZERS,
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"unknown {name} {value!r}; known are {', '.join(known)}")
        zoom = 1.0 if self.fixed_zoom is None else self.fixed_zoom
        ResizeSpec(self.size, self.resize_mode, zoom)  # raises UsageError

    @property
    def has_teacher(self) -> bool:
        """Whether the model learns from a teacher."""
        return self.distillation.teacher != "none"

    @property
    def view(self) -> ResizeSpec:
        """How the input pipeline shows an image during the training, without a zoom."""
        return ResizeSpec(self.size, self.resize_mode)

    @property
    def fixed_zoom(self) -> float | None:
        """The zoom of `test_zoom`, None if it is chosen on validation; UsageError if it is not a number."""
        if self.test_zoom == AUTO_ZOOM:
            return None
        try:
            return float(self.test_zoom)
        except ValueError as error:
            raise UsageError(f"test_zoom is {AUTO_ZOOM} or a number, not {self.test_zoom!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as job keys and MLflow parameters hold them.

        A field that is added later is left out while it has its default, so that job keys stay.
        """
        fields = {
            "name": self.name,
            "model": self.model,
            "size": self.size,
            "resize_mode": self.resize_mode,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "warmup_epochs": self.warmup_epochs,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
            "dropout": self.dropout,
            "global_clipnorm": self.global_clipnorm,
            "class_weights": self.class_weights,
            "ema_decay": self.ema_decay,
            "patience": self.patience,
            "precision": self.precision,
            "steps_per_execution": self.steps_per_execution,
            "cache": self.cache,
            "augment": self.augment.to_dict(),
            "weights": self.weights,
            "head": self.head.to_dict(),
            "trainable_fraction": self.trainable_fraction,
            "layer_decay": self.layer_decay,
        }
        later = {
            "xla": (self.xla, "auto"),
            "batch_norm": (self.batch_norm, "per-replica"),
            "distillation": (self.distillation.to_dict(), Distillation().to_dict()),
            "test_zoom": (self.test_zoom, AUTO_ZOOM),
            "optimizer": (self.optimizer, "adamw"),
            "start_size": (self.start_size, 0),
            "start_fraction": (self.start_fraction, 0.5),
        }
        return fields | {name: value for name, (value, default) in later.items() if value != default}


def job_fingerprint(recipe: Recipe, weights: str, digest: str, seed: int, teacher: str = "") -> str:
    """Return 16 hexadecimal digits that name one training: recipe, data digest, seed and format.

    weights, teacher: SHA-256 of those that it begins with and learns from, wherever they came from; "" for none.
    """
    fields = {**recipe.to_dict(), "weights": weights}
    if recipe.has_teacher:
        fields["distillation"] |= {"teacher": teacher}
    return short_id([fields, digest, seed, FORMAT])


def apply_overrides(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return the recipe with `key=value` settings applied, each value read as its field's type."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}")
        recipe = _set_field(recipe, key, key, text)
    return recipe


def get_field(part: Any, path: str) -> Any:
    """Return the value of a recipe's field, or of one of its parts (`head.epochs`); UsageError if it has none such."""
    name, dot, rest = path.partition(".")
    value = _get_own_field(part, name, bool(dot), path)
    return get_field(value, rest) if dot else value


def _set_field(part: Any, path: str, key: str, text: str) -> Any:
    """Return the dataclass `part` with the field behind `path` read from `text`; `key` is for messages."""
    name, dot, rest = path.partition(".")
    present = _get_own_field(part, name, bool(dot), key)
    value = _set_field(present, rest, key, text) if dot else _parse(present, key, text)
    return dataclasses.replace(part, **{name: value})


def _get_own_field(part: Any, name: str, is_part: bool, key: str) -> Any:
    """Return a dataclass's field, which is a dataclass itself where `is_part`; `key` is for the message."""
    known = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    if name not in known or is_part != dataclasses.is_dataclass(known[name]):
        raise UsageError(f"a recipe has no {key!r}; {type(part).__name__} has {', '.join(known)}")
    return known[name]


def _parse(present: Any, key: str, text: str) -> Any:
    """Return `text` as the type of the field's present value."""
    try:
        if isinstance(present, bool):
            return {"true": True, "false": False}[text.lower()]
        value = type(present)(text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"--set {key}={text}: not a {type(present).__name__}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"--set {key}={text}: not a finite number")
    return value
