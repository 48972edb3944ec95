"""The configuration of a dataset refuses what is out of range."""

from typing import Any

import pytest

from dogbreed.core.errors import UsageError
from dogbreed.data.config import DatasetConfig


@pytest.mark.parametrize(
    "options",
    [{"crop": "circle"}, {"objects": "all"}, {"split": "random"}, {"size": 15}, {"size": 1025}, {"margin": -0.1},
     {"margin": 1.1}, {"per_class": 0}, {"shards": 0}, {"resize_mode": "squash", "crop": "defer"}],
)  # fmt: skip
def test_an_option_outside_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        DatasetConfig(**options)
