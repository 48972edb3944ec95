"""Trainings in a cluster that end with the same model, whatever happens to their pods and servers."""

import re
from contextlib import AbstractContextManager

from tests.support.e2e.cluster import RunningJob, Submit
from tests.support.e2e.port_forward import tracking
from tests.support.kubernetes.manifests import Object

EPOCHS = 12  # of 20 steps
OPTIONS = f"--deterministic --checkpoint-every 10 --epochs {EPOCHS} --set patience=99"
WORKER_OPTIONS = "--deterministic --checkpoint-every 5 --set size=32 --set patience=999"
SAME = ("weights_sha256", "optimizer_sha256", "val_top1", "epochs")


def train_by_workers(
    submit: Submit, data: str, workers: int, epochs: int, **settings: str
) -> AbstractContextManager[RunningJob]:
    """Start a training of a tiny model by several pods; eight of them fit on two cores beside the stack."""

    def small(job: Object) -> Object:
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "50m"
        return job

    arguments = f"--data {data} {WORKER_OPTIONS} --epochs {epochs}"
    settings |= {"WORKERS": str(workers)}
    made: AbstractContextManager[RunningJob] = submit("train-multiworker", arguments, small, **settings)
    return made


def checkpoints(output: str) -> int:
    """Count the checkpoints that a pod's output tells of."""
    return len(re.findall(r"checkpoint of step \d+ written", output))


def await_checkpoint(job: RunningJob, seconds: float = 300) -> None:
    """Wait until index 0 has written another checkpoint."""
    before = checkpoints(job.output())
    job.await_pod(lambda pod: checkpoints(job.output()) > before, "another checkpoint", seconds)


def assert_like(undisturbed: Object, job: RunningJob) -> None:
    """The model of an undisturbed training, in one finished run with a point for each epoch and one version."""
    summary = job.summaries()[0]
    assert {key: summary[key] for key in SAME} == {key: undisturbed[key] for key in SAME}
    with tracking() as client:
        experiment = client.get_run(summary["run_id"]).info.experiment_id
        [run] = client.search_runs([experiment], f"tags.`dogbreed.job_key` = '{job.name}'")
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "val_top1")) == summary["epochs"]
        assert len(client.search_model_versions(f"run_id = '{run.info.run_id}'")) == 1
