"""Recipes: everything about a training that is chosen, frozen and checked."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dogbreed.data.augment import Augment
from dogbreed.data.dataset import FORMAT
from dogbreed.data.sealed import canonical, sha256
from dogbreed.data.view import View
from dogbreed.platform.errors import UnknownName

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
CACHES = ("none", "decoded")


@dataclass(frozen=True)
class Recipe:
    """One way to train; `--set key=value` changes a field, `augment.key=value` one of its augment."""

    name: str
    model: str  # a name in dogbreed.training.zoo
    size: int  # side of the square that the model sees, pixels
    shape: str = "squash"  # how a photo becomes a square: squash, pad or crop
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 2e-3  # at the end of the warm-up; a cosine leads to 0
    warmup_epochs: float = 3.0
    weight_decay: float = 0.05  # of kernels only (Loshchilov & Hutter, arXiv:1711.05101)
    label_smoothing: float = 0.1
    dropout: float = 0.2
    ema: float = 0.0  # momentum of the weights' running mean that is validated and kept; 0: none
    patience: int = 10  # epochs without a better val_top1 before training stops
    precision: str = "auto"  # of the computation; auto: mixed_float16 on a GPU, float32 on a CPU
    cache: str = "none"  # decoded: photos are kept in memory as the model sees them, random views are cut from those
    augment: Augment = Augment()

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.patience) < 1:
            raise UnknownName("epochs, batch_size and patience are at least 1")
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.warmup_epochs < 0:
            raise UnknownName("learning_rate is above 0; weight_decay and warmup_epochs are at least 0")
        if not (0 <= self.label_smoothing < 1 and 0 <= self.dropout < 1 and 0 <= self.ema < 1):
            raise UnknownName("label_smoothing, dropout and ema are at least 0 and below 1")
        for value, known in ((self.precision, PRECISIONS), (self.cache, CACHES)):
            if value not in known:
                raise UnknownName(f"unknown value {value!r}; known are {', '.join(known)}")

    @property
    def view(self) -> View:
        """How the input pipeline shows a photo."""
        return View(self.size, self.shape)


def simple_64() -> Recipe:
    """A small network of five convolutions at 64 px."""
    return Recipe(
        name="simple-64",
        model="simple",
        size=64,
        epochs=40,
        augment=Augment(flip=True, min_area=0.4, max_aspect=1.3, cutmix=0.5),
    )


def larger_128() -> Recipe:
    """A larger network of five convolutions at 128 px."""
    return Recipe(
        name="larger-128",
        model="larger",
        size=128,
        epochs=50,
        augment=Augment(flip=True, min_area=0.3, max_aspect=1.4, cutmix=0.5),
    )


def sketches_64() -> Recipe:
    """simple-64 for the drawn dogs of a first run, which have 20 steps an epoch and 40 noisy validation photos."""
    recipe = simple_64()
    augment = dataclasses.replace(recipe.augment, cutmix=0.0)
    return dataclasses.replace(recipe, name="sketches-64", epochs=30, batch_size=16, patience=30, augment=augment)


def cifar10_resnet() -> Recipe:
    """ResNet-20 on the 32 px pictures of CIFAR, with its usual crops and flips."""
    return Recipe(
        name="cifar10-resnet",
        model="cifar-resnet",
        size=32,
        epochs=60,
        batch_size=128,
        weight_decay=0.01,
        label_smoothing=0.0,
        dropout=0.0,
        augment=Augment(flip=True, min_area=0.6, max_aspect=1.1),
    )


def _from_scratch(name: str, model: str, size: int, **others: Any) -> Recipe:
    """A published design on the 120 breeds without other photos: long, with strong augmentation.

    The settings are larger-128's at a lower rate for deeper networks; no other was tried.
    """
    settings: dict[str, Any] = {
        "epochs": 100,
        "learning_rate": 1e-3,
        "warmup_epochs": 5.0,
        "patience": 20,
        "augment": Augment(flip=True, min_area=0.3, max_aspect=1.4, cutmix=0.5),
    }
    return Recipe(name=name, model=model, size=size, **{**settings, **others})


def resnet50_224() -> Recipe:
    """ResNet-50 at 224 px."""
    return _from_scratch("resnet50-224", "resnet50", 224)


def inceptionv3_224() -> Recipe:
    """Inception-v3, designed for 299 px, at 224 px."""
    return _from_scratch("inceptionv3-224", "inceptionv3", 224)


def mobilenetv2_160() -> Recipe:
    """MobileNetV2 at 160 px: the cheapest of the published designs."""
    return _from_scratch("mobilenetv2-160", "mobilenetv2", 160)


def efficientnetb0_224() -> Recipe:
    """EfficientNet-B0 at 224 px."""
    return _from_scratch("efficientnetb0-224", "efficientnetb0", 224)


def efficientnetv2b3_224() -> Recipe:
    """EfficientNetV2-B3, designed for 300 px, at 224 px; dropout as in Keras' head."""
    return _from_scratch("efficientnetv2b3-224", "efficientnetv2b3", 224, dropout=0.3)


def mixnet_s_224() -> Recipe:
    """MixNet-S at 224 px with the paper's dropout of 0.2."""
    return _from_scratch("mixnet-s-224", "mixnet-s", 224)


def mixnet_m_224() -> Recipe:
    """MixNet-M at 224 px with the paper's dropout."""
    return _from_scratch("mixnet-m-224", "mixnet-m", 224, dropout=0.25)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "simple-64": simple_64,
    "larger-128": larger_128,
    "sketches-64": sketches_64,
    "cifar10-resnet": cifar10_resnet,
    "resnet50-224": resnet50_224,
    "inceptionv3-224": inceptionv3_224,
    "mobilenetv2-160": mobilenetv2_160,
    "efficientnetb0-224": efficientnetb0_224,
    "efficientnetv2b3-224": efficientnetv2b3_224,
    "mixnet-s-224": mixnet_s_224,
    "mixnet-m-224": mixnet_m_224,
}


def named(name: str) -> Recipe:
    """Return the recipe of that name; UnknownName lists those that there are."""
    if name not in RECIPES:
        raise UnknownName(f"unknown recipe {name!r}; known are {', '.join(RECIPES)}")
    return RECIPES[name]()


def job_key(recipe: Recipe, digest: str, seed: int) -> str:
    """Return 16 hexadecimal digits that name one training: recipe, data digest, seed and format."""
    return sha256(canonical([dataclasses.asdict(recipe), digest, seed, FORMAT]))[:16]


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return the recipe with `key=value` settings applied, each value read as its field's type."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UnknownName(f"--set takes key=value, not {setting!r}")
        recipe = _replace(recipe, key, key, text)
    return recipe


def _replace(part: Any, path: str, key: str, text: str) -> Any:
    """Return the dataclass `part` with the field behind `path` read from `text`; `key` is for messages."""
    name, dot, rest = path.partition(".")
    known = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    if name not in known or bool(dot) != dataclasses.is_dataclass(known[name]):
        raise UnknownName(f"a recipe has no {key!r}; {type(part).__name__} has {', '.join(known)}")
    value = _replace(known[name], rest, key, text) if dot else _read(known[name], key, text)
    return dataclasses.replace(part, **{name: value})


def _read(present: Any, key: str, text: str) -> Any:
    """Return `text` as the type of the field's present value."""
    try:
        if isinstance(present, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(present)(text)
    except (ValueError, KeyError) as error:
        raise UnknownName(f"--set {key}={text}: not a {type(present).__name__}") from error
