"""A study without training: trials, pruning, failures, other processes, other studies; real Optuna and MLflow."""

import json
import shlex
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from optuna.trial import TrialState

from dogbreed.core.errors import (
    CorruptData,
    DataError,
    EnvironmentUnsupported,
    ServiceUnavailable,
    ShutdownRequested,
    UsageError,
)
from dogbreed.core.lease import Lease, LeaseWatch
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.tracking import runs
from dogbreed.tracking.resumable_run import ResumableRun, Timeouts
from dogbreed.training.checkpointer import CheckpointInterval
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipes import get_recipe
from dogbreed.training.search_spaces import SearchSpace, get_space
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import search, search_storage, search_trial
from dogbreed.workflows.search_study import SearchOptions
from dogbreed.workflows.search_summary import SearchSummary
from dogbreed.workflows.train_job import TrainJob
from jobs import search as search_command
from tests.support.in_process import call
from tests.support.registry import tiny

EPOCHS = 8
SPACE = get_space(None, ["dropout=0:0.8", "learning_rate=log:1e-4:1e-1"])


class Trainer:
    """A fake of trainer.train whose score falls with the dropout; `meanwhile` is called before the last epoch."""

    def __init__(self) -> None:
        self.recipes: list[Any] = []
        self.seeds: list[int] = []
        self.meanwhile: Callable[[Any], object] = lambda recipe: None
        self.luck: Callable[[Any, int], float] = lambda recipe, seed: 0.0  # is added to the score

    def train(self, recipe: Any, manifest: Any, pipeline: Any, seed: int, logger: Any, **_: Any) -> TrainResult:
        self.recipes.append(recipe)
        self.seeds.append(seed)
        history = []
        for epoch in range(1, EPOCHS + 1):
            if epoch == EPOCHS:
                self.meanwhile(recipe)
            score = (1 - recipe.dropout + self.luck(recipe, seed)) * epoch / EPOCHS
            history.append({"epoch": epoch, "loss": 1.0, "val_loss": 1.0, "top1": score, "val_top1": score})
            logger.log_metrics(epoch, history[-1])
        usage = {"train_seconds": 1.0, "cpu_hours": 0.5, "peak_rss_mb": 100.0}
        return TrainResult(tiny(), tuple(history), usage, 0, "weights", "optimizer")


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    trainer = Trainer()
    monkeypatch.setattr(search_trial.trainer, "train", trainer.train)
    monkeypatch.setattr(search_trial.keras.utils, "clear_session", lambda: None)
    monkeypatch.setattr(search_trial, "ResumableRun", partial(ResumableRun, timeouts=Timeouts(start=60.0)))
    monkeypatch.setattr(search, "configure", lambda name: None)  # the log is pytest's
    monkeypatch.setattr(search, "POLL_EVERY", 0.05)
    monkeypatch.setattr(runs.Run, "log_figure", lambda *_: None)
    return trainer


@pytest.fixture
def job(dataset: Path, tmp_path: Path) -> TrainJob:
    store = LocalStore(dataset)
    return TrainJob(
        recipe=replace(get_recipe("synthetic-64"), epochs=EPOCHS, size=32, batch_size=8),
        init_weights=None,
        manifest=load_manifest(store),
        store=store,
        registered_model="dogs",
        experiment_prefix="dogs",
        scratch=tmp_path,
        checkpoints=str(tmp_path / "checkpoints"),
        interval=CheckpointInterval(steps=10),
        log_every=0,
        profile=False,
        restart=False,
        distribution=DistributedContext(),
    )


def options(folder: Path, trials: int, **others: Any) -> SearchOptions:
    chosen = {
        "study": "study", "storage": str(folder / "search.db"), "trials": trials, "repeat_best": 0, "hours": 0.0,
        "sampler": "tpe", "seed": 0, "command": "python -m jobs.train --data dogs --recipe synthetic-64",
    }  # fmt: skip
    return SearchOptions(**(chosen | others))


def run(job: TrainJob, folder: Path, trials: int, space: SearchSpace = SPACE, **others: Any) -> SearchSummary:
    return search.search(job, space, options(folder, trials, **others))


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{folder}/search.db").get_trials()


def runs_of(prefix: str = "dogs") -> tuple[list[Any], dict[str, Any]]:
    """Return the runs of studies, and those of trials by name."""
    experiment = mlflow.get_experiment_by_name(f"{prefix}/search")
    found = mlflow.search_runs([experiment.experiment_id], output_format="list")
    children = {run.info.run_name: run for run in found if runs.PARENT_RUN in run.data.tags}
    return [run for run in found if runs.PARENT_RUN not in run.data.tags], children


