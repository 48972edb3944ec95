"""The Optuna study of a search: its trials, and what they found so far."""

import logging
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from dogbreed.core.errors import DataError, LeaseLost
from dogbreed.training.recipe import Recipe, get_field
from dogbreed.training.search_spaces import Choice, SearchSpace, to_setting
from dogbreed.workflows.search_storage import UNAVAILABLE, first_line, retry_storage
from dogbreed.workflows.search_trial import Outcome

STARTUP_TRIALS = 5  # that are neither pruned nor chosen by what others found
FINGERPRINT = "fingerprint"  # of the study: dataset, recipe, space, weights, seed
REPEATS, SEED = "repeats", "seed"  # attributes of a trial that repeats another one: its number, and the seed
HOURS, REASON = "hours", "reason"  # attributes of a trial that has ended; the reason where it is not complete
CRASHES = "crashes"  # attribute of a trial: processes that ended without a message
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
        self.name, self.space, self._recipe, self.options = name, space, recipe, options
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=warmup_epochs)
        self._study = retry_storage(
            lambda: optuna.create_study(
                storage=storage, study_name=name, pruner=pruner, direction="maximize", load_if_exists=True
            )
        )
        self._unsent: dict[int, dict[int, float]] = {}  # by trial: scores by epoch

    def claim(self, fingerprint: str) -> None:
        """Make the study that of one dataset, recipe and space; DataError if it is that of another."""
        known = retry_storage(lambda: self._study.user_attrs).get(FINGERPRINT)
        if known is None:
            retry_storage(lambda: self._study.set_user_attr(FINGERPRINT, fingerprint))
        elif known != fingerprint:
            raise DataError(
                f"study {self.name} has another dataset, recipe, space, seed or weights; choose another --study"
            )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in one of these states, by default all, in the order of their numbers."""
        return retry_storage(lambda: self._study.get_trials(deepcopy=False, states=states or None))

    def searched(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials with values of their own, in one of these states; not those that repeat another one."""
        return [trial for trial in self.trials(*states) if REPEATS not in trial.user_attrs]

    def running(self) -> list[FrozenTrial]:
        """Return the trials that have begun and not ended."""
        return self.trials(TrialState.RUNNING)

    def is_finished(self) -> bool:
        """Return whether all trials have ended, and those that repeat the best."""
        return not self.trials(TrialState.RUNNING, TrialState.WAITING) and not self.may_ask()

    def planned(self) -> int:
        """Return the number of trials in the end, with those that repeat the best."""
        return max(len(self.trials()), self.options.trials + self.options.repeat_best * REPEAT_SEEDS)

    def may_ask(self) -> bool:
        """Return whether a trial is left to be asked for: with values of its own, or one that repeats another."""
        if len(self.searched()) < self.options.trials:
            return True
        if self.searched(TrialState.RUNNING):
            return False  # it may become one of the best
        return bool(self.trials(TrialState.WAITING) or self._missing_repeats())

    def ask(self) -> Trial | None:
        """Return a new trial with its values, or one that repeats another; None if there are enough.

        One process at a time may ask. The values follow from the seed, the trial's number and what earlier
        trials found, in any process and after any restart.
        """
        if not self.may_ask():
            return None
        if len(self.searched()) >= self.options.trials:
            retry_storage(self._enqueue_repeat)
        trial = retry_storage(partial(self._create, len(self.trials())))
        self.settings(trial)  # chooses the values
        return trial

    def _create(self, number: int) -> Trial:
        made = self.trials()[number:]  # by an attempt whose reply was lost
        return self.resume(made[0]) if made else self._study.ask()

    def _enqueue_repeat(self) -> None:
        if not self.trials(TrialState.WAITING):  # by a process that ended after it, or an attempt whose reply was lost
            best, seed = self._missing_repeats()[0]
            self._study.enqueue_trial(best.params, {REPEATS: best.number, SEED: seed})

    def _missing_repeats(self) -> list[tuple[FrozenTrial, int]]:
        asked = {(trial.user_attrs.get(REPEATS), trial.user_attrs.get(SEED)) for trial in self.trials()}
        seeds = range(self.options.seed + 1, self.options.seed + 1 + REPEAT_SEEDS)
        best = self.best(self.options.repeat_best)
        return [(trial, seed) for trial in best for seed in seeds if (trial.number, seed) not in asked]

    def resume(self, trial: FrozenTrial) -> Trial:
        """Return a running trial, whose process has ended."""
        return retry_storage(lambda: Trial(self._study, trial._trial_id))

    def seed(self, trial: Trial) -> int:
        """Return the seed with which a trial is trained."""
        return int(trial.user_attrs.get(SEED, self.options.seed))

    def is_repeat(self, trial: Trial) -> bool:
        """Return whether a trial repeats another one with another seed."""
        return REPEATS in trial.user_attrs

    def describe(self, trial: Trial) -> str:
        """Return `, a repeat of trial 3 with seed 1`, or nothing for a trial with values of its own."""
        if not self.is_repeat(trial):
            return ""
        return f", a repeat of trial {trial.user_attrs[REPEATS] + 1} with seed {self.seed(trial)}"

    def count_crash(self, trial: Trial) -> int:
        """Note that a trial's process crashed; return how many did since the trial's last new epoch."""
        epochs = len(self.trials()[trial.number].intermediate_values)
        before = trial.user_attrs.get(CRASHES, {"epochs": epochs, "count": 0})
        count = before["count"] + 1 if before["epochs"] == epochs else 1
        retry_storage(lambda: trial.set_user_attr(CRASHES, {"epochs": epochs, "count": count}))
        return int(count)

    def settings(self, trial: Trial) -> list[str]:
        """Return the values of a trial as KEY=VALUE, in the order of the space; chosen now unless they were."""
        seed = int(np.random.SeedSequence([self.options.seed, trial.number]).generate_state(1)[0])
        self._study.sampler = (
            optuna.samplers.TPESampler(n_startup_trials=2 * STARTUP_TRIALS, seed=seed)
            if self.options.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        return [to_setting(field, self._suggest(trial, field)) for field in self.space.parameters]

    def _suggest(self, trial: Trial, field: str) -> float | str:
        parameter = self.space.parameters[field]
        if isinstance(parameter, Choice):
            return str(retry_storage(lambda: trial.suggest_categorical(field, parameter.values)))
        if isinstance(get_field(self._recipe, field), int):
            low, high = round(parameter.low), round(parameter.high)
            return retry_storage(lambda: trial.suggest_int(field, low, high, log=parameter.log))
        return retry_storage(lambda: trial.suggest_float(field, parameter.low, parameter.high, log=parameter.log))

    def should_stop(self, trial: Trial, epoch: int, score: float) -> bool:
        """Report the score of an epoch, and return whether the trial is below the median of the others.

        While the storage is unavailable the training continues, and scores are sent later.

        Raises:
            LeaseLost: another process has ended the trial.
        """
        unsent = self._unsent.setdefault(trial.number, {})
        unsent[epoch] = score
        try:
            known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
            for step in sorted(unsent.keys() - known.keys()):
                trial.report(unsent[step], step)
            unsent.clear()
            return not self.is_repeat(trial) and trial.should_prune()
        except UNAVAILABLE as error:
            log.warning("the storage of studies is unavailable, the training continues: %s", first_line(error))
            return False
        except UpdateFinishedTrialError as error:
            raise LeaseLost(f"trial {trial.number + 1} was ended by another process") from error

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Record how a trial ended, unless it is recorded already.

        Raises:
            ServiceUnavailable: the storage stayed unavailable; the next process of the study records the trial.
        """
        ended = TrialState.COMPLETE if outcome.score is not None else TrialState.PRUNED
        state = TrialState.FAIL if outcome.error else ended

        def record() -> None:
            try:
                trial.set_user_attr(HOURS, outcome.hours)
                trial.set_user_attr(REASON, outcome.reason)
                self._study.tell(trial, outcome.score, state)
            except UpdateFinishedTrialError:  # by an attempt whose reply was lost
                log.info("trial %d is recorded already", trial.number + 1)

        retry_storage(record)

    def best(self, count: int = 1) -> list[FrozenTrial]:
        """Return the trials with the highest scores, the best first; of equal ones the earlier."""
        complete = self.searched(TrialState.COMPLETE)
        return sorted(complete, key=lambda trial: (-trial.values[0], trial.number))[:count]

    def mean_scores(self) -> dict[int, float]:
        """Return the mean score over the other seeds of each of the best trials, by number, once all are complete."""
        scores: dict[int, dict[int, float]] = {best.number: {} for best in self.best(self.options.repeat_best)}
        for trial in self.trials(TrialState.COMPLETE):
            if trial.user_attrs.get(REPEATS) in scores:
                scores[trial.user_attrs[REPEATS]][trial.user_attrs[SEED]] = trial.values[0]
        return {
            number: float(np.mean(list(found.values())))
            for number, found in scores.items()
            if len(found) == REPEAT_SEEDS
        }

    def winner(self) -> FrozenTrial | None:
        """Return the trial with the highest mean over other seeds, or without such the one with the highest score."""
        means = self.mean_scores()
        best = self.best(self.options.repeat_best or 1)
        return max(best, key=lambda trial: means.get(trial.number, -1.0), default=None)
