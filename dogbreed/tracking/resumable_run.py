"""The MLflow run of a training, which goes on whatever the server does: points are kept, and sent on a thread."""

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
    LeaseLost,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    ShutdownRequested,
)
from dogbreed.tracking import runs as tracking
from dogbreed.tracking.metric_spool import MetricSpool
from dogbreed.tracking.mlflow_errors import ping, translate, warn_on_failure
from dogbreed.tracking.runs import CONTENT, JOB_KEY, Run

ANSWER_WITHIN = 3.0  # seconds that a training waits for the server at its start
END_WITHIN = 3.0  # seconds that a stopped job waits for it
RETRY_EVERY = 5.0  # seconds
PATIENCE = 90.0  # seconds that the delivery of a finished training is tried
PARAMS_A_REQUEST = 100  # MLflow refuses more

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What the run of a training is found by, and what it says from the beginning."""

    key: str  # job key
    fingerprint: str  # hash of all that determines the training
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    data: DatasetInput
    fresh: bool  # a new run, whatever runs of this key there are


class ResumableRun(Run):
    """Observes a training (dogbreed.training.progress.MetricLogger); the same job key goes on with the same run."""

    def __init__(self, description: Description) -> None:
        super().__init__("")
        self.done: mlflow.entities.Run | None = None  # a finished run of this job
        self._described = description
        self._spool = MetricSpool()
        self._client_lock = threading.Lock()  # one at a time talks to it
        self._wake, self._answered, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._away = False
        self._refusal: DogbreedError | None = None
        self._monitor: SystemMetricsMonitor | None = None

    def __enter__(self) -> "ResumableRun":
        """Find the run or make it; without an answer within 3 seconds the training begins without one.

        DataError when the key names another training, PermissionDenied when the server refuses.
        """
        self._wake.set()
        threading.Thread(target=self._keep_sending, daemon=True, name="mlflow").start()
        if not self._answered.wait(ANSWER_WITHIN):
            log.warning("MLflow at %s is slow to answer; training begins, its metrics are kept", _uri())
        if self._refusal:
            self.__exit__(None, None, None)
            raise self._refusal
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End what `finish` has not ended: KILLED by a signal, FAILED by any other error.

        Nothing is said of a run that another process goes on with.
        """
        self._ended.set()
        self._wake.set()
        if error and not self.done and not isinstance(error, LeaseLost):
            self._end("KILLED" if isinstance(error, ShutdownRequested | KeyboardInterrupt) else "FAILED")

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one step and have them sent."""
        self._spool.add(step, values)
        self._wake.set()

    def state(self) -> bytes:
        """Return all points since step 0."""
        return self._spool.state()

    def restore(self, state: bytes) -> None:
        """Take back what `state` gave."""
        self._spool.restore(state)
        self._wake.set()

    def finish(self, log_outputs: Callable[[Run], None]) -> mlflow.entities.Run:
        """Send all points, let `log_outputs` give the active run its model and pictures, and return it finished.

        A server that is away is asked again for 90 seconds, then RetryableError. `log_outputs` may be called several
        times.
        """
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((RetryableError, ServiceUnavailable)),
            stop=tenacity.stop_after_delay(PATIENCE),
            wait=tenacity.wait_exponential(max=8),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        ):
            with attempt:
                finished = self._try_finish(log_outputs)
        self.done = finished
        return finished

    def _end(self, status: str) -> None:
        """Send what there is and end the run as `status`, if the server does both within 3 seconds."""

        def last() -> None:
            with warn_on_failure("the end of the run"):
                self._synchronize()
                self._client.set_terminated(self.id, status)

        thread = threading.Thread(target=last, daemon=True)
        thread.start()
        thread.join(END_WITHIN)

    def _try_finish(self, log_outputs: Callable[[Run], None]) -> mlflow.entities.Run:
        with translate():
            self._synchronize()
            if self.done:
                return self.done
            mlflow.start_run(run_id=self.id)
            try:
                log_outputs(self)
                self._synchronize()
            except BaseException:
                with warn_on_failure("the end of the run"):
                    mlflow.end_run("FAILED")
                raise
            mlflow.end_run("FINISHED")
            return tracking.get_run(self.id)

    def _keep_sending(self) -> None:
        """Send whenever there is something new, and try again while the server is away."""
        while True:
            self._wake.wait(RETRY_EVERY if self._away else None)
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                self._synchronize()
            except (PermissionDenied, DataError) as refusal:
                self._refusal = self._refusal or refusal
                self._warn_offline(refusal)
            except Exception as error:  # whatever a tracking store raises: SQLAlchemy's errors come as they are
                self._warn_offline(error)
            else:
                if self._away:
                    log.info("MLflow answers again and has all metrics")
                self._away = False
            self._answered.set()

    def _warn_offline(self, error: Exception) -> None:
        if not self._away:
            log.warning("MLflow did not take what was logged, the training goes on, all is kept: %s", error)
        self._away = True
        self._monitor = None  # it ends itself at the first failure

    def _synchronize(self) -> None:
        """Open the run if that was not possible before, and send all points."""
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
        """Find the finished run of this job, or the one to go on with, or make one."""
        known, experiment = self._described, tracking.experiment("train")
        runs = mlflow.search_runs(
            experiment_ids=[experiment], filter_string=f"tags.`{JOB_KEY}` = '{known.key}'", output_format="list"
        )
        unfinished = [run for run in runs if run.info.status != "FINISHED"]
        if known.fresh:
            for run in unfinished:  # nobody will go on with them
                self._client.set_terminated(run.info.run_id, "KILLED")
            unfinished = []
        else:
            for run in runs:
                tracking.check_same_job(run, known.fingerprint)
            self.done = next((run for run in runs if run.info.status == "FINISHED"), None)
        if not self.done:
            self._reopen(unfinished[0] if unfinished else self._create(experiment))

    def _create(self, experiment: str) -> mlflow.entities.Run:
        known = self._described
        tags = {**known.tags, JOB_KEY: known.key, CONTENT: known.fingerprint}
        return self._client.create_run(experiment, run_name=known.name, tags=resolve_tags(tags))

    def _reopen(self, run: mlflow.entities.Run) -> None:
        """Say that the run is running, and add what it does not say yet: an earlier start may have been cut off."""
        run_id, known = run.info.run_id, self._described
        self._client.update_run(run_id, status="RUNNING")
        missing = [Param(key, str(value)) for key, value in known.params.items() if key not in run.data.params]
        for start in range(0, len(missing), PARAMS_A_REQUEST):
            self._client.log_batch(run_id, params=missing[start : start + PARAMS_A_REQUEST])
        if not (run.inputs and run.inputs.dataset_inputs):
            self._client.log_inputs(run_id, [known.data])
        self.id = run_id


def _uri() -> str:
    return str(mlflow.get_tracking_uri())
