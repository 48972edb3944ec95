"""Run all GPU probes on two logical CPU devices; a process of its own, since devices stay."""

import tensorflow as tf

from dogbreed.workflows import gpu_probe


def main() -> None:
    """Print what the probes found."""
    cpu, two = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    gpu_probe.main("CPU:0,CPU:1", *gpu_probe.PROBES, gpu_probe.ALL_REDUCE)


if __name__ == "__main__":
    main()
