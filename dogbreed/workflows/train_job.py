"""A training job before it starts: options checked, dataset opened, initial weights and teacher fetched."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from dogbreed.core import rendezvous
from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import Store, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.models import weights
from dogbreed.models.weights import Weights
from dogbreed.serving import model_files
from dogbreed.tracking import lineage, registry
from dogbreed.training.checkpointer import CheckpointInterval
from dogbreed.training.distillation import Teacher
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import Distillation, Recipe, apply_overrides, job_fingerprint
from dogbreed.training.recipes import recipe_for_weights, with_distillation
from dogbreed.training.strategy import resolve_strategy
from dogbreed.workflows import gpu_memory, preflight
from dogbreed.workflows.dataset_checks import describe_difference


@dataclass(frozen=True)
class TrainJob:
    """What is trained, from which data and where to; seeds share it."""

    recipe: Recipe
    init_weights: Weights | None  # None: random
    manifest: Manifest
    store: Store  # of the dataset
    registered_model: str
    experiment_prefix: str
    scratch: Path
    checkpoints: str  # URI
    interval: CheckpointInterval
    log_every: int  # steps between two log points of `step_*` metrics, 0 for none
    profile: bool  # trace some steps with TensorFlow's profiler
    restart: bool  # train from the first step even if this job has checkpoints or is done
    distribution: DistributedContext  # not yet joined
    teacher: Teacher | None = None
    teacher_tags: Mapping[str, str] = field(default_factory=dict)  # of the run: which teacher, and what it had seen

    def fingerprint(self, seed: int) -> str:
        """Return the hash of all that determines a training, its default job key."""
        weights = self.init_weights.sha256 if self.init_weights else ""
        teacher = self.teacher.sha256 if self.teacher else ""
        return job_fingerprint(self.recipe, weights, self.manifest.digest, seed, teacher)

    def pipeline(self) -> InputPipeline:
        """Return the input pipeline of this worker; EnvironmentUnsupported if it has no room for copies of the data."""
        recipe = self.recipe
        pipeline = InputPipeline(
            self.manifest, self.store, recipe.view, recipe.batch_size, self.scratch, self.distribution.batch_shard
        )
        pipeline.check_cache_space(TRAIN, VALIDATION)
        return pipeline


@contextmanager
def prepare(
    *,
    data: str,
    registered_model: str | None,
    experiment_prefix: str | None,
    recipe: str,
    initial_weights: str | None,
    settings: Sequence[str],
    strategy: str,
    gpus: int | None,
    checkpoints: str,
    checkpoint_every: str,
    log_every: int,
    profile: bool,
    restart: bool,
    deterministic: bool,
    one_seed: bool,
    teacher: str | None = None,
) -> Iterator[TrainJob]:
    """Check everything that can be checked before a training, fetch weights and teacher, and yield the job.

    Args:
        data, checkpoints: URIs.
        registered_model, experiment_prefix: None for the dataset's name.
        recipe: name of a recipe; `settings` are KEY=VALUE overrides of its fields.
        initial_weights: as --weights, None for the recipe's.
        one_seed: whether the job will train one seed only.
        teacher: as --teacher, None for none.
    """
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    chosen = recipe_for_weights(recipe, initial_weights)
    chosen = apply_overrides(with_distillation(chosen, teacher) if teacher else chosen, settings)
    distribution = resolve_strategy(strategy, rendezvous.cluster_from_env(), chosen)
    distribution.check(chosen, one_seed=one_seed)
    if distribution.name == "single":
        gpu_memory.use_first_gpu()
    interval = CheckpointInterval.from_text(checkpoint_every)
    store = open_store(data)
    manifest = load_manifest(store)
    preflight.before_job(store, gpus=gpus, tracked=False, single_process=distribution.num_processes == 1)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        scratch = Path(folder)
        init_weights = resolve_weights(chosen, scratch)
        job = TrainJob(
            recipe=chosen,
            init_weights=init_weights,
            manifest=manifest,
            store=store,
            registered_model=registered_model or manifest.name,
            experiment_prefix=experiment_prefix or manifest.name,
            scratch=scratch,
            checkpoints=checkpoints,
            interval=interval,
            log_every=log_every,
            profile=profile,
            restart=restart,
            distribution=distribution,
        )
        yield with_teacher(job)


def resolve_weights(recipe: Recipe, folder: Path) -> Weights | None:
    """Copy a recipe's initial weights into a local folder; None for random weights."""
    uri = recipe.weights
    if uri == "none":
        return None
    _refuse_candidate("--weights", uri)
    if registry.is_tracked(uri):
        model = registry.download(registry.resolve(uri), folder / "weights")
        return Weights.from_file(model_files.model_path(model))
    return weights.resolve(uri, recipe.model, folder)


def _refuse_candidate(option: str, uri: str) -> None:
    if uri.endswith(f"@{registry.CANDIDATE}"):
        raise UsageError(
            f"{option} {uri}: each training moves that alias to its own model; name a version, {registry.resolve(uri)}"
        )


def with_teacher(job: TrainJob) -> TrainJob:
    """Return the job with the teacher that its recipe names, if it names one, in a local folder.

    Raises:
        UsageError: there is no such model, it would see other views than the student, or settings need a teacher.
        DataError: it has other classes or another order of them, or is larger than the dataset's images.
    """
    recipe, manifest = job.recipe, job.manifest
    if not recipe.has_teacher:
        if recipe.distillation != Distillation():
            raise UsageError("--set distillation.views and distillation.temperature need a --teacher")
        return job
    _refuse_candidate("--teacher", recipe.distillation.teacher)
    uri = registry.resolve(recipe.distillation.teacher)
    folder = registry.download(uri, job.scratch / "teacher")
    _, metadata = model_files.load(folder)
    if metadata.classes != manifest.classes:
        difference = describe_difference(metadata.classes, "the teacher", manifest.classes, "the dataset")
        raise DataError(f"the classes of teacher {uri} and dataset differ: {difference}; name another teacher")
    teacher = Teacher(model_files.model_path(folder), model_files.fingerprint(folder), metadata.view)
    teacher.check(recipe)
    try:
        job.pipeline().with_view(teacher.view)
    except DataError as error:
        raise DataError(f"the teacher {uri} cannot see the dataset's images: {error}") from error
    named = dataclasses.replace(recipe, distillation=dataclasses.replace(recipe.distillation, teacher=uri))
    tags = lineage.teacher_tags(uri, teacher.sha256, metadata.dataset_digest, folder)
    return dataclasses.replace(job, recipe=named, teacher=teacher, teacher_tags=tags)
