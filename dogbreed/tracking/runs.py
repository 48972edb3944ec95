"""MLflow runs: start one, log metrics, figures and datasets, find finished ones."""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import mlflow
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from PIL import Image

from dogbreed.core.errors import DataError, ShutdownRequested
from dogbreed.core.storage import Store
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation.figures.style import rasterize
from dogbreed.tracking.mlflow_errors import ERRORS, database_path, ping, translate, warn_on_failure

JOB_KEY = "dogbreed.job_key"
JOB_FINGERPRINT = "dogbreed.job_fingerprint"  # hash of recipe, weights, data, seed and format: the default job key
EVALUATION = "dogbreed.evaluation"  # hash of model, data, split and options
TRAINING_RUN = "dogbreed.training_run"  # of an evaluated model: its name may be given to another one later
SPLIT = "dogbreed.split"
DIGEST = "dogbreed.dataset_digest"
CONFIG_ID = "dogbreed.config_id"
BOXES = "dogbreed.boxes"  # of a training, true or false: whether its images have bounding boxes
PARENT_RUN = MLFLOW_PARENT_RUN_ID  # under which MLflow's UI shows a run
IMAGENET = "dogbreed.imagenet"  # of a training, true or false: whether its images come from ImageNet
METRICS_PER_REQUEST = 1000  # MLflow refuses more
DIGEST_LENGTH = 36  # characters that MLflow's database keeps of a dataset's digest

MlflowRun: TypeAlias = mlflow.entities.Run

log = logging.getLogger(__name__)


class Run:
    """An MLflow run that is being written."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._unsent: list[Metric] = []

    @property
    def artifact_uri(self) -> str:
        """Where the artifacts of the run are."""
        return str(mlflow.get_artifact_uri())

    @property
    def _client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient()  # opens the store, which may not be possible yet

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of one step; values that cannot be sent now are sent with the next ones."""
        now = int(time.time() * 1000)
        self._unsent += [Metric(key, value, now, step) for key, value in values.items()]
        try:
            self.flush()
        except ERRORS as error:
            log.warning("MLflow did not accept %d metric points, they are sent later: %s", len(self._unsent), error)

    def flush(self) -> None:
        """Send all unsent values; raises MLflow's error if that is not possible."""
        while self._unsent:
            self._client.log_batch(self.id, metrics=self._unsent[:METRICS_PER_REQUEST])
            del self._unsent[:METRICS_PER_REQUEST]

    def log_text(self, path: str, text: str) -> None:
        """Log a text as an artifact; a failure is a warning."""
        with warn_on_failure(path):
            mlflow.log_text(text, path)

    def log_folder(self, path: str, folder: Path) -> None:
        """Log the files of a folder, if it exists, as artifacts below `path`; a failure is a warning."""
        if folder.exists():
            with warn_on_failure(path):
                mlflow.log_artifacts(str(folder), path)

    def log_figure(self, name: str, figure: Figure | Image.Image, kind: str = "png") -> None:
        """Log a figure as the artifact figures/`name`.`kind`; a failure is a warning."""
        path = f"figures/{name}.{kind}"
        image = figure if isinstance(figure, Image.Image) else rasterize(figure)
        with warn_on_failure(path):
            mlflow.log_image(image, path)


