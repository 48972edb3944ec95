"""MLflow: runs, metrics, pictures, datasets, registered models."""

import logging
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from PIL import Image

from dogbreed.core.errors import DataError, ShutdownRequested
from dogbreed.core.storage import Store
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import metrics
from dogbreed.evaluation.figures import bars, confusion
from dogbreed.evaluation.figures.image_grids import sample_predictions
from dogbreed.evaluation.figures.style import rasterize
from dogbreed.tracking.mlflow_errors import ERRORS, ping, require_model, translate, warn_on_failure

MODEL = "dogbreed"
JOB_KEY = "dogbreed.job_key"
CONTENT = "dogbreed.job_fingerprint"  # hash of recipe, weights, data, seed and format: the default job key
EVALUATION = "dogbreed.evaluation"  # hash of model, data, split, flip and list
DIGEST = "dogbreed.dataset_digest"
CONFIG_ID = "dogbreed.config_id"
METRICS_A_REQUEST = 1000  # MLflow refuses more
DIGEST_LENGTH = 36  # characters that MLflow's database keeps of a dataset's digest

log = logging.getLogger(__name__)


class Run:
    """One MLflow run that is being written."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._unsent: list[Metric] = []

    @property
    def _client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient()  # opens the store, which may not be possible yet

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of one step; what cannot be sent now goes with the next ones."""
        now = int(time.time() * 1000)
        self._unsent += [Metric(key, value, now, step) for key, value in values.items()]
        try:
            self.flush()
        except ERRORS as error:
            log.warning("MLflow did not take %d metric points, they are kept: %s", len(self._unsent), error)

    def flush(self) -> None:
        """Send what is unsent; an MLflow error when that is not possible."""
        while self._unsent:
            self._client.log_batch(self.id, metrics=self._unsent[:METRICS_A_REQUEST])
            del self._unsent[:METRICS_A_REQUEST]

    def log_text(self, path: str, text: str) -> None:
        """Keep a text as an artifact; a server that does not take it is a warning."""
        with warn_on_failure(path):
            mlflow.log_text(text, path)

    def log_figure(self, name: str, figure: Figure | Image.Image, kind: str = "png") -> None:
        """Keep a picture as the artifact pictures/`name`.`kind`; a server that does not take it is a warning."""
        path = f"pictures/{name}.{kind}"
        with warn_on_failure(path):
            mlflow.log_image(figure if isinstance(figure, Image.Image) else rasterize(figure), path)

    def log_prediction_figures(
        self,
        split: str,
        labels: np.ndarray,
        probabilities: np.ndarray,
        classes: Sequence[str],
        photos: np.ndarray,
    ) -> None:
        """Keep what a split's predictions look like: confusion matrix, table and bars by breed, samples.

        `photos` are the first ones of the split, uint8 [n, size, size, 3].
        """
        table = metrics.per_class(labels, probabilities, classes)
        self.log_text(f"tables/per_breed_{split}.csv", table.to_csv(index=False))
        self.log_figure(f"confusion_matrix_{split}", confusion.confusion_matrix(labels, probabilities, classes))
        self.log_figure(f"recall_by_breed_{split}", bars.recall_bars(table))
        shown = slice(len(photos))
        samples = sample_predictions(photos, labels[shown], probabilities[shown], classes)
        self.log_figure(f"sample_predictions_{split}", samples)


@contextmanager
def start_run(job: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run in the experiment of `job`; it ends as FINISHED, FAILED or, by SIGTERM, KILLED.

    ServiceUnavailable when MLflow does not answer at the start, RetryableError when it is lost later.
    """
    ping()
    with translate():
        active = mlflow.start_run(experiment_id=experiment(job), run_name=name, tags=dict(tags))
        own = Run(active.info.run_id)
        try:
            mlflow.log_params(flatten_params(params))
            yield own
            own.flush()
        except BaseException as error:
            killed = isinstance(error, ShutdownRequested | KeyboardInterrupt)
            with warn_on_failure("the end of the run"):
                mlflow.end_run("KILLED" if killed else "FAILED")
            raise
        mlflow.end_run("FINISHED")


def experiment(job: str) -> str:
    """Return the id of `dogbreed/<job>`; beside a SQLite file, artifacts lie in the database's folder."""
    name, uri = f"dogbreed/{job}", mlflow.get_tracking_uri()
    found = mlflow.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    beside = Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts" / job
    try:
        return str(mlflow.create_experiment(name, beside.as_uri() if uri.startswith("sqlite:///") else None))
    except MlflowException as error:
        found = mlflow.get_experiment_by_name(name)  # another job has made it meanwhile
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


def finished_run(job: str, tag: str, value: str) -> mlflow.entities.Run | None:
    """Return the newest finished run of `job` with that tag, None where there is none."""
    with translate():
        runs = mlflow.search_runs(
            experiment_ids=[experiment(job)],
            filter_string=f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
            max_results=1,
            output_format="list",
        )
    return runs[0] if runs else None


def finished_training(key: str, fingerprint: str) -> mlflow.entities.Run | None:
    """Return the finished run of job `key`, None where there is none; DataError as in `check_same_job`."""
    done = finished_run("train", JOB_KEY, key)
    if done:
        check_same_job(done, fingerprint)
    return done


def check_same_job(run: mlflow.entities.Run, fingerprint: str) -> None:
    """Raise DataError when the run of a job key trained, or trains, something else.

    Other recipes, data, seeds or weights have another `fingerprint`.
    """
    if run.data.tags.get(CONTENT) != fingerprint:
        raise DataError(
            f"job {run.data.tags[JOB_KEY]} has run {run.info.run_id} with another recipe, dataset, seed or weights; "
            "choose another --name"
        )


def version_of(run_id: str) -> ModelVersion | None:
    """Return the registered version whose model a run has logged."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{MODEL}' and run_id = '{run_id}'")
    return found[0] if found else None


def logged_model(run: mlflow.entities.RunInfo) -> str | None:
    """Return the id of the model that a run has logged whole; one that was cut off is removed."""
    client, whole = mlflow.MlflowClient(), None
    found = client.search_logged_models([run.experiment_id], filter_string=f"source_run_id = '{run.run_id}'")
    for model in found:
        if model.status == LoggedModelStatus.READY:
            whole = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def set_candidate_alias(version: int) -> None:
    """Point the alias `candidate` at a version of the registered model."""
    with translate():
        mlflow.MlflowClient().set_registered_model_alias(MODEL, "candidate", str(version))


def get_run(run_id: str) -> mlflow.entities.Run:
    """Return a run as the server has it."""
    with translate():
        return mlflow.get_run(run_id)


def log_input(manifest: Manifest, store: Store, context: str) -> None:
    """Tie the active run to the dataset; MLflow keeps 36 characters of the digest, the tag all 64."""
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
    return MetaDataset(source, name="dogbreed", digest=digest)  # type: ignore[abstract]  # upstream annotates it so


def resolve(uri: str) -> str:
    """Return `models:/NAME@ALIAS` as `models:/NAME/VERSION`, and any other name of a model as it is.

    ServiceUnavailable when MLflow is needed and does not answer.
    """
    if re.match(r"(models|runs):/", uri):
        ping()
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)@(?P<alias>[^/@]+)", uri)
    if match is None:
        return uri
    with translate(), require_model(uri):
        version = mlflow.MlflowClient().get_model_version_by_alias(match["name"], match["alias"])
    return f"models:/{match['name']}/{version.version}"


def download(uri: str, folder: Path) -> Path:
    """Download the model behind models:/..., runs:/... or a path and return its folder."""
    with translate(), require_model(uri):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
