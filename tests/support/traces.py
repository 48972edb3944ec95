"""What a trace of TensorFlow's profiler holds."""

from pathlib import Path

from tensorflow.tsl.profiler.protobuf import xplane_pb2


def traced_steps(folder: Path) -> list[int]:
    """Return the numbers of the training steps in the only trace below a folder, in order."""
    [path] = folder.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    numbers = []
    for plane in space.planes:
        events = {number: metadata.name for number, metadata in plane.event_metadata.items()}
        stats = {number: metadata.name for number, metadata in plane.stat_metadata.items()}
        for event in (event for line in plane.lines for event in line.events if events[event.metadata_id] == "train"):
            numbers += [stat.int64_value for stat in event.stats if stats[stat.metadata_id] == "step_num"]
    return sorted(numbers)