@contextmanager
def start_run(prefix: str, job: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run in the experiment `<prefix>/<job>`; it ends as FINISHED, FAILED or, after a signal, KILLED.

    Raises:
        ServiceUnavailable: MLflow does not respond at the start.
        RetryableError: MLflow was lost later.
    """
    ping()
    with translate():
        created = mlflow.MlflowClient().create_run(
            experiment(prefix, job), run_name=name, tags=resolve_tags(dict(tags))
        )
        run = Run(created.info.run_id)
        # by its id and nested: neither MLFLOW_RUN_ID nor an active run of this process takes its place
        mlflow.start_run(run_id=run.id, nested=True)
        try:
            mlflow.log_params(flatten_params(params))
            yield run
            run.flush()
        except BaseException as error:
            killed = isinstance(error, ShutdownRequested | KeyboardInterrupt)
            with warn_on_failure("the end of the run"):
                mlflow.end_run("KILLED" if killed else "FAILED")
            raise
        mlflow.end_run("FINISHED")


def experiment(prefix: str, job: str) -> str:
    """Return the id of `<prefix>/<job>`; with a SQLite file, artifacts are stored in the database's folder."""
    name = f"{prefix}/{job}"
    found = mlflow.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    database = database_path(mlflow.get_tracking_uri())
    artifacts = (database.absolute().parent / "artifacts" / prefix / job).as_uri() if database else None
    try:
        return str(mlflow.create_experiment(name, artifacts))
    except MlflowException as error:
        found = mlflow.get_experiment_by_name(name)  # another job has created it meanwhile
        if found is None:
            raise error
        return str(found.experiment_id)


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters as one level of dotted names."""
    level: dict[str, Any] = {}
    for key, value in params.items():
        nested = flatten_params(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        level |= nested
    return level


def set_note(text: str) -> None:
    """Set the description of the active run, Markdown."""
    mlflow.set_tag(MLFLOW_RUN_NOTE, text)


def finished_run(prefix: str, job: str, tag: str, value: str) -> MlflowRun | None:
    """Return the newest finished run of `<prefix>/<job>` with that tag, None if there is none."""
    with translate():
        runs = mlflow.search_runs(
            experiment_ids=[experiment(prefix, job)],
            filter_string=f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
            max_results=1,
            output_format="list",
        )
    return runs[0] if runs else None


def finished_training(prefix: str, key: str, fingerprint: str) -> MlflowRun | None:
    """Return the finished run of job `key`, None if there is none; DataError as in `check_same_job`."""
    done = finished_run(prefix, "train", JOB_KEY, key)
    if done:
        check_same_job(done, fingerprint)
    return done


def check_same_job(run: MlflowRun, fingerprint: str) -> None:
    """Raise DataError if the run of a job key has another fingerprint: another recipe, dataset, seed or weights."""
    if run.data.tags.get(JOB_FINGERPRINT) != fingerprint:
        raise DataError(
            f"job {run.data.tags[JOB_KEY]} has run {run.info.run_id} with another recipe, dataset, seed or weights; "
            "choose another --name"
        )


def get_run(run_id: str) -> MlflowRun:
    """Return a run as the server has it."""
    with translate():
        return mlflow.get_run(run_id)


def log_input(manifest: Manifest, store: Store, context: str) -> None:
    """Log the dataset as an input of the active run; MLflow keeps 36 characters of the digest, the tag all 64."""
    mlflow.log_input(_dataset(manifest, store), context=context)
    mlflow.set_tag(DIGEST, manifest.digest)


def dataset_input(manifest: Manifest, store: Store, context: str) -> DatasetInput:
    """Return what `log_input` logs, for a run that is not the active one."""
    entity = Dataset.from_dictionary(_dataset(manifest, store).to_dict())
    return DatasetInput(cast(Dataset, entity), tags=[InputTag(MLFLOW_DATASET_CONTEXT, context)])


def _dataset(manifest: Manifest, store: Store) -> MetaDataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The specified dataset source can be interpreted in multiple ways")
        source = resolve_dataset_source(store.uri if "://" in store.uri else Path(store.uri).absolute().as_uri())
    digest = manifest.digest[:DIGEST_LENGTH]
    return MetaDataset(source, name=manifest.name, digest=digest)  # type: ignore[abstract]  # upstream annotates it so


def check_round_trip(prefix: str) -> str:
    """Write a run with a metric and an artifact, read both back and delete the run; DataError if they differ."""
    with start_run(prefix, "preflight", "preflight", {}, {}) as run:
        run.log_metrics(0, {"probe": 1.0})
        mlflow.log_text("dogbreed", "probe.txt")
    with translate():
        found = mlflow.get_run(run.id)
        text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/probe.txt")
        mlflow.delete_run(run.id)
    if found.data.metrics != {"probe": 1.0} or text != "dogbreed":
        raise DataError(f"run {run.id} differs from what was written; check the server's database and artifacts")
    return f"{mlflow.get_tracking_uri()}: run, metric, artifact"
