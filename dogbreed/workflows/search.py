"""jobs.search: search a recipe's fields for a better validation score; any number of processes share one study."""

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import tenacity
from optuna.trial import Trial, TrialState

from dogbreed.core import signals
from dogbreed.core.canonical_json import short_id
from dogbreed.core.errors import (
    DataError,
    EnvironmentUnsupported,
    LeaseLost,
    RetryableError,
    UsageError,
)
from dogbreed.core.lease import Lease, LeaseWatch
from dogbreed.core.log import configure
from dogbreed.core.storage import Store, open_store
from dogbreed.tracking import runs, search_run
from dogbreed.tracking.training_outputs import BEST_TOP1
from dogbreed.training.phases import count_epochs
from dogbreed.training.progress import TrainingStopped
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.search_spaces import SearchSpace
from dogbreed.workflows import search_summary, search_trial
from dogbreed.workflows.search_storage import open_storage
from dogbreed.workflows.search_study import REPEATS, SEED, SearchOptions, Study
from dogbreed.workflows.search_summary import SearchSummary
from dogbreed.workflows.search_trial import TrialKey
from dogbreed.workflows.train_job import TrainJob

LOCK_SECONDS = 120.0  # for which a process waits until another one of the study has asked for its trial
POLL_EVERY = 2.0  # seconds between two looks at trials of other processes

log = logging.getLogger(__name__)


def search(job: TrainJob, space: SearchSpace, options: SearchOptions) -> SearchSummary:
    """Train trials until there are `options.trials`, and return what the study found.

    Raises:
        DataError: the study's name belongs to another dataset or space, or no trial could be completed.
        ServiceUnavailable: the study's storage or MLflow is away.
    """
    space.check(job.recipe)
    return _Search(job, space, options).run()


@dataclass(frozen=True)
class _Outcome:
    """How a trial ended."""

    state: TrialState
    score: float | None  # of a complete one
    reason: str  # why it is not complete
    hours: float  # of cores, or of GPUs


