"""Which strategy `--strategy` names, and which one `auto` chooses."""

import logging

import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.rendezvous import ClusterSpec
from dogbreed.core.resources import gpu_count
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import Recipe

STRATEGIES = ("auto", "single", "mirrored", "multiworker")
MIN_IMAGES, MIN_SIZE = 64, 128  # a step on each GPU, and pixels, from which `auto` takes several

log = logging.getLogger(__name__)


def resolve_strategy(strategy: str, cluster: ClusterSpec, recipe: Recipe) -> DistributedContext:
    """Return the context that `--strategy` names; UsageError or EnvironmentUnsupported where it is not possible.

    auto takes several GPUs where each has enough to do: MIN_IMAGES a step, of MIN_SIZE pixels.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}")
    several, gpus = len(cluster.addresses) > 1, len(tf.config.list_physical_devices("GPU"))
    if strategy == "auto":
        strategy = "multiworker" if several else _choose_for_gpus(gpus, recipe)
    if several and strategy != "multiworker":
        raise UsageError(
            f"--strategy {strategy}, but the environment names {len(cluster.addresses)} workers, which would all do "
            "the same; use multiworker, or start one process without TF_CONFIG and DOGBREED_WORKERS"
        )
    if strategy == "multiworker" and not several:
        raise UsageError(
            "--strategy multiworker, but the environment names one worker; set TF_CONFIG or DOGBREED_WORKERS"
        )
    if strategy == "mirrored" and gpus < 2:
        present = gpu_count()
        raise EnvironmentUnsupported(
            f"--strategy mirrored needs two GPUs, TensorFlow sees {gpus}{f' of {present}' if present > gpus else ''}; "
            "use --strategy single, or jobs.preflight --gpus 2 to find the reason"
        )
    return DistributedContext(strategy, cluster)


def _choose_for_gpus(gpus: int, recipe: Recipe) -> str:
    """Return `mirrored` if a recipe keeps several GPUs busy, else `single`, and log why."""
    if gpus < 2:
        return "single"
    images, rest = divmod(recipe.batch_size, gpus)
    advice = "; --strategy mirrored uses all"
    if not recipe.trainable_fraction:
        reason, advice = "trainable_fraction=0 trains a head alone", ""
    elif rest:
        reason, advice = f"batches of {recipe.batch_size} images cannot be shared equally", ""
    elif images < MIN_IMAGES:
        reason = f"{images} images per GPU and step are fewer than {MIN_IMAGES}, use --batch-size {MIN_IMAGES * gpus}"
    elif recipe.size < MIN_SIZE:
        reason = f"images of {recipe.size} px are smaller than {MIN_SIZE} px"
    else:
        return "mirrored"
    log.info("training on 1 of %d GPUs: %s%s", gpus, reason, advice)
    return "single"
