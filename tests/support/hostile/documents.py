"""manifest.json, a part, the found copies and members.json with any value in any place: always an error of ours."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dogbreed.core.storage import LocalStore
from dogbreed.data import builder as product
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.manifest import MANIFEST, load_manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw.archive_index import MEMBERS, build_index
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.shard_files import cache_shards
from tests.support.hostile import made
from tests.support.hostile.shards import committed
from tests.support.hostile.verdict import ACCEPTED, Item

EXAMPLES = 200  # values put into places, for each of the files
EXPECTED = r"(refused (65|75): .*|accepted: the same as before)"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from _places(child, (*path, key))


def _put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return the document with a value in this place; the value is `...` to remove the place."""
    if not path:
        return None if value is ... else value
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return document


def mutations(data: bytes) -> dict[str, bytes]:
    """Return mutated files by name: values replaced and removed, bytes cut off and flipped, bombs."""
    document = json.loads(data)
    places = list(_places(document))
    found = {f"without {path}": json.dumps(_put(document, path, ...)).encode() for path in places[:40]}
    found |= {f"cut to {length}": data[:length] for length in range(0, len(data), max(1, len(data) // 25))}
    for at in range(0, len(data), max(1, len(data) // 50)):
        found[f"bit flipped at {at}"] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    found["100,000 lists in one another"] = b"[" * 100_000
    found["100,000 objects in one another"] = b'{"a":' * 100_000
    found["number of 10,000 digits"] = data.replace(b": ", b": " + b"9" * 10_000, 1)
    found["spaces between"] = json.dumps(document).encode()

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=HealthCheck)
    @given(st.sampled_from(places), VALUES)
    def draw(path: tuple[Any, ...], value: Any) -> None:
        found[f"{path} is {value!r:.60}"] = json.dumps(_put(document, path, value)).encode()

    draw()
    return found


def _manifest(data: bytes, folder: Path) -> str:
    """Load a mutated manifest and do what a reader does with it."""
    good = load_manifest(LocalStore(committed()))
    store = LocalStore(Path(shutil.copytree(committed(), folder / "data")))
    (store.root / MANIFEST).write_bytes(data)
    found = load_manifest(store)
    for split in found.splits.values():
        cache_shards(store, split.shards, folder / "cache")
    return f"{ACCEPTED}: {'the same as before' if found == good else 'with another meaning'}"


def _finish(key: str, data: bytes, folder: Path) -> str:
    """Finish a dataset one part of which is mutated."""
    good = load_manifest(LocalStore(committed()))
    out = LocalStore(Path(shutil.copytree(committed(), folder / "data")))
    (out.root / MANIFEST).unlink()
    (out.root / key).write_bytes(data)
    plan = plan_dataset(_source(), DatasetConfig(size=32))
    with ThreadPoolExecutor(1) as pool:
        plan = plan.with_duplicates(find_duplicates(plan, out, pool))
    found = product.finalize(plan, out, max_quarantined=1)
    assert found is not None
    return f"{ACCEPTED}: {'the same as before' if found == good else 'with another meaning'}"


@cache
def _source() -> StanfordDogs:
    return StanfordDogs(LocalStore(committed().parent / "raw"))


def _members(data: bytes, folder: Path) -> str:
    """Open an archive with a mutated members.json and read every photo."""
    raw = LocalStore(made.write_raw(folder / "raw"))
    good = StanfordDogs(raw)
    raw.put(MEMBERS, data)
    found = StanfordDogs(raw)
    same = (found.digest, found.images) == (good.digest, good.images)
    same = same and [found.read(photo) for photo in found.images] == [good.read(photo) for photo in good.images]
    return f"{ACCEPTED}: {'the same as before' if same else 'with another meaning'}"


def _items(data: bytes, check: Callable[[bytes, Path], str]) -> list[Item]:
    items = [Item(name, partial(check, mutated), EXPECTED) for name, mutated in mutations(data).items()]
    return [*items, Item("not mutated", partial(check, data), "accepted: the same as before")]


def mutated_manifests() -> list[Item]:
    """Return manifest.json mutated."""
    return _items((committed() / MANIFEST).read_bytes(), _manifest)


def mutated_parts() -> list[Item]:
    """Return the first shard's part and the found copies mutated, and parts that were exchanged."""
    paths = sorted(committed().glob("_parts/*/*.json"))
    keys = {path.stem: path.relative_to(committed()).as_posix() for path in paths}
    items = [item for stem in ("0", "duplicates") for item in _items_of(keys[stem])]
    other = (committed() / keys["1"]).read_bytes()
    return [*items, Item("part of another shard", partial(_finish, keys["0"], other), "refused 65: .*")]


def _items_of(key: str) -> list[Item]:
    return _items((committed() / key).read_bytes(), partial(_finish, key))


def mutated_indexes() -> list[Item]:
    """Return members.json mutated."""
    with tempfile.TemporaryDirectory() as folder:
        return _items(build_index(LocalStore(made.write_raw(Path(folder)))).to_json(), _members)