class _Search:
    """One process of a study."""

    def __init__(self, job: TrainJob, space: SearchSpace, options: SearchOptions) -> None:
        self._job = dataclasses.replace(job, recipe=apply_overrides(job.recipe, space.settings))
        self._options = options
        self._fingerprint = short_id([self._job.fingerprint(options.seed), space.to_dict()])
        self._name = options.study or f"{job.recipe.name}-{self._fingerprint[:8]}"
        self._space, self._watch = space, LeaseWatch()
        self._until = time.monotonic() + options.hours * 3600 if options.hours else float("inf")
        configure(f"search {self._name}")

    def run(self) -> SearchSummary:
        """Take part in the study until it has all its trials, or the time is over."""
        self._job.pipeline()  # an error of the dataset is no trial's
        with self._alone():
            self._study = self._open_study()
            self._study.claim(self._fingerprint)
            self._run = self._open_run()
        while trial := self._next_trial():
            self._train_alone(trial)
        with self._alone():
            return search_summary.conclude(self._study, self._run, self._options.command)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process of the study at a time ask for a trial or write the study's run."""
        store = open_store(f"{self._job.checkpoints}/{self._name}")
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(RetryableError),
            stop=tenacity.stop_after_delay(LOCK_SECONDS),
            wait=tenacity.wait_random(0.1, 1.0),
            reraise=True,
        )
        with ExitStack() as stack:
            retrying(lambda: stack.enter_context(Lease(store, f"study {self._name}")))
            yield

    def _open_study(self) -> Study:
        recipe, options = self._job.recipe, self._options
        warmup = max(1, count_epochs(recipe, self._job.init_weights is not None) // 4)
        storage = open_storage(options.storage)
        return Study(storage, self._name, recipe, self._space, options, warmup)

    def _open_run(self) -> runs.Run:
        job, space = self._job, self._space
        params = {"recipe": job.recipe.to_dict(), "seed": self._options.seed, "sampler": self._options.sampler}
        params |= {"space": space.to_dict()["parameters"], "data": job.manifest.params()}
        data = runs.dataset_input(job.manifest, job.store, "search")
        tags = {runs.DIGEST: job.manifest.digest}
        return search_run.find_or_create(job.experiment_prefix, self._name, self._fingerprint, params, tags, data)

    def _next_trial(self) -> Trial | None:
        """Return a trial whose process has ended, or a new one; None once there are enough, or the time is over.

        While other processes train the last trials, wait: one of them may end and leave its trial behind.
        """
        while time.monotonic() < self._until:
            signals.raise_if_requested()
            running = self._study.trials(TrialState.RUNNING)
            for trial in running:
                if self._watch.is_free(open_store(self._prefix(trial.number))):
                    log.info("trial %d has lost its process and is continued here", trial.number + 1)
                    return self._study.resume(trial)
            with self._alone():
                if len(self._study.searched()) < self._options.trials:
                    return self._study.ask()
                if not self._study.searched(TrialState.RUNNING) and (repeat := self._study.ask_repeat()):
                    return repeat
            if not running:
                return None
            time.sleep(POLL_EVERY)
        return None

    def _key(self, number: int) -> str:
        """Return the job key of a trial; Optuna counts from 0, people from 1."""
        return f"{self._name}-{number + 1}"

    def _prefix(self, number: int) -> str:
        return f"{self._job.checkpoints}/{self._key(number)}"

    def _train_alone(self, trial: Trial) -> None:
        """Train and record a trial, unless another process has it or had it."""
        store = open_store(self._prefix(trial.number))
        with ExitStack() as stack:
            try:
                lease = stack.enter_context(Lease(store, f"trial {trial.number + 1}"))
            except RetryableError as error:
                log.info("%s", error)
                return
            if trial.number not in [other.number for other in self._study.trials(TrialState.RUNNING)]:
                log.info("trial %d was recorded by another process meanwhile", trial.number + 1)
                return
            try:
                outcome = self._train(trial, store, lease)
            except LeaseLost as error:
                log.warning("%s", error)
                return
            self._study.tell(trial, outcome.state, outcome.score, reason=outcome.reason, hours=outcome.hours)
        self._log_outcome(trial.number, outcome)

    def _train(self, trial: Trial, store: Store, lease: Lease) -> _Outcome:
        """Train a trial and return how it ended.

        Raises:
            DataError, EnvironmentUnsupported: it failed, and so may all others: none is complete so far.
        """
        settings, key = self._study.settings(trial), TrialKey(self._key(trial.number), self._run.id)
        seed, repeated = trial.user_attrs.get(SEED, self._options.seed), REPEATS in trial.user_attrs
        usage = ResourceUsage({}, self._job.distribution.gpus)

        def report(epoch: int, score: float) -> None:
            if self._study.should_stop(trial, epoch, score) and not repeated:
                raise TrainingStopped(f"below the median of the other trials after epoch {epoch}")

        try:
            job = dataclasses.replace(self._job, recipe=apply_overrides(self._job.recipe, settings))
            log.info("trial %d of %d, seed %d: %s", trial.number + 1, self._study.planned(), seed, " ".join(settings))
            run = search_trial.train_trial(job, key, seed, store, lease, report)
        except (TrainingStopped, UsageError) as error:
            return _Outcome(TrialState.PRUNED, None, str(error), _hours(usage.read()))
        except (DataError, EnvironmentUnsupported) as error:
            if not self._study.best():
                self._study.tell(trial, TrialState.FAIL, reason=str(error))
                raise
            return _Outcome(TrialState.FAIL, None, str(error), _hours(usage.read()))
        return _Outcome(TrialState.COMPLETE, run.data.metrics[BEST_TOP1], "", _hours(run.data.metrics))

    def _log_outcome(self, number: int, outcome: _Outcome) -> None:
        best = self._study.best()
        top = f"; best {best[0].values[0]:.1%}, trial {best[0].number + 1}" if best else ""
        ended = (
            f"val_top1 {outcome.score:.1%}" if outcome.score is not None else f"{outcome.state.name}: {outcome.reason}"
        )
        log.info("trial %d ended: %s%s", number + 1, ended, top)
        if outcome.score is not None and best:
            self._run.log_metrics(number + 1, {"val_top1": outcome.score, "best_val_top1": best[0].values[0]})


def _hours(used: Mapping[str, float]) -> float:
    return used.get("gpu_hours", used["cpu_hours"])
