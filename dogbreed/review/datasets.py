"""What a preprocessed dataset leaves in its MLflow run."""

import logging
import re
from collections import Counter

import pandas as pd

from dogbreed.data.dataset import Manifest
from dogbreed.data.leakage import pairs_sheet
from dogbreed.data.overview import breeds_sheet, photos_by_breed
from dogbreed.data.plan import Plan, make_plan
from dogbreed.data.split import SPLITS
from dogbreed.platform.errors import DogbreedError
from dogbreed.platform.storage import Store
from dogbreed.review import tracking
from dogbreed.review.figures import bars
from dogbreed.review.server import check_server
from dogbreed.review.tracking import CONFIG_ID, Run

NUMBER = re.compile(r"-?\d[\d.]*(e[+-]?\d+)?")

log = logging.getLogger(__name__)


def log_dataset(plan: Plan, manifest: Manifest, store: Store, images_per_second: float | None) -> None:
    """Write the run of a preprocessed dataset unless there is one; MLflow being down is a warning.

    `images_per_second` is the rate of this worker, None where it made nothing.
    """
    try:
        check_server()
        if tracking.finished_run("preprocess", CONFIG_ID, manifest.config_id):
            return
        tags = {CONFIG_ID: manifest.config_id}
        with tracking.run("preprocess", manifest.config_id, manifest.config, tags) as run:
            tracking.log_input(manifest, store, "preprocess")
            rate = {} if images_per_second is None else {"images_per_second": images_per_second}
            run.log(0, {**manifest.counts(), **rate})
            run.text("manifest.json", manifest.to_json().decode())
            _log_tables(run, manifest)
            _log_pictures(run, plan, manifest, store)
    except DogbreedError as error:
        log.warning("the dataset is complete, but its run in MLflow is not: %s", error)


def rejects_by_reason(manifest: Manifest) -> pd.DataFrame:
    """Return the columns reason, images, example; reasons that differ in numbers only are one."""
    reasons = {entry.source_id: NUMBER.sub("n", entry.reason) for entry in manifest.quarantine}
    examples = {reason: key for key, reason in reversed(reasons.items())}
    rows = [(reason, count, examples[reason]) for reason, count in Counter(reasons.values()).most_common()]
    return pd.DataFrame(rows, columns=["reason", "images", "example"])


def _log_tables(run: Run, manifest: Manifest) -> None:
    tables = {
        "quarantine": pd.DataFrame(manifest.quarantine, columns=["source_id", "reason"]),
        "quarantine_by_reason": rejects_by_reason(manifest),
        "duplicates": pd.DataFrame(manifest.duplicates, columns=["source_id", "other", "kind"]),
    }
    for name, table in tables.items():
        run.text(f"tables/{name}.csv", table.to_csv(index=False))


def _log_pictures(run: Run, plan: Plan, manifest: Manifest, store: Store) -> None:
    plan = make_plan(plan.source, plan.config, manifest.duplicates)  # without the duplicates that were excluded
    counts = photos_by_breed(plan, manifest)
    table = pd.DataFrame([[counts[breed, split] for split in SPLITS] for breed in manifest.classes], columns=SPLITS)
    table.insert(0, "class", manifest.classes)
    run.text("tables/images_by_class.csv", table.to_csv(index=False))
    run.picture("images_by_class", bars.class_histogram(table))
    run.picture("classes", breeds_sheet(store, manifest, counts), "jpg")  # a PNG of photos has eight times the bytes
    if near := [pair for pair in manifest.duplicates if pair.kind != "file"]:  # equal files need no look
        run.picture("duplicates", pairs_sheet(plan.source, near), "jpg")
