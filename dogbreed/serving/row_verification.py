"""Verification of prediction rows: each image is read again and compared with the SHA-256 in its row."""

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from pyarrow import parquet

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import DataError
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.core.text import pluralize
from dogbreed.data.manifest import Manifest
from dogbreed.data.shard_files import read_verified
from dogbreed.serving.batch_predict import SPLIT, BatchPredictPlan

NAMED = 20  # images in the message

READERS: dict[str, Callable[[bytes], Iterable[dict[str, str]]]] = {  # the inverse of row_writers.WRITERS
    "parquet": lambda data: parquet.read_table(io.BytesIO(data), columns=["image", "sha256"]).to_pylist(),
    "csv": lambda data: csv.DictReader(io.StringIO(data.decode(), newline="")),
    "jsonl": lambda data: map(json.loads, data.splitlines()),
}

log = logging.getLogger(__name__)


def verify_rows(
    plan: BatchPredictPlan, manifest: Manifest, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor
) -> None:
    """Read the images of these shards again; DataError that names those whose bytes are not those of their row."""

    def is_same(row: dict[str, str]) -> bool:
        return sha256_hex(plan.images.read(row["image"])) == row["sha256"]

    shards = [manifest.splits[SPLIT].shards[number] for number in numbers]
    changed: list[str] = []
    for shard in progress(shards, "verify", len(shards), unit="shard"):
        rows = list(READERS[plan.kind](read_verified(out, shard)))
        changed += [row["image"] for row, same in zip(rows, pool.map(is_same, rows), strict=True) if not same]
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise DataError(
            f"{pluralize(len(changed), 'image')} below {plan.images.uri} not as when the rows at {out.uri} were made: "
            f"{', '.join(changed[:NAMED])}{more}; choose another --out to predict them"
        )
    files = pluralize(len(shards), "row file")
    log.info("verified: the images of %s at %s have the SHA-256 of their rows", files, out.uri)
