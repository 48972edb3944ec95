"""Name the breed on each photo below a prefix, in rows that people and programs read."""

import logging
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dogbreed.core import resources
from dogbreed.core.log import progress
from dogbreed.core.storage import Store, open_store
from dogbreed.data.manifest import Manifest
from dogbreed.serving.row_writers import WRITERS
from jobs._cli import gpus_option, job, uri_option

if TYPE_CHECKING:  # --help imports no TensorFlow
    from dogbreed.serving.batch_predict import BatchPredictPlan

log = logging.getLogger(__name__)


@job("predict")
@click.option(
    "--model",
    default="models:/dogbreed@champion",
    help="models:/dogbreed@ALIAS, models:/dogbreed/VERSION, runs:/RUN/model or a folder.",
)
@uri_option("--images", "Where the images are, .jpg or .png, at any depth", required=True)
@uri_option("--out", "Where the rows go", required=True)
@click.option(
    "--format", "kind", type=click.Choice(list(WRITERS)), envvar="DOGBREED_PREDICT_FORMAT",
    help="What the rows are written as.  [default: the ending of --out, or parquet]",
)  # fmt: skip
@click.option("--shards", type=click.IntRange(1), help="Approximate number of row files.  [default: 256 images each]")
@click.option("--worker-index", type=int, envvar="JOB_COMPLETION_INDEX", help="This worker's fixed share: 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Number of workers N with a fixed share.")
@gpus_option
def main(**options: Any) -> dict[str, Any]:
    """Predict the class of every image below --images, one output row per image. Idempotent."""
    from dogbreed.data.sharded_work import load_if_complete
    from dogbreed.serving import batch_predict
    from dogbreed.tracking import runs
    from dogbreed.workflows import preflight

    photos, out = open_store(options["images"]), open_store(options["out"])
    preflight.before_job(photos, out, gpus=options["gpus"])
    model, kind = runs.resolve(options["model"]), options["kind"] or _ending(out.uri)
    with (
        tempfile.TemporaryDirectory(prefix="dogbreed-") as scratch,
        resources.thread_pool(resources.io_threads(local=photos.local_path("") is not None)) as pool,
    ):
        folder = runs.download(model, Path(scratch) / "model")
        plan = batch_predict.plan(photos, folder, kind, options["shards"], pool)
        manifest, rate = load_if_complete(plan, out, batch_predict.FORMAT), None
        if manifest:
            log.info("%s is complete already", out.uri)
        else:
            manifest, rate = _make(plan, out, options, pool)
    if manifest is None:
        log.info("this worker's share is done; other workers' parts are missing, the last one writes the manifest")
        return {"manifest": None, "out": out.uri}
    params = {"model": model, "model_sha256": plan.digest, "images": photos.uri, "out": out.uri, "format": kind}
    batch_predict.log_predictions(manifest, params, rate)
    return {**batch_predict.counts(manifest), "out": out.uri, "manifest": out.uri_of("manifest.json")}


def _make(
    plan: "BatchPredictPlan", out: Store, options: dict[str, Any], pool: ThreadPoolExecutor
) -> tuple[Manifest | None, float | None]:
    """Make this worker's rows and, when no others are missing, the manifest; also return photos per second."""
    from dogbreed.data.sharded_work import assign_shards
    from dogbreed.serving import batch_predict

    start_time, numbers = time.monotonic(), assign_shards(plan, options["worker_index"], options["workers"])
    log.info("looking after %d of %d shards at %s", len(numbers), len(plan.shards), out.uri)
    made = batch_predict.write_rows(plan, numbers, out, pool)
    read = sum(progress(made, "predict", len(numbers), unit="shard"))
    rate = read / (time.monotonic() - start_time) if read else None
    return batch_predict.finalize(plan, out), rate


def _ending(uri: str) -> str:
    """Return the kind of file that the end of --out names, parquet where it names none."""
    ending = uri.rpartition(".")[2]
    return ending if ending in WRITERS else "parquet"


if __name__ == "__main__":
    main()
