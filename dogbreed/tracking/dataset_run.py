"""The MLflow run of a preprocessed dataset: metrics, tables and figures."""

import logging
import re
from collections import Counter

import pandas as pd

from dogbreed.core.errors import DogbreedError
from dogbreed.core.storage import Store
from dogbreed.data.manifest import Manifest
from dogbreed.data.plan import ShardPlan
from dogbreed.data.preview import classes_without_images, draw_classes, draw_duplicates
from dogbreed.data.splits import SPLITS
from dogbreed.evaluation.figures import bars
from dogbreed.tracking import runs
from dogbreed.tracking.ignored_files import log_ignored
from dogbreed.tracking.mlflow_errors import ping
from dogbreed.tracking.runs import CONFIG_ID, Run

DUPLICATES = ["representative", "representative_class", "source_id", "class", "kind"]  # columns of the table
NUMBER = re.compile(r"-?\d[\d.]*(e[+-]?\d+)?")

log = logging.getLogger(__name__)


def log_dataset(
    prefix: str,
    plan: ShardPlan,
    manifest: Manifest,
    store: Store,
    counts: Counter[tuple[str, str]],
    images_per_second: float | None,
) -> None:
    """Write the run of a complete dataset unless there is one; log a warning if MLflow is unavailable.

    Args:
        prefix: of the experiment.
        counts: see `preview.images_by_class`.
        images_per_second: of this worker; None if it read no image.
    """
    try:
        ping()
        if runs.finished_run(prefix, "preprocess", CONFIG_ID, manifest.config_id):
            return
        tags = {CONFIG_ID: manifest.config_id}
        with runs.start_run(prefix, "preprocess", manifest.config_id, manifest.params(), tags) as run:
            runs.log_input(manifest, store, "preprocess")
            rate = {} if images_per_second is None else {"images_per_second": images_per_second}
            missing = classes_without_images(manifest, counts)
            empty = {f"classes_without_images_{split}": float(len(names)) for split, names in missing.items()}
            run.log_metrics(0, {**manifest.metrics(), **empty, **rate})
            run.log_text("manifest.json", manifest.to_json().decode())
            _log_tables(run, manifest, plan)
            log_ignored(run, plan.source.ignored)
            _log_figures(run, plan, manifest, store, counts)
            log.info("tables and figures of the dataset: %s", run.artifact_uri)
    except DogbreedError as error:
        log.warning("the dataset is complete, but its run in MLflow is not: %s", error)


def quarantine_reasons(manifest: Manifest) -> pd.DataFrame:
    """Return the columns reason, images, example; reasons that differ only in numbers are counted together."""
    reasons = {entry.source_id: NUMBER.sub("n", entry.reason) for entry in manifest.quarantine}
    first = {reason: source_id for source_id, reason in reversed(reasons.items())}
    rows = [(reason, count, first[reason]) for reason, count in Counter(reasons.values()).most_common()]
    return pd.DataFrame(rows, columns=["reason", "images", "example"])


def _log_tables(run: Run, manifest: Manifest, plan: ShardPlan) -> None:
    class_of = {image.source_id: image.class_name for image in plan.selected}
    members = [
        (first, class_of[first], member.source_id, class_of[member.source_id], member.kind)
        for first, others in ((group.representative, group.members) for group in plan.duplicates)
        for member in others
    ]
    tables = {
        "quarantine": pd.DataFrame(manifest.quarantine, columns=["source_id", "reason"]),
        "quarantine_by_reason": quarantine_reasons(manifest),
        "duplicates": pd.DataFrame(members, columns=DUPLICATES),
    }
    for name, table in tables.items():
        run.log_text(f"tables/{name}.csv", table.to_csv(index=False))


def _log_figures(run: Run, plan: ShardPlan, manifest: Manifest, store: Store, counts: Counter[tuple[str, str]]) -> None:
    table = pd.DataFrame([[counts[name, split] for split in SPLITS] for name in manifest.classes], columns=SPLITS)
    table.insert(0, "class", manifest.classes)
    run.log_text("tables/images_by_class.csv", table.to_csv(index=False))
    run.log_figure("images_by_class", bars.class_histogram(table))
    run.log_figure("classes", draw_classes(store, manifest, counts), "jpg")  # a PNG has eight times the bytes
    if figure := draw_duplicates(plan.source, plan.duplicates, {entry.source_id for entry in manifest.quarantine}):
        run.log_figure("duplicates", figure, "jpg")