def test_the_best_trial_is_the_best_of_the_runs_and_its_command_repeats_it(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    summary = run(job, tmp_path, 7)
    (parent,), children = runs_of()
    scores = {
        name: child.data.metrics["best_val_top1"] for name, child in children.items() if child.info.status == "FINISHED"
    }
    assert summary["best_val_top1"] == max(scores.values()) == scores[f"study-{summary['best_trial']}"]
    assert (summary["trials"], summary["complete"] + summary["pruned"], summary["running"]) == (7, 7, 0)
    assert {child.data.tags[runs.PARENT_RUN] for child in children.values()} == {parent.info.run_id}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "study")
    best = trainer.recipes[summary["best_trial"] - 1]
    given = shlex.split(summary["command"])
    assert given[:7] == ["python", "-m", "jobs.train", "--data", "dogs", "--recipe", "synthetic-64"]
    assert given[7:] == ["--set", f"dropout={best.dropout:g}", "--set", f"learning_rate={best.learning_rate:g}"]
    assert not mlflow.search_registered_models()
    table = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/tables/trials.csv").splitlines()
    assert len(table) == 8
    note = parent.data.tags["mlflow.note.content"]
    assert summary["command"] in note.replace(" \\\n  --set ", " --set ")
    assert "95 % interval" in note


