"""The MLflow run of a training: resumed after a restart; a thread sends its metrics and retries during an outage."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
import tenacity
from mlflow.entities import DatasetInput, Param
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context.registry import resolve_tags

from dogbreed.core.errors import (
    DataError,
    DogbreedError,
    EnvironmentUnsupported,
    LeaseLost,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    ShutdownRequested,
)
from dogbreed.tracking import runs as tracking
from dogbreed.tracking.metric_spool import MetricSpool
from dogbreed.tracking.mlflow_errors import database_path, ping, translate, warn_on_failure
from dogbreed.tracking.runs import JOB_FINGERPRINT, JOB_KEY, MlflowRun, Run
from dogbreed.training.progress import TrainingStopped

PARAMS_PER_REQUEST = 100  # MLflow refuses more
STOPPED_BECAUSE = "dogbreed.stopped_because"  # why a training was stopped before its last epoch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timeouts:
    """How long a training waits for MLflow, seconds."""

    # before it starts without MLflow: a start takes about ten requests, and a server with basic authentication takes
    # 0.28 s for each; one that does not respond at all is reported after the 5 s of `ping`
    start: float = 10.0
    retry_every: float = 5.0  # between two attempts to send while MLflow is unavailable
    finish: float = 90.0  # for which `finish` retries
    terminate: float = 3.0  # when it is stopped


@dataclass(frozen=True)
class Description:
    """Job key, parameters and tags of a training's run."""

    experiment_prefix: str
    key: str  # job key
    fingerprint: str  # hash of recipe, weights, dataset and seed
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    data: DatasetInput
    fresh: bool  # create a new run even if this key has one
    job: str = "train"  # the experiment is <prefix>/<job>


