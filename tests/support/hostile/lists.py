"""lists.tar with a mutated train_list.mat: nothing changes a photo's split in silence, nothing ends the process."""

import random
import zlib
from functools import partial
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from tests.support.hostile import made
from tests.support.hostile.tars import open_source
from tests.support.hostile.verdict import ACCEPTED, Item

FLIPS, CUTS, SEED = 300, 25, 0
NAME = "train_list.mat"
DAMAGED = r"refused 65: train_list\.mat in lists\.tar is damaged .*; delete it and run jobs\.fetch"
OTHER = r"refused 65: the labels of train_list\.mat in lists\.tar contradict its file names; .*"
# a letter of a name is another photo's key: neither has its counterpart
RENAMED = r"quarantined: \d usable, .*1 in neither train_list nor test_list.*"
LEGAL = "accepted: 8 usable, splits as before"  # in annotation_list, in padding, in the text before the variables


def _open(mat: bytes, folder: Path) -> str:
    outcome = open_source(folder, lists=made.tar({**made.lists(), NAME: mat}))
    photos = {photo.source_id: photo.split for photo in StanfordDogs(LocalStore(folder / "deep" / "raw")).images}
    good = {key: "test" if key.endswith("_3") else "train" for key in made.KEYS}
    same = {photos.get(key) for key in made.KEYS if photos.get(key) != good[key]} <= {None}
    ending = f", splits {'as before' if photos == good else 'changed'}" if outcome.startswith(ACCEPTED) else ""
    return outcome + ending if same else f"{ACCEPTED}: a photo in another split"


def mutated_lists() -> list[Item]:
    """Return train_list.mat with wrong bytes, cut, and packed as a bomb."""
    good, rng = made.lists()[NAME], random.Random(SEED)
    items = [Item("good list", partial(_open, good), LEGAL)]
    for number in range(FLIPS):
        data = bytearray(good)
        places = [rng.randrange(len(good)) for _ in range(rng.randint(1, 3))]
        for at in places:
            data[at] = rng.randrange(256)
        items.append(
            Item(f"bytes {places} ({number})", partial(_open, bytes(data)), f"({DAMAGED}|{OTHER}|{RENAMED}|{LEGAL})")
        )
    for length in range(0, len(good) - 1, len(good) // CUTS):
        items.append(Item(f"cut to {length}", partial(_open, good[:length]), DAMAGED))
    packed = zlib.compress(bytes(1 << 28), 9)
    bomb = made.MAT_HEADER + good[116:128] + (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed
    return [*items, Item("256 MB of zeros packed", partial(_open, bomb), DAMAGED)]
