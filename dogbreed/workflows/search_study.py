"""The Optuna study of a search: its storage, its trials, and what they found so far."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import optuna
import optuna.storages.journal
import pandas as pd
import sqlalchemy.exc
import tenacity
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from dogbreed.core.errors import DataError, EnvironmentUnsupported, ServiceUnavailable, UsageError
from dogbreed.training.recipe import Recipe, get_field
from dogbreed.training.search_spaces import Choice, SearchSpace, to_setting

SAMPLERS = ("tpe", "random")
STARTUP_TRIALS = 5  # that are neither pruned nor chosen by what others found
ENOUGH_TRIALS = 10  # complete ones, for importances that mean something
JOURNAL = ".journal"  # suffix of a file that NFS holds better than SQLite
FINGERPRINT = "fingerprint"  # of the study: dataset, recipe, space, weights, seed
ATTEMPTS_SECONDS = 600.0  # for which a result is sent to a storage that is away
AWAY = (StorageInternalError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
T = TypeVar("T")

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def open_storage(text: str) -> optuna.storages.BaseStorage:
    """Return the storage of studies.

    Args:
        text: a database's URL, a file ending in .journal, or any other file for SQLite.

    Raises:
        UsageError: it is no such URL.
        ServiceUnavailable: the database does not respond.
        EnvironmentUnsupported: the file cannot be written.
    """
    if "://" not in text:
        path = Path(text).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == JOURNAL:
            backend = optuna.storages.journal.JournalFileBackend(str(path))
            return optuna.storages.JournalStorage(backend)
        text = f"sqlite:///{path}"
    try:
        url = sqlalchemy.make_url(text)
        is_file = url.get_backend_name() == "sqlite"
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_file else {"pool_pre_ping": True}
        return _make_tables(url.render_as_string(hide_password=False), options)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
        raise UsageError(f"--storage: {error}; give a file, or postgresql://user:password@host/database") from error
    except AWAY as error:
        shown = url.render_as_string(hide_password=True)
        kind = EnvironmentUnsupported if is_file else ServiceUnavailable
        raise kind(f"the storage of studies, {shown}, cannot be opened: {_first_line(error)}") from error


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError)),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0.2, 1),
    reraise=True,
)
def _make_tables(url: str, options: dict[str, Any]) -> optuna.storages.BaseStorage:
    """Open a database; again where the process of another study made the tables at the same moment."""
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


class Study:
    """Trials of one recipe in one space, which any number of processes share."""

    def __init__(
        self, storage: optuna.storages.BaseStorage, name: str, recipe: Recipe, space: SearchSpace, seed: int,
        sampler: str, warmup_epochs: int,
    ) -> None:  # fmt: skip
        """Open or create the study.

        warmup_epochs: of a trial, before it may be pruned.
        """
        self.name, self._recipe, self._space = name, recipe, space
        self._seed, self._sampler = seed, sampler
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=warmup_epochs)
        self._study = persist(
            lambda: optuna.create_study(
                storage=storage, study_name=name, pruner=pruner, direction="maximize", load_if_exists=True
            )
        )
        self._unsent: dict[int, list[tuple[int, float]]] = {}  # by trial: epochs and scores

    def claim(self, fingerprint: str) -> None:
        """Make the study that of one dataset, recipe and space; DataError if it is that of another."""
        known = self._study.user_attrs.get(FINGERPRINT)
        if known is None:
            persist(lambda: self._study.set_user_attr(FINGERPRINT, fingerprint))
        elif known != fingerprint:
            raise DataError(
                f"study {self.name} has another dataset, recipe, space, seed or weights; choose another --study"
            )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in one of these states, by default all, in the order of their numbers."""
        return persist(lambda: self._study.get_trials(deepcopy=False, states=states or None))

    def ask(self) -> Trial:
        """Return a new trial with its values; one process at a time may ask.

        The values follow from the seed, the trial's number and what earlier trials found, in any process and after any
        restart.
        """
        seed = int(np.random.SeedSequence([self._seed, len(self.trials())]).generate_state(1)[0])
        self._study.sampler = (
            optuna.samplers.TPESampler(n_startup_trials=2 * STARTUP_TRIALS, seed=seed)
            if self._sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        trial = persist(self._study.ask)
        self.settings(trial)
        return trial

    def resume(self, trial: FrozenTrial) -> Trial:
        """Return a running trial, whose process has ended."""
        return Trial(self._study, trial._trial_id)

    def settings(self, trial: Trial) -> list[str]:
        """Return the values of a trial as KEY=VALUE, in the order of the space."""
        return [to_setting(field, self._suggest(trial, field)) for field in self._space.parameters]

    def _suggest(self, trial: Trial, field: str) -> float | str:
        parameter = self._space.parameters[field]
        if isinstance(parameter, Choice):
            return str(persist(lambda: trial.suggest_categorical(field, parameter.values)))
        if isinstance(get_field(self._recipe, field), int):
            low, high = round(parameter.low), round(parameter.high)
            return persist(lambda: trial.suggest_int(field, low, high, log=parameter.log))
        return persist(lambda: trial.suggest_float(field, parameter.low, parameter.high, log=parameter.log))

    def should_stop(self, trial: Trial, epoch: int, score: float) -> bool:
        """Report the score of an epoch, and return whether the trial is below the median of the others.

        While the storage is unavailable the training continues, and scores are sent later.
        """
        unsent = self._unsent.setdefault(trial.number, [])
        unsent.append((epoch, score))
        try:
            known = self._study._storage.get_trial(trial._trial_id).intermediate_values
            for step, value in unsent:
                if step not in known:
                    trial.report(value, step)
            unsent.clear()
            return trial.should_prune()
        except AWAY as error:
            log.warning("the storage of studies is away, the training continues: %s", _first_line(error))
            return False

    def tell(self, trial: Trial, state: TrialState, score: float | None = None, **attributes: object) -> None:
        """Record how a trial ended, unless it is recorded already.

        Raises:
            ServiceUnavailable: the storage stayed away; the trial is recorded by the next process of the study.
        """

        def record() -> None:
            try:
                for name, value in attributes.items():
                    trial.set_user_attr(name, value)
                self._study.tell(trial, score, state)
            except UpdateFinishedTrialError:  # by an attempt whose reply was lost
                log.info("trial %d is recorded already", trial.number)

        persist(record)

    def table(self) -> pd.DataFrame:
        """Return a row a trial: trial, state, val_top1 (None without), hours, epochs, reason, and a column a field."""
        rows = [
            {
                "trial": trial.number + 1,
                "state": trial.state.name,
                "val_top1": trial.value if trial.state == TrialState.COMPLETE else None,
                "hours": trial.user_attrs.get("hours", 0.0),
                "epochs": len(trial.intermediate_values),
                "reason": trial.user_attrs.get("reason", ""),
                **{field: trial.params.get(field) for field in self._space.parameters},
            }
            for trial in self.trials()
        ]
        columns = ["trial", "state", "val_top1", "hours", "epochs", "reason", *self._space.parameters]
        return pd.DataFrame(rows, columns=columns)

    def best(self, count: int = 1) -> list[FrozenTrial]:
        """Return the trials with the highest scores, the best first; of equal ones the earlier."""
        return sorted(self.trials(TrialState.COMPLETE), key=lambda trial: (-trial.values[0], trial.number))[:count]

    def importances(self) -> dict[str, float]:
        """Return the fraction of the scores' variance that each field explains; none for fewer than ten trials."""
        if len(self.trials(TrialState.COMPLETE)) < ENOUGH_TRIALS or len(self._space.parameters) < 2:
            return {}
        try:
            return optuna.importance.get_param_importances(self._study)
        except (RuntimeError, ValueError) as error:  # equal scores, or a field that never changed
            log.info("importances cannot be computed: %s", error)
            return {}


def persist(call: Callable[[], T], seconds: float = ATTEMPTS_SECONDS) -> T:
    """Return what a call to the storage returns; repeat it while the storage is away.

    Raises:
        ServiceUnavailable: it stayed away.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AWAY),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_exponential(multiplier=0.2, max=10),
        before_sleep=lambda state: log.warning("the storage of studies is away; trying again"),
        reraise=True,
    )
    try:
        return retrying(call)
    except AWAY as error:
        raise ServiceUnavailable(f"the storage of studies is away: {_first_line(error)}; run the same again") from error


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0]
