"""The Optuna study of a search: its trials, and what they found so far."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from dogbreed.core.errors import DataError
from dogbreed.evaluation.figures.search import STANDARD
from dogbreed.training.recipe import Recipe, get_field
from dogbreed.training.search_spaces import Choice, SearchSpace, to_setting
from dogbreed.workflows.search_storage import AWAY, first_line, persist

STARTUP_TRIALS = 5  # that are neither pruned nor chosen by what others found
ENOUGH_TRIALS = 10  # complete ones, for importances that mean something
FINGERPRINT = "fingerprint"  # of the study: dataset, recipe, space, weights, seed
REPEATS, SEED = "repeats", "seed"  # attributes of a trial that repeats another one: its number, and the seed
REPEAT_SEEDS = 3  # with which each of the best trials is repeated

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class SearchOptions:
    """How much is searched, and how."""

    study: str | None  # None: the recipe's name and a hash
    storage: str
    trials: int  # with values of their own
    repeat_best: int  # trials that are trained again with other seeds
    hours: float  # after which this process begins no trial; 0: any
    sampler: str
    seed: int
    command: str  # jobs.train with what all trials share


class Study:
    """Trials of one recipe in one space, which any number of processes share."""

    def __init__(
        self, storage: optuna.storages.BaseStorage, name: str, recipe: Recipe, space: SearchSpace,
        options: SearchOptions, warmup_epochs: int,
    ) -> None:  # fmt: skip
        """Open or create the study.

        warmup_epochs: of a trial, before it may be pruned.
        """
        self.name, self.space, self._recipe, self._options = name, space, recipe, options
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

    def searched(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials with values of their own, in one of these states; not those that repeat another one."""
        return [trial for trial in self.trials(*states) if REPEATS not in trial.user_attrs]

    def ask(self) -> Trial:
        """Return a new trial with its values; one process at a time may ask.

        The values follow from the seed, the trial's number and what earlier trials found, in any process and after any
        restart.
        """
        seed = int(np.random.SeedSequence([self._options.seed, len(self.searched())]).generate_state(1)[0])
        self._study.sampler = (
            optuna.samplers.TPESampler(n_startup_trials=2 * STARTUP_TRIALS, seed=seed)
            if self._options.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        trial = persist(self._study.ask)
        self.settings(trial)
        return trial

    def ask_repeat(self) -> Trial | None:
        """Return a trial with the values of one of the best and another seed; None if all were asked."""
        if not self.trials(TrialState.WAITING):  # otherwise a process ended between the next two calls
            missing = self._missing_repeats()
            if not missing:
                return None
            best, seed = missing[0]
            persist(lambda: self._study.enqueue_trial(best.params, {REPEATS: best.number, SEED: seed}))
        return self.ask()

    def _missing_repeats(self) -> list[tuple[FrozenTrial, int]]:
        asked = {(trial.user_attrs.get(REPEATS), trial.user_attrs.get(SEED)) for trial in self.trials()}
        seeds = range(self._options.seed + 1, self._options.seed + 1 + REPEAT_SEEDS)
        return [
            (best, seed)
            for best in self.best(self._options.repeat_best)
            for seed in seeds
            if (best.number, seed) not in asked
        ]

    def planned(self) -> int:
        """Return the number of trials in the end, with those that repeat the best."""
        return max(len(self.trials()), self._options.trials + self._options.repeat_best * REPEAT_SEEDS)

    def is_finished(self) -> bool:
        """Return whether all trials have ended, and those that repeat the best."""
        unfinished = self.trials(TrialState.RUNNING, TrialState.WAITING)
        return len(self.searched()) >= self._options.trials and not unfinished and not self._missing_repeats()

    def resume(self, trial: FrozenTrial) -> Trial:
        """Return a running trial, whose process has ended."""
        return Trial(self._study, trial._trial_id)

    def settings(self, trial: Trial) -> list[str]:
        """Return the values of a trial as KEY=VALUE, in the order of the space."""
        return [to_setting(field, self._suggest(trial, field)) for field in self.space.parameters]

    def _suggest(self, trial: Trial, field: str) -> float | str:
        parameter = self.space.parameters[field]
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
            log.warning("the storage of studies is away, the training continues: %s", first_line(error))
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
        """Return a row a trial: the columns STANDARD of the figures, and one for each field."""
        rows = [
            {
                "trial": trial.number + 1,
                "repeats": trial.user_attrs[REPEATS] + 1 if REPEATS in trial.user_attrs else None,
                "seed": trial.user_attrs.get(SEED, self._options.seed),
                "state": trial.state.name,
                "val_top1": trial.value if trial.state == TrialState.COMPLETE else None,
                "hours": trial.user_attrs.get("hours", 0.0),
                "epochs": len(trial.intermediate_values),
                "reason": trial.user_attrs.get("reason", ""),
                **{field: trial.params.get(field) for field in self.space.parameters},
            }
            for trial in self.trials()
        ]
        return pd.DataFrame(rows, columns=[*STANDARD, *self.space.parameters])

    def best(self, count: int = 1) -> list[FrozenTrial]:
        """Return the trials with the highest scores, the best first; of equal ones the earlier."""
        return sorted(self.searched(TrialState.COMPLETE), key=lambda trial: (-trial.values[0], trial.number))[:count]

    def mean_scores(self) -> dict[int, float]:
        """Return the mean score over the other seeds of each of the best trials, by number, once all are complete."""
        repeats = [trial for trial in self.trials(TrialState.COMPLETE) if REPEATS in trial.user_attrs]
        scores: dict[int, list[float]] = {best.number: [] for best in self.best(self._options.repeat_best)}
        for trial in repeats:
            scores.get(trial.user_attrs[REPEATS], []).append(trial.values[0])
        return {number: float(np.mean(found)) for number, found in scores.items() if len(found) >= REPEAT_SEEDS}

    def winner(self) -> FrozenTrial | None:
        """Return the trial with the highest mean over other seeds, or without such the one with the highest score."""
        means = self.mean_scores()
        best = self.best(self._options.repeat_best or 1)
        return max(best, key=lambda trial: means.get(trial.number, -1.0), default=None)

    def importances(self) -> dict[str, float]:
        """Return the fraction of the scores' variance that each field explains; none for fewer than ten trials."""
        if len(self.trials(TrialState.COMPLETE)) < ENOUGH_TRIALS or len(self.space.parameters) < 2:
            return {}
        try:
            return optuna.importance.get_param_importances(self._study)
        except (RuntimeError, ValueError) as error:  # equal scores, or a field that never changed
            log.info("importances cannot be computed: %s", error)
            return {}
