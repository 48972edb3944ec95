"""Faked GPUs: TensorFlow lists them, and computes on the CPU in their place."""

from collections.abc import Sequence
from typing import Any

import pytest
import tensorflow as tf

Capability = tuple[int, int]


def fake_gpus(
    monkeypatch: pytest.MonkeyPatch, *capabilities: Capability | None, visible: int | None = None
) -> list[Any]:
    """Let TensorFlow list a GPU for each compute capability, None for an unknown one, and return the GPUs.

    visible: how many of them it may use, None for all.
    """
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(len(capabilities))]

    def details(gpu: Any) -> dict[str, Any]:
        capability = capabilities[gpus.index(gpu)]
        return {"device_name": "Faked", **({"compute_capability": capability} if capability else {})}

    def of_kind(kind: str | None, listed: Sequence[Any]) -> list[Any]:
        return list(listed) if kind in ("GPU", None) else []

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: of_kind(kind, gpus))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: of_kind(kind, gpus[:visible]))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    return gpus
