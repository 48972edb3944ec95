"""jobs.search: search a recipe's fields for a better validation score; any number of processes share one study."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import tenacity
from optuna.trial import FrozenTrial, Trial

from dogbreed.core import lease, signals
from dogbreed.core.canonical_json import short_id
from dogbreed.core.errors import EnvironmentUnsupported, LeaseLost, RetryableError, UsageError
from dogbreed.core.lease import Lease, LeaseWatch
from dogbreed.core.log import configure
from dogbreed.core.storage import Store, open_store
from dogbreed.data.splits import VALIDATION
from dogbreed.tracking import runs, search_run
from dogbreed.training.phases import count_epochs
from dogbreed.training.progress import TrainingStopped
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.search_spaces import SearchSpace
from dogbreed.workflows import search_summary, search_trial
from dogbreed.workflows.search_storage import RETRY_SECONDS, describe_storage, open_storage
from dogbreed.workflows.search_study import SearchOptions, Study
from dogbreed.workflows.search_summary import SearchSummary
from dogbreed.workflows.search_trial import Outcome, TrialKey
from dogbreed.workflows.train_job import TrainJob

FOLDER = "search"  # below the checkpoints; in it a folder for each study
LOCK_SECONDS = RETRY_SECONDS + 300.0  # for which a process waits until another one has asked for its trial
POLL_EVERY = 2.0  # seconds between two looks at trials of other processes
FAILURES = 3  # failed trials in a row that end a process: the next one would fail too
CRASHES = 5  # of processes in the same epoch of a trial: then it fails, for example for lack of memory

Lock = Callable[[], AbstractContextManager[None]]

log = logging.getLogger(__name__)


def search(job: TrainJob, space: SearchSpace, options: SearchOptions) -> SearchSummary:
    """Train trials until there are `options.trials`, and return what the study found.

    Raises:
        DataError: the study's name belongs to another dataset or space, or no trial could be completed.
        ServiceUnavailable: the study's storage or MLflow is unavailable.
    """
    space.check(job.recipe)
    job = dataclasses.replace(job, recipe=apply_overrides(job.recipe, space.settings))
    job.pipeline()  # an error of the dataset is no trial's
    fingerprint = short_id([job.fingerprint(options.seed), space.to_dict()])
    name = options.study or f"{job.recipe.name}-{fingerprint[:8]}"
    configure(f"search {name}")
    lock = partial(_lock, open_store(f"{job.checkpoints}/{FOLDER}/{name}"), name)
    with lock():
        study = _open_study(job, name, space, options)
        study.claim(fingerprint)
        run = _open_run(job, name, fingerprint, space, options)
    log.info("studies are in %s, the run of this one in MLflow is %s", describe_storage(options.storage), run.id)
    _Worker(job, study, run, lock, options).work()
    with lock():
        images = job.manifest.split(VALIDATION).num_examples
        return search_summary.conclude(study, run, options.command, images)


@contextmanager
def _lock(store: Store, name: str) -> Iterator[None]:
    """Let one process of the study at a time ask for a trial or write the study's run."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RetryableError),
        stop=tenacity.stop_after_delay(LOCK_SECONDS),
        wait=tenacity.wait_random(0.1, 1.0),
        reraise=True,
    )
    with ExitStack() as stack:
        retrying(lambda: stack.enter_context(Lease(store, f"study {name}")))
        yield


