"""Which steps of a training are traced, however many it has and however many a call takes."""

from pathlib import Path

import pytest
import tensorflow as tf

from dogbreed.training.profiler import StepProfiler
from tests.support.traces import traced_steps


def take(profiler: StepProfiler, calls: int, steps_per_call: int = 1) -> None:
    """Take steps that multiply two matrices."""
    for _ in range(calls):
        with profiler.step(steps_per_call):
            tf.ones((8, 8)) @ tf.ones((8, 8))


@pytest.mark.parametrize(
    ("calls", "steps_per_call", "traced"),
    [(30, 1, [*range(10, 21)]), (13, 1, [10, 11, 12, 13]), (6, 4, [9, 13, 17]), (2, 30, [1])],
    ids=["all", "ends before the last", "several a call", "all in one call"],
)
def test_the_trace_holds_the_calls_with_steps_10_to_20(
    tmp_path: Path, calls: int, steps_per_call: int, traced: list[int]
) -> None:
    profiler = StepProfiler(tmp_path)
    take(profiler, calls, steps_per_call)
    profiler.finish()
    assert traced_steps(tmp_path) == traced


def test_a_training_that_ends_before_step_10_has_no_trace_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profiler = StepProfiler(tmp_path / "profile")
    take(profiler, 9)
    profiler.finish()
    assert not (tmp_path / "profile").exists()
    assert "took 9 steps" in caplog.text
