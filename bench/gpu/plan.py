"""The rows of `python -m bench.gpu`, in order of importance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

RECIPES = ("simple-64", "resnet50-224", "mobilenetv2-160", "efficientnetb0-224", "mixnet-m-224")
REAL_INPUT = ("resnet50-224", "simple-64")  # whose rows with real input come before those of the other recipes
VARIANTS = (  # precision and XLA
    ("mixed_bfloat16", "on"),
    ("mixed_bfloat16", "off"),
    ("float32", "on"),
    ("mixed_float16", "on"),
    ("float32", "off"),
    ("mixed_float16", "off"),
)
CPU_FIRST = ("float32", "off")  # what recipes choose on a CPU
TOO_LITTLE_MEMORY = 78  # exit code of a job


@dataclass(frozen=True)
class Row:
    """One measurement or check, which a process of its own makes."""

    name: str
    task: str  # MODULE.FUNCTION of bench.gpu
    settings: Mapping[str, object] = field(default_factory=dict)  # arguments of the function
    exit_code: int = 0  # of the process if all is well
    needs_data: bool = False
    min_gpus: int = 0


def plan(device: str, own_data: bool) -> list[Row]:
    """Return all rows.

    Args:
        device: gpu or cpu.
        own_data: whether the dataset of the real input is there already.
    """
    first = VARIANTS[0] if device == "gpu" else CPU_FIRST
    return [
        Row("environment", "checks.environment"),
        Row("preflight", "checks.preflight"),
        *(_training(recipe, *first) for recipe in RECIPES),
        *([] if own_data else [Row("dataset", "checks.dataset")]),
        *(_training(recipe, *first, real=True) for recipe in REAL_INPUT),
        Row("out of memory", "training.exhaust_memory", exit_code=TOO_LITTLE_MEMORY),
        Row("checkpoint and resume", "persistence.resume", needs_data=True),
        Row(f"save on the {device.upper()}, load on the CPU", "persistence.save_and_load", needs_data=True),
        Row("one GPU against all (mirrored)", "training.scaling", min_gpus=2),
        *_other_variants(first),
    ]


def _other_variants(first: tuple[str, str]) -> Iterator[Row]:
    """Yield the training rows that can wait."""
    for variant in VARIANTS:
        if variant != first:
            yield from (_training(recipe, *variant) for recipe in RECIPES)
    yield from (_training(recipe, *first, real=True) for recipe in RECIPES if recipe not in REAL_INPUT)


def _training(recipe: str, precision: str, xla: str, real: bool = False) -> Row:
    kind = "real" if real else "synthetic"
    name = f"train {recipe}, {kind} input, {precision}, XLA {xla}"
    settings = {"recipe": recipe, "precision": precision, "xla": xla, "real": real}
    return Row(name, "training.measure", settings, needs_data=real)