def test_bad_trials_are_pruned_and_their_runs_say_why(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    summary = run(job, tmp_path, 20, sampler="random")
    assert summary["pruned"] >= 3
    _, children = runs_of()
    pruned = [trial for trial in stored(tmp_path) if trial.state == TrialState.PRUNED]
    for trial in pruned:
        child = children[f"study-{trial.number + 1}"]
        assert child.info.status == "KILLED"
        assert "median" in child.data.tags["dogbreed.stopped_because"]
        assert 2 <= len(trial.intermediate_values) < EPOCHS
    assert not list((tmp_path / "checkpoints").rglob("*.npz"))


def test_the_values_follow_from_the_seed_whenever_it_is_continued(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    run(replace(job, experiment_prefix="whole", checkpoints=str(whole)), whole, 14)
    run(job, tmp_path, 6)
    run(job, tmp_path, 14)
    assert [trial.params for trial in stored(tmp_path)] == [trial.params for trial in stored(whole)]


def test_a_finished_study_is_done_and_more_trials_continue_it(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    first = run(job, tmp_path, 3)
    assert run(job, tmp_path, 3) == first
    assert len(trainer.recipes) == 3
    more = run(job, tmp_path, 5)
    assert (more["trials"], more["run_id"]) == (5, first["run_id"])
    assert len(trainer.recipes) == 5


def test_a_name_of_another_space_dataset_or_seed_is_refused(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    run(job, tmp_path, 1)
    with pytest.raises(DataError, match="--study"):
        run(job, tmp_path, 1, space=get_space(None, ["dropout=0:0.7"]))
    with pytest.raises(DataError, match="--study"):
        run(job, tmp_path, 1, seed=1)
    with pytest.raises(DataError, match="--study"):
        run(replace(job, manifest=replace(job.manifest, source_digest="other")), tmp_path, 1)


def test_the_default_name_is_the_recipes_with_a_hash_of_all_that_matters(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    names = {
        run(job, tmp_path, 1, study=None)["study"],
        run(job, tmp_path, 1, study=None, seed=1)["study"],
        run(job, tmp_path, 1, space=get_space(None, ["dropout=0:0.7"]), study=None)["study"],
    }
    assert len(names) == 3
    assert all(name.startswith("synthetic-64-") for name in names)


def test_values_that_are_no_recipe_are_pruned_with_its_message(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    space = get_space(None, ["augment.cutmix_prob=0.2:0.9", "augment.mixup_prob=0.2:0.9"])
    summary = run(job, tmp_path, 8, space=space, sampler="random")
    reasons = [trial.user_attrs["reason"] for trial in stored(tmp_path) if trial.state == TrialState.PRUNED]
    assert summary["pruned"] >= 2
    assert any("cutmix_prob and mixup_prob" in reason for reason in reasons)
    (parent,), children = runs_of()
    assert len(children) == len(trainer.recipes) < 8
    assert "cutmix_prob and mixup_prob" in parent.data.tags["mlflow.note.content"]


def test_a_study_of_which_no_trial_is_complete_is_an_error(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 2 trials"):
        run(job, tmp_path, 2, space=get_space(None, ["augment.cutmix_prob=0.6:1", "augment.mixup_prob=0.6:1"]))


def test_a_search_whose_time_is_over_before_a_trial_is_complete_is_no_error(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    summary = run(job, tmp_path, 4, hours=1e-9)
    assert (summary["trials"], summary["best_trial"], summary["command"]) == (0, None, "")


def test_a_failure_while_another_process_trains_does_not_end_the_search(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    def fail(recipe: Any) -> None:
        if len(trainer.recipes) == 2:
            raise EnvironmentUnsupported("too little memory")

    def begin_another(recipe: Any) -> None:
        trainer.meanwhile = fail
        other = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/search.db").ask()
        store = LocalStore(tmp_path / "checkpoints" / "search" / "study" / str(other.number + 1))
        stack.enter_context(Lease(store, "a trial"))  # of this process, which runs
        raise EnvironmentUnsupported("too little memory")

    trainer.meanwhile = begin_another
    with ExitStack() as stack:
        summary = run(job, tmp_path, 4, hours=6 / 3600)
    assert (summary["failed"], summary["running"]) == (2, 1)


def test_what_fails_every_time_ends_the_search_and_damage_of_the_dataset_at_once(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    def fail(recipe: Any) -> None:
        if len(trainer.recipes) > 1:
            raise DataError("the loss is not finite")

    def find_damage(recipe: Any) -> None:
        raise CorruptData("a shard")

    trainer.meanwhile = fail
    with pytest.raises(DataError, match="not finite"):
        run(job, tmp_path, 20)
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE, *[TrialState.FAIL] * 3]
    trainer.meanwhile = find_damage
    with pytest.raises(CorruptData):
        run(job, tmp_path, 20)
    assert stored(tmp_path)[-1].state == TrialState.RUNNING, "it is continued once the dataset is whole"


def test_a_trial_that_ends_every_process_fails(
    job: TrainJob, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CRASHES", 2)
    run(job, tmp_path, 1)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/search.db")
    other = study.ask()
    other.set_user_attr("crashes", {"epochs": 0, "count": 1})
    store = LocalStore(tmp_path / "checkpoints" / "search" / "study" / "2")
    dead = {"holder": f"{socket.gethostname()}/4194305/1.00/x"}
    store.put("lease/00000001.json", json.dumps(dead).encode())
    summary = run(job, tmp_path, 3)
    assert (summary["complete"], summary["failed"]) == (2, 1)
    assert "little memory" in stored(tmp_path)[1].user_attrs["reason"]


def test_the_names_of_trials_do_not_collide_with_those_of_studies(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    run(job, tmp_path, 2)
    assert run(job, tmp_path, 1, study="study-2")["trials"] == 1


def test_a_trial_that_another_process_has_ended_is_left(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    def end(recipe: Any) -> None:
        if len(trainer.recipes) == 1:
            study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/search.db")
            study.tell(0, 0.5)

    trainer.meanwhile = end
    summary = run(job, tmp_path, 2)
    assert (summary["trials"], summary["complete"]) == (2, 2)
    assert stored(tmp_path)[0].value == 0.5


def test_epochs_can_be_varied_alone(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    summary = run(job, tmp_path, 2, space=get_space(None, ["epochs=4:9"]))
    assert "--set epochs=" in summary["command"]


@pytest.mark.parametrize("kind", [DataError, EnvironmentUnsupported])
def test_a_trial_that_fails_first_ends_the_search_and_a_later_one_does_not(
    job: TrainJob, trainer: Trainer, tmp_path: Path, kind: type[Exception]
) -> None:
    def fail(recipe: Any) -> None:
        if len(trainer.recipes) in (1, 3):
            raise kind("too little of something")

    trainer.meanwhile = fail
    with pytest.raises(kind, match="too little"):
        run(job, tmp_path, 4)
    assert run(job, tmp_path, 4)["failed"] == 2
    assert [trial.state for trial in stored(tmp_path)][:3] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL]


def test_a_stopped_trial_is_continued_by_the_next_process(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    def stop(recipe: Any) -> None:
        if len(trainer.recipes) == 2:
            raise ShutdownRequested

    trainer.meanwhile = stop
    with pytest.raises(ShutdownRequested):
        run(job, tmp_path, 3)
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]
    summary = run(job, tmp_path, 3)
    assert (summary["trials"], summary["complete"] + summary["pruned"]) == (3, 3)
    assert trainer.recipes[1] == trainer.recipes[2], "the same values again"
    _, children = runs_of()
    assert len(children) == 3


def test_a_trial_of_a_process_that_never_began_is_taken_over_in_time(
    job: TrainJob, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job, tmp_path, 1)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/search.db")
    study.ask()  # neither values nor a lease
    monkeypatch.setattr(search, "LeaseWatch", partial(LeaseWatch, 0.3))
    assert run(job, tmp_path, 2)["trials"] == 2
    assert len(trainer.recipes) == 2


def test_the_clock_ends_a_search(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    summary = run(job, tmp_path, 1000, hours=2 / 3600)
    assert 1 <= summary["trials"] < 1000
    (parent,), _ = runs_of()
    assert parent.info.status == "KILLED", "trials are left, and nobody trains them"


def test_a_storage_that_is_away_is_69_at_the_start(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=r"search:\*\*\*@127.0.0.1"):
        run(job, tmp_path, 1, storage="postgresql://search:secret@127.0.0.1:9/search")
    with pytest.raises(UsageError, match="--storage"):
        run(job, tmp_path, 1, storage="nothing://x")
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentUnsupported, match="cannot be opened"):
        run(job, tmp_path, 1, storage=f"sqlite:///{tmp_path}/none/search.db")


def test_a_storage_that_goes_away_meanwhile_does_not_stop_a_trial(
    job: TrainJob, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, report = [3], optuna.trial.Trial.report

    def fail(self: optuna.trial.Trial, value: float, step: int) -> None:
        if away[0]:
            away[0] -= 1
            raise search_storage.StorageInternalError("gone")
        report(self, value, step)

    monkeypatch.setattr(optuna.trial.Trial, "report", fail)
    assert run(job, tmp_path, 1)["complete"] == 1
    assert list(stored(tmp_path)[0].intermediate_values) == list(range(1, EPOCHS + 1))
    assert "the training continues" in caplog.text


def test_a_journal_file_is_a_storage_too(job: TrainJob, trainer: Trainer, tmp_path: Path) -> None:
    assert run(job, tmp_path, 2, storage=str(tmp_path / "search.journal"))["complete"] == 2
    assert run(job, tmp_path, 3, storage=str(tmp_path / "search.journal"))["trials"] == 3


def test_a_bucket_needs_a_storage_that_is_named() -> None:
    with pytest.raises(search_command.click.UsageError, match="--storage"):
        search_command._default_storage("s3://bucket/checkpoints")
    with pytest.raises(UsageError, match="unknown space"):
        call("search", "--data", "x", "--recipe", "simple-64", "--space", "none")


def test_the_best_are_repeated_with_other_seeds_and_ranked_by_their_mean(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    first = run(job, tmp_path, 6)
    lucky = trainer.recipes[first["best_trial"] - 1]
    trainer.luck = lambda recipe, seed: -0.5 if recipe == lucky and seed == 2 else 0.01 * seed
    summary = run(job, tmp_path, 6, repeat_best=2)
    assert (summary["trials"], summary["complete"] + summary["pruned"], summary["running"]) == (6, 6, 0)
    assert sorted(trainer.seeds[6:]) == [1, 1, 2, 2, 3, 3]
    assert summary["best_trial"] != first["best_trial"]
    best = trainer.recipes[summary["best_trial"] - 1]
    assert trainer.recipes[6:] == [lucky] * 3 + [best] * 3
    assert summary["mean_val_top1"] == pytest.approx(1 - best.dropout + 0.02)
    assert run(job, tmp_path, 6, repeat_best=2) == summary
    assert len(trainer.recipes) == 12
    (parent,), children = runs_of()
    assert {child.data.params["seed"] for child in children.values()} == {"0", "1", "2", "3"}
    assert "mean over other seeds" in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"


def test_a_repeat_that_was_stopped_is_continued_and_more_trials_may_follow(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    def stop(recipe: Any) -> None:
        if len(trainer.recipes) == 5:
            raise ShutdownRequested

    trainer.meanwhile = stop
    with pytest.raises(ShutdownRequested):
        run(job, tmp_path, 4, repeat_best=1)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/search.db")
    best = max((trial for trial in study.get_trials() if trial.values), key=lambda trial: trial.values[0])
    study.enqueue_trial(best.params, {"repeats": best.number, "seed": 2})  # by a process that ended here
    assert "mean_val_top1" in run(job, tmp_path, 4, repeat_best=1)
    assert sorted(trainer.seeds[4:]) == [1, 1, 2, 3]
    assert run(job, tmp_path, 6, repeat_best=1)["trials"] == 6


def test_a_trial_with_a_failed_repeat_is_not_ranked_before_the_others(
    job: TrainJob, trainer: Trainer, tmp_path: Path
) -> None:
    def fail(recipe: Any) -> None:
        if trainer.seeds[-1] == 2 and recipe == lucky:
            raise DataError("the loss is not finite")

    first = run(job, tmp_path, 4)
    lucky = trainer.recipes[first["best_trial"] - 1]
    trainer.meanwhile = fail
    summary = run(job, tmp_path, 4, repeat_best=2)
    assert summary["best_trial"] != first["best_trial"]
    (parent,), _ = runs_of()
    assert "the loss is not finite" in parent.data.tags["mlflow.note.content"]
