"""A folder of images and a model for jobs.predict, which is hurt there as jobs.preprocess is (kills.py)."""

import io
import itertools
import random
import tarfile
from pathlib import Path

from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives
from dogbreed.serving import model_files
from tests.support.attempt import KILLED, attempt
from tests.support.faults.preprocess_sites import FolderSite
from tests.support.faults.rows import Row, run_again
from tests.support.small_model import CLASSES, SIZE, small_model
from tests.support.watched_job import Kill

TIMES = 3
BROKEN = "Images/broken.jpg"


class PredictionSite(FolderSite):
    """Drawn photos, one of them broken, and a small convolutional model with random weights."""

    module = "jobs.predict"
    other = ("--format", "csv")

    def __init__(self, work: Path, photos: int, shards: int) -> None:
        self.photos, self.shards = photos, shards
        classes = tuple(f"n9000000{number}-breed_{number}" for number in range(CLASSES))
        model_files.save(
            small_model(), model_files.ModelMetadata(classes, SIZE, "squash", "dogbreed", "digest"), work / "model"
        )
        super().__init__(work)

    def inputs(self) -> dict[str, bytes]:
        """Return so many photos, of which one is broken."""
        drawn = draw_archives(SyntheticConfig(CLASSES, -(-(self.photos - 1) // CLASSES)))["images.tar"]
        with tarfile.open(fileobj=io.BytesIO(drawn)) as tar:
            files = ((member.name, tar.extractfile(member)) for member in tar if member.isreg())
            read = {name: file.read() for name, file in itertools.islice(files, self.photos - 1) if file}
        return {**read, BROKEN: b"no photo"}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The job's options but for --out."""
        options = ("--format", "jsonl", "--shards", str(self.shards))
        return ("--images", self.raw, "--model", str(self.work / "model"), *options)


def killed_three_times(site: PredictionSite, seed: int) -> Row:
    """Kill one prediction three times while it works on its shards, then let it end: as if nobody had hurt it."""
    row, choice = Row(f"predict: {site.photos} photos, killed {TIMES} times in a row"), random.Random(seed)
    place, calls = site.place(tracked=True), site.clean.calls
    first = next(number for number, call in enumerate(calls, 1) if call.startswith("put"))
    problems = []
    for _ in range(TIMES):  # of a shard that is there two calls ask, of another three or more
        kill = Kill(choice.randint(first, 2 * site.shards), choice.random() < 0.5)
        problems += row.ended(attempt(place.order(kill=kill, watched=place.out)), KILLED)
        row.seen["shards there when killed"] += sum(key.startswith("shards/") for key in place.objects())
    row.judge(problems + run_again(row, place), f"seed {seed}")
    return row
