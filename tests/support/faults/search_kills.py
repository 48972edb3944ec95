"""A study whose processes are killed at random moments, and started again until it is done."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import optuna
from optuna.trial import TrialState

ENDED = ("FINISHED", "KILLED")


@dataclass
class SearchTeam:
    """Processes of one study on this machine."""

    folder: Path  # with the dataset `dogs`
    storage: str
    trials: int
    options: tuple[str, ...] = ()
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def tracking(self) -> str:
        """MLflow's database."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def start(self) -> None:
        """Start one more process."""
        command = [
            sys.executable, "-m", "jobs.search", "--data", str(self.folder / "dogs"), "--recipe", "synthetic-64",
            "--set", "epochs=2", "--vary", "learning_rate=log:1e-4:1e-2", "--vary", "dropout=0:0.6",
            "--checkpoint-every", "5", "--study", "killed", "--storage", self.storage, "--trials", str(self.trials),
            *self.options,
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_TRACKING_URI": self.tracking, "TMPDIR": str(self.folder)}
        with (self.folder / f"process-{time.monotonic_ns()}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.processes.append(process)

    def run(self, kills: int, team: int, pause: tuple[float, float], seed: int = 0) -> dict[str, Any]:
        """Kill processes at random moments, each replaced at once, and return the summary of the last to end."""
        choice = random.Random(seed)
        mlflow.MlflowClient(self.tracking).search_experiments(
            max_results=1
        )  # makes the tables, in which MLflow must not be interrupted
        for _ in range(team):
            self.start()
        for _ in range(kills):
            time.sleep(choice.uniform(*pause))
            alive = [process for process in self.processes if process.poll() is None]
            assert alive, "the study ended before all kills; give it more trials"
            victim = choice.choice(alive)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.start()
        texts = [process.communicate()[0] for process in self.processes]
        codes = [process.returncode for process in self.processes]
        assert set(codes) <= {0, -signal.SIGKILL}, codes
        summaries = [json.loads(text.splitlines()[-1]) for text, code in zip(texts, codes, strict=True) if code == 0]
        return max(summaries, key=lambda found: int(found["complete"]))

    def check(self, summary: dict[str, Any]) -> None:
        """Assert that each trial is recorded once, that each has one ended run, and that the best is the best."""
        study = optuna.load_study(study_name="killed", storage=self.storage)
        trials = study.get_trials()
        assert [trial.number for trial in trials] == list(range(self.trials))
        assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
        client = mlflow.MlflowClient(self.tracking)
        experiment = client.get_experiment_by_name("dogbreed/search")
        runs = list(client.search_runs([experiment.experiment_id]))
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert [run.info.status for run in parents] == ["FINISHED"], "one run of the study"
        children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId")}
        assert len(children) == len(runs) - 1 == self.trials
        for trial in trials:
            run = children[f"killed-{trial.number + 1}"]
            complete = trial.state == TrialState.COMPLETE
            assert run.info.status == ("FINISHED" if complete else "KILLED")
            if complete:
                assert run.data.metrics["best_val_top1"] == trial.value
        best = max(run.data.metrics.get("best_val_top1", 0.0) for run in children.values())
        assert summary["best_val_top1"] == best
        assert (summary["trials"], summary["running"], summary["failed"]) == (self.trials, 0, 0)
