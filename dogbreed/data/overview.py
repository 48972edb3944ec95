"""Pictures of a dataset for its run."""

import itertools
from collections.abc import Callable

from PIL import Image

from dogbreed.data import image
from dogbreed.data.dataset import Manifest, read_verified
from dogbreed.data.leakage import pairs_sheet
from dogbreed.data.records import read_shard
from dogbreed.data.sources import Source
from dogbreed.data.split import TRAIN
from dogbreed.platform.storage import Store


def pictures(source: Source, manifest: Manifest, out: Store) -> dict[str, Callable[[], Image.Image]]:
    """Return what a dataset's run shows, by name, each made when it is called: photos and near copies."""
    shown: dict[str, Callable[[], Image.Image]] = {"photos": lambda: contact_sheet(out, manifest)}
    if near := [copy for copy in manifest.copies if copy.kind != "file"]:  # equal files need no look
        shown["copies"] = lambda: pairs_sheet(source, near)
    return shown


def contact_sheet(out: Store, manifest: Manifest, count: int = 60) -> Image.Image:
    """Return the first photos of the first train shard as one picture."""
    records = read_shard(read_verified(out, manifest.split(TRAIN).shards[0]))
    return image.contact_sheet([record.encoded for record in itertools.islice(records, count)], side=128)
