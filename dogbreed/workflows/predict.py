"""jobs.predict: from a prefix of images and a model to committed rows and their MLflow run."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dogbreed.core import resources
from dogbreed.core.storage import LocalStore, Store, open_store, to_path
from dogbreed.data.manifest import MANIFEST, Manifest
from dogbreed.data.raw.census import ReasonSummary, check_ignored
from dogbreed.data.sharded_work import assign_shards
from dogbreed.serving import batch_predict
from dogbreed.serving.batch_predict import BatchPredictPlan, RowCounts
from dogbreed.serving.row_verification import verify_rows
from dogbreed.serving.row_writers import WRITERS
from dogbreed.tracking import registry
from dogbreed.workflows import gpu_memory, preflight
from dogbreed.workflows.sharded_build import BuildResult, IncompleteSummary, Worker, load_or_build

log = logging.getLogger(__name__)


class PredictSummary(RowCounts):
    """Summary of complete predictions."""

    ignored: int  # files that are no images
    ignored_by_reason: dict[str, ReasonSummary]

    out: str
    manifest: str  # URI


@dataclass(frozen=True)
class PredictJob:
    """What one worker is asked to do."""

    model: str  # models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder
    images: Store
    only: str | None  # the key of the one image that is wanted; None: all
    max_ignored: float  # fraction of all image files
    out: Store
    experiment_prefix: str | None  # None: the name of the model's dataset
    kind: str | None  # one of WRITERS; None: by the ending of `out`
    shards: int | None  # approximate number of row files
    worker: Worker
    gpus: int | None  # that TensorFlow must see; None: those given to the container
    verify: bool  # read every image of this worker's rows again


def predict(job: PredictJob) -> PredictSummary | IncompleteSummary:
    """Build this worker's rows; once all are there, write the manifest and the MLflow run.

    Raises:
        DataError: no image has a prediction; the rows, the manifest and the run are there and hold the reasons.
    """
    gpu_memory.enable_memory_growth()
    preflight.before_job(job.images, job.out, gpus=job.gpus)
    model = registry.resolve(job.model)
    kind = job.kind or kind_from_ending(job.out.uri)
    threads = resources.io_threads(local=job.images.local_path("") is not None)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as scratch, resources.thread_pool(threads) as pool:
        folder = registry.download(model, Path(scratch) / "model")
        plan = batch_predict.plan_predictions(job.images, folder, kind, job.shards, job.only)
        check_ignored(plan.ignored, sum(len(shard.images) for shard in plan.shards), job.max_ignored, job.images.uri)
        result = _load_or_build(job, plan, pool)
        if job.verify:
            _verify(job, plan, result.manifest, pool)
    if result.manifest is None:
        return {"manifest": None, "out": job.out.uri}
    _log_run(job, model, plan, result.manifest, result.images_per_second)
    batch_predict.check_errors(result.manifest, job.out.uri)
    return {
        **batch_predict.counts(result.manifest),
        "ignored": len(plan.ignored),
        "ignored_by_reason": plan.ignored.summary(),
        "out": job.out.uri,
        "manifest": job.out.uri_of(MANIFEST),
    }


def _verify(job: PredictJob, plan: BatchPredictPlan, manifest: Manifest | None, pool: ThreadPoolExecutor) -> None:
    """Read every image of this worker's rows again; log a warning where rows of other workers are missing."""
    if manifest is None:
        log.warning("nothing was verified: the rows of other workers are missing; run the same command again")
        return
    numbers = assign_shards(plan, job.worker.index, job.worker.count)
    verify_rows(plan, manifest, sorted(numbers), job.out, pool)


def _log_run(
    job: PredictJob, model: str, plan: BatchPredictPlan, manifest: Manifest, images_per_second: float | None
) -> None:
    """Write the run of complete predictions; model: resolved URI."""
    params = {
        "model": model,
        "model_sha256": plan.empty_manifest.config["model_sha256"],
        "images": job.images.uri,
        "out": job.out.uri,
        "format": plan.kind,
    }
    prefix = job.experiment_prefix or plan.metadata.dataset_name
    batch_predict.log_predictions(prefix, manifest, plan.ignored, params, images_per_second)


def open_images(uri: str) -> tuple[Store, str | None]:
    """Return the store behind a prefix; for the URI of one image, that of its folder, and its key."""
    path = to_path(uri)
    if path is not None:
        return (LocalStore(path.parent), path.name) if path.is_file() else (LocalStore(path), None)
    parent, _, name = uri.rpartition("/")
    if name and parent != "s3:/":
        store = open_store(parent)
        if store.size(name) is not None:
            return store, name
    return open_store(uri), None


def _load_or_build(job: PredictJob, plan: BatchPredictPlan, pool: ThreadPoolExecutor) -> BuildResult:
    def write_rows(plan: BatchPredictPlan, numbers: Sequence[int]) -> Iterator[int]:
        return batch_predict.write_rows(plan, numbers, job.out, pool)

    def finalize(plan: BatchPredictPlan) -> Manifest | None:
        return batch_predict.finalize(plan, job.out)

    return load_or_build(plan, job.out, job.worker, "predict", write_rows, finalize)


def kind_from_ending(uri: str) -> str:
    """Return the kind of file that the ending of a URI names, parquet if it names none."""
    ending = uri.rpartition(".")[2]
    return ending if ending in WRITERS else "parquet"