class ResumableRun(Run):
    """The MetricLogger (dogbreed.training.progress) of a training; a restarted job continues the run of its job key."""

    def __init__(self, description: Description, timeouts: Timeouts = Timeouts()) -> None:
        super().__init__("")
        self.done: MlflowRun | None = None  # the finished run of this job
        self._description, self._timeouts = description, timeouts
        self._spool = MetricSpool()
        self._client_lock = threading.Lock()  # one thread at a time uses the client
        self._wake = threading.Event()  # there is something to send, or the thread must end
        self._tried = threading.Event()  # the first attempt to reach the server is over
        self._ended = threading.Event()
        self._offline = False
        self._refusal: DogbreedError | None = None  # the first error that waiting does not cure
        self._starting = True  # `__enter__` raises a refusal, nothing is sent later
        self._monitor: SystemMetricsMonitor | None = None

    def __enter__(self) -> "ResumableRun":
        """Find or create the run; if MLflow does not respond in time, training starts without it.

        Raises:
            DataError: the key belongs to another training.
            PermissionDenied: the server refuses the credentials.
            EnvironmentUnsupported: MLflow's database cannot be written.
        """
        self._wake.set()
        threading.Thread(target=self._keep_sending, daemon=True, name="mlflow").start()
        if not self._tried.wait(self._timeouts.start):
            log.warning("%s; training starts, metrics are sent later", self._describe_delay())
        self._starting = False
        if self._refusal:
            self.__exit__(None, None, None)
            raise self._refusal
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End a run that is not finished: as KILLED when it was stopped, as FAILED after any other error.

        After LeaseLost the run stays as it is: another process continues it.
        """
        self._ended.set()
        self._wake.set()
        if error and not self.done and not isinstance(error, LeaseLost):
            killed = isinstance(error, ShutdownRequested | KeyboardInterrupt | TrainingStopped)
            self._terminate("KILLED" if killed else "FAILED", str(error) if isinstance(error, TrainingStopped) else "")

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step and wake the sending thread."""
        self._spool.add(step, values)
        self._wake.set()

    def state(self) -> bytes:
        """Return all points since the first step."""
        return self._spool.state()

    def restore(self, state: bytes) -> None:
        """Replace all points by those of an earlier `state`."""
        self._spool.restore(state)
        self._wake.set()

    def finish(self, log_outputs: Callable[[Run], None]) -> MlflowRun:
        """Send all points, call `log_outputs` with the run active, and return the finished run.

        Retries while MLflow is unavailable, so `log_outputs` may be called several times.

        Raises:
            RetryableError, ServiceUnavailable: MLflow stayed unavailable.
        """
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((RetryableError, ServiceUnavailable)),
            stop=tenacity.stop_after_delay(self._timeouts.finish),
            wait=tenacity.wait_exponential(max=8),
            before_sleep=_log_retry,
            reraise=True,
        ):
            with attempt:
                finished = self._try_finish(log_outputs)
        self.done = finished
        return finished

    def _terminate(self, status: str, reason: str) -> None:
        """Send all points and set the run's status; gives up after a few seconds."""

        def send_and_terminate() -> None:
            with warn_on_failure("the end of the run"):
                self._synchronize()
                if reason:
                    self._client.set_tag(self.id, STOPPED_BECAUSE, reason)
                self._client.set_terminated(self.id, status)

        thread = threading.Thread(target=send_and_terminate, daemon=True)
        thread.start()
        thread.join(self._timeouts.terminate)

    def _try_finish(self, log_outputs: Callable[[Run], None]) -> MlflowRun:
        with translate():
            self._synchronize()
            if self.done:
                return self.done
            mlflow.start_run(run_id=self.id, nested=True)
            try:
                log_outputs(self)
                self._synchronize()
            except BaseException:
                with warn_on_failure("the end of the run"):
                    mlflow.end_run("FAILED")
                raise
            mlflow.end_run("FINISHED")
            return tracking.get_run(self.id)

    def _describe_delay(self) -> str:
        uri, waited = str(mlflow.get_tracking_uri()), f"after {self._timeouts.start:g} s"
        if database := database_path(uri):
            return f"MLflow's database {database} is not ready {waited}: another process locks it, or its disk is slow"
        return f"MLflow's server {uri} has not completed the first requests {waited}"

    def _keep_sending(self) -> None:
        """Send whenever there is something new, and every few seconds while the server is away."""
        while True:
            self._wake.wait(self._timeouts.retry_every if self._offline else None)
            self._wake.clear()
            if self._ended.is_set():
                return
            self._try_sending()
            self._tried.set()

    def _try_sending(self) -> None:
        try:
            self._synchronize()
        except (PermissionDenied, DataError, EnvironmentUnsupported) as error:
            self._refusal = self._refusal or error
            if not self._starting:
                self._set_offline(error)
        except Exception as error:  # a tracking store may raise anything: SQLAlchemy's errors are not translated
            self._set_offline(error)
        else:
            if self._offline:
                log.info("MLflow responds again and has all metrics")
            self._offline = False

    def _set_offline(self, error: Exception) -> None:
        if not self._offline:
            log.warning("MLflow did not accept metrics, training continues and they are sent later: %s", error)
        self._offline = True
        self._monitor = None  # it stops itself at the first failure

    def _synchronize(self) -> None:
        """Find or create the run unless that is done, and send all points."""
        with self._client_lock, translate():
            if not self.id and not self.done:
                ping()
                self._find_or_create()
            if self.done:
                return
            self._spool.send(self._client, self.id)
            if self._monitor is None and not self._ended.is_set():
                self._monitor = SystemMetricsMonitor(self.id, resume_logging=True)  # type: ignore[no-untyped-call]
                self._monitor.start()  # type: ignore[no-untyped-call]

    def _find_or_create(self) -> None:
        """Find the finished run of this job or the one to continue, or create one."""
        known, experiment = (
            self._description,
            tracking.experiment(self._description.experiment_prefix, self._description.job),
        )
        runs = mlflow.search_runs(
            experiment_ids=[experiment], filter_string=f"tags.`{JOB_KEY}` = '{known.key}'", output_format="list"
        )
        unfinished = [run for run in runs if run.info.status != "FINISHED"]
        if known.fresh:
            for run in unfinished:  # no process continues them
                self._client.set_terminated(run.info.run_id, "KILLED")
            unfinished = []
        else:
            for run in runs:
                tracking.check_same_job(run, known.fingerprint)
            self.done = next((run for run in runs if run.info.status == "FINISHED"), None)
        if not self.done:
            self._reopen(unfinished[0] if unfinished else self._create(experiment))

    def _create(self, experiment: str) -> MlflowRun:
        known = self._description
        tags = {**known.tags, JOB_KEY: known.key, JOB_FINGERPRINT: known.fingerprint}
        return self._client.create_run(experiment, run_name=known.name, tags=resolve_tags(tags))

    def _reopen(self, run: MlflowRun) -> None:
        """Set the status to RUNNING and log what an interrupted earlier start has not: parameters and inputs."""
        run_id, known = run.info.run_id, self._description
        self._client.update_run(run_id, status="RUNNING")
        missing = [Param(key, str(value)) for key, value in known.params.items() if key not in run.data.params]
        for start in range(0, len(missing), PARAMS_PER_REQUEST):
            self._client.log_batch(run_id, params=missing[start : start + PARAMS_PER_REQUEST])
        if not (run.inputs and run.inputs.dataset_inputs):
            self._client.log_inputs(run_id, [known.data])
        self.id = run_id


def _log_retry(state: tenacity.RetryCallState) -> None:
    wait, error = (state.next_action.sleep if state.next_action else 0), state.outcome and state.outcome.exception()
    log.warning("the end of the run could not be logged; next attempt in %.0f s: %s", wait, error)
