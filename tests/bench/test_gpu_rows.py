"""The rows of `make gpu` on a CPU: a short training here, and all that do not take minutes, each as a process."""

from pathlib import Path

import pytest

from bench.gpu.__main__ import command_of
from bench.gpu.plan import plan
from bench.gpu.runner import run_rows
from bench.gpu.training import Size, choose, train
from dogbreed.training.distributed import DistributedContext

TAKE_MINUTES = ("resnet50-224", "mobilenetv2-160", "efficientnetb0-224", "mixnet-m-224", "mixed_")


def test_a_training_row_has_the_rates_of_the_epochs_after_the_first() -> None:
    recipe = choose("simple-64", 2, "size=224", "precision=float32")
    found = train(recipe, Size(steps=1, epochs=2, batch_size=2), None, DistributedContext())
    measured = 2 / found["images_per_second"]  # seconds of the second epoch, of one step
    assert 0 < measured < found["first_epoch_seconds"]
    assert 0 <= found["input_wait_fraction"] < 1
    assert 0.1 < found["peak_gib"] < 10
    assert f"{found['images_per_second']:,.1f} images/s" in found["text"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_checks_simple_trainings_and_files_give_results_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    rows = [row for row in plan("cpu", False) if not any(word in row.name for word in TAKE_MINUTES)]
    data = str(tmp_path / "data")
    results = run_rows(rows, lambda row: command_of(row, "cpu", data, str(tmp_path)), tmp_path, 1700, False, 600)
    found = {result.row.name.split(",")[0]: (result.status, result.text) for result in results}
    assert {name for name, (status, _) in found.items() if status != "done"} == {"one GPU against all (mirrored)"}
    assert "use --batch-size" in found["out of memory"][1]
    assert "difference" in found["checkpoint and resume"][1]
