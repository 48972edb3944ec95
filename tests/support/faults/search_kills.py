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
    repeat_best: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)  # of the processes

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
            "--repeat-best", str(self.repeat_best), *self.options,
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_TRACKING_URI": self.tracking, "TMPDIR": str(self.folder)}
        self.logs.append(self.folder / f"process-{len(self.logs)}.log")
        with self.logs[-1].open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.processes.append(process)

    def run(self, kills: int, team: int, pause: tuple[float, float], seed: int = 0) -> dict[str, Any]:
        """Kill processes at random moments, each replaced at once, and return the summary of the last to end."""
        choice = random.Random(seed)
        self._start_team(team)
        for _ in range(kills):
            time.sleep(choice.uniform(*pause))
            alive = [number for number, process in enumerate(self.processes) if process.poll() is None]
            assert alive, "the study ended before all kills; give it more trials"
            self._replace(choice.choice(alive))
        return self._await_end()

    def run_with_one_loss(self) -> dict[str, Any]:
        """Kill one of two processes in a trial, replace it, and return the summary of the last to end."""
        self._start_team(2)
        while "epoch 1 of" not in self.logs[0].read_text():
            assert self.processes[0].poll() is None, self.logs[0].read_text()[-2000:]
            time.sleep(0.05)
        self._replace(0)
        return self._await_end()

    def _start_team(self, team: int) -> None:
        client = mlflow.MlflowClient(self.tracking)
        client.search_experiments(max_results=1)  # makes the tables, in which MLflow must not be interrupted
        for _ in range(team):
            self.start()

    def _replace(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait()
        self.start()

    def _await_end(self) -> dict[str, Any]:
        texts = [process.communicate()[0] for process in self.processes]
        codes = [process.returncode for process in self.processes]
        assert set(codes) <= {0, -signal.SIGKILL}, codes
        summaries = [json.loads(text.splitlines()[-1]) for text, code in zip(texts, codes, strict=True) if code == 0]
        return max(summaries, key=lambda found: int(found["complete"]))

    def check(self, summary: dict[str, Any]) -> None:
        """Assert that each trial is recorded once, that each has one ended run, and that the best is the best.

        At least one trial was taken over by another process.
        """
        assert any("has lost its process and is continued here" in log.read_text() for log in self.logs)
        total = self.trials + 3 * self.repeat_best
        study = optuna.load_study(study_name="killed", storage=self.storage)
        trials = study.get_trials()
        assert [trial.number for trial in trials] == list(range(total))
        assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
        client = mlflow.MlflowClient(self.tracking)
        experiment = client.get_experiment_by_name("dogbreed/search")
        runs = list(client.search_runs([experiment.experiment_id]))
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert [run.info.status for run in parents] == ["FINISHED"], "one run of the study"
        children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId")}
        assert len(children) == len(runs) - 1 == total
        for trial in trials:
            run = children[f"killed-{trial.number + 1}"]
            complete = trial.state == TrialState.COMPLETE
            assert run.info.status == ("FINISHED" if complete else "KILLED")
            if complete:
                assert run.data.metrics["best_val_top1"] == trial.value
        searched = [children[f"killed-{number}"] for number in range(1, self.trials + 1)]
        assert summary["best_val_top1"] == max(run.data.metrics.get("best_val_top1", 0.0) for run in searched)
        assert (summary["trials"], summary["running"], summary["failed"]) == (self.trials, 0, 0)
