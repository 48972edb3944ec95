"""What a training costs: totals add up over its processes, peaks are the largest of any."""

import time

import pytest
import tensorflow as tf

from dogbreed.training.resource_usage import ResourceUsage


def test_a_second_process_adds_to_totals_and_keeps_the_higher_peak() -> None:
    first = ResourceUsage({}).read()
    assert first.keys() >= {"train_seconds", "cpu_hours", "peak_rss_mb"}
    usage = ResourceUsage({"train_seconds": 100.0, "cpu_hours": 2.0, "peak_rss_mb": 1.0})
    time.sleep(0.05)
    second = usage.read()
    assert 100.05 <= second["train_seconds"] < 130
    assert 2 <= second["cpu_hours"] < 2.1
    assert second["peak_rss_mb"] >= first["peak_rss_mb"]
    assert ResourceUsage({"peak_rss_mb": 1e9}).read()["peak_rss_mb"] == pytest.approx(1e9)


def test_usage_counts_from_when_it_is_made() -> None:
    time.sleep(0.05)
    assert ResourceUsage({}).read()["train_seconds"] < 0.05


def test_gpu_hours_count_the_gpus_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", lambda gpu: None)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda gpu: {"peak": 2**20})
    usage = ResourceUsage({}, ("GPU:0", "GPU:1"), workers=3).read()
    assert usage["gpu_hours"] == pytest.approx(6 * usage["train_seconds"] / 3600)
    assert [name for name in usage if name.endswith("_peak_mb")] == ["gpu_0_peak_mb", "gpu_1_peak_mb"]
    assert "gpu_hours" not in ResourceUsage({}, workers=3).read()