def _open_study(job: TrainJob, name: str, space: SearchSpace, options: SearchOptions) -> Study:
    warmup = max(1, count_epochs(job.recipe, job.init_weights is not None) // 4)
    return Study(open_storage(options.storage), name, job.recipe, space, options, warmup)


def _open_run(job: TrainJob, name: str, fingerprint: str, space: SearchSpace, options: SearchOptions) -> runs.Run:
    params = {"recipe": job.recipe.to_dict(), "seed": options.seed, "sampler": options.sampler}
    params |= {"space": space.to_dict()["parameters"], "data": job.manifest.params()}
    data = runs.dataset_input(job.manifest, job.store, "search")
    tags = {runs.DIGEST: job.manifest.digest}
    return search_run.find_or_create(job.experiment_prefix, name, fingerprint, params, tags, data)


class _Worker:
    """One process of a study."""

    def __init__(self, job: TrainJob, study: Study, run: runs.Run, lock: Lock, options: SearchOptions) -> None:
        self._job, self._study, self._run, self._lock, self._options = job, study, run, lock, options
        self._until = time.monotonic() + options.hours * 3600 if options.hours else float("inf")
        self._watch = LeaseWatch()
        self._failures = 0  # in a row

    def work(self) -> None:
        """Train trials until all have ended, or the time is over."""
        while trial := self._next_trial():
            self._train_with_lease(trial)

    def _next_trial(self) -> Trial | None:
        """Return a trial whose process has ended, or a new one; None once all have ended, or the time is over.

        While other processes train the last trials, wait: one of them may end and leave its trial behind.
        """
        while time.monotonic() < self._until and not self._study.is_finished():
            signals.raise_if_requested()
            for trial in self._study.running():
                if self._watch.is_free(self._store(trial)):
                    log.info("trial %d has lost its process and is continued here", trial.number + 1)
                    return self._study.resume(trial)
            if self._study.may_ask():
                with self._lock():
                    if asked := self._study.ask():
                        return asked
            time.sleep(POLL_EVERY)
        if time.monotonic() >= self._until:
            log.info("the time of --hours is over; the same command continues the study")
        return None

    def _store(self, trial: Trial | FrozenTrial) -> Store:
        """Return the store of a trial's checkpoints and lease."""
        return open_store(f"{self._job.checkpoints}/{FOLDER}/{self._study.name}/{trial.number + 1}")

    def _train_with_lease(self, trial: Trial) -> None:
        """Train and record a trial, unless another process has it or had it."""
        store = self._store(trial)
        has_crashed = lease.is_abandoned(store)
        with ExitStack() as stack:
            try:
                held = stack.enter_context(Lease(store, f"trial {trial.number + 1}"))
            except RetryableError as error:
                log.info("%s", error)
                return
            if trial.number not in [other.number for other in self._study.running()]:
                log.info("trial %d was recorded by another process meanwhile", trial.number + 1)
                return
            try:
                outcome = (has_crashed and self._give_up(trial)) or self._train(trial, store, held)
            except LeaseLost as error:
                log.warning("%s", error)
                return
            self._study.tell(trial, outcome)
        self._log_outcome(trial, outcome)
        self._failures = self._failures + 1 if outcome.error else 0
        if outcome.error and (self._failures == FAILURES or not (self._study.best() or self._study.running())):
            raise outcome.error

    def _give_up(self, trial: Trial) -> Outcome | None:
        """Return the outcome of a trial that has ended too many processes, None for any other."""
        if self._study.count_crash(trial) < CRASHES:
            return None
        reason = f"{CRASHES} processes ended without a message in the same epoch; was there too little memory?"
        return Outcome(None, reason, 0.0, EnvironmentUnsupported(reason))

    def _train(self, trial: Trial, store: Store, held: Lease) -> Outcome:
        """Train a trial and return how it ended."""
        settings, seed = self._study.settings(trial), self._study.seed(trial)
        number, name = trial.number + 1, self._study.name
        key = TrialKey(f"{name}/{number}", f"{name}-{number}", self._run.id)

        def report(epoch: int, score: float) -> None:
            if self._study.should_stop(trial, epoch, score):
                raise TrainingStopped(f"below the median of the other trials after epoch {epoch}")

        log.info("trial %d of %d%s: %s", number, self._study.planned(), self._study.describe(trial), " ".join(settings))
        try:
            job = dataclasses.replace(self._job, recipe=apply_overrides(self._job.recipe, settings))
        except UsageError as error:
            return Outcome(None, str(error), 0.0)
        return search_trial.train_trial(job, key, seed, store, held, report)

    def _log_outcome(self, trial: Trial, outcome: Outcome) -> None:
        best = self._study.best()
        top = f"; best {100 * best[0].values[0]:.1f} %, trial {best[0].number + 1}" if best else ""
        log.info("trial %d%s ended: %s%s", trial.number + 1, self._study.describe(trial), outcome, top)
        if outcome.score is not None and best and not self._study.is_repeat(trial):
            self._run.log_metrics(trial.number + 1, {"val_top1": outcome.score, "best_val_top1": best[0].values[0]})
