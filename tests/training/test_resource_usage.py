"""What a training costs: totals add up over its processes, peaks are the largest of any."""

import time

import pytest

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
