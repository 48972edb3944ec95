"""jobs.preprocess: from a raw archive to a committed dataset and its MLflow run."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypedDict

from dogbreed.core import resources
from dogbreed.core.errors import DataError, NotFound
from dogbreed.core.storage import Store
from dogbreed.core.text import pluralize
from dogbreed.data import builder, maintenance, preview
from dogbreed.data.class_names import describe_missing_classes
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import load_groups
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.duplicate_warnings import warn_of_duplicates
from dogbreed.data.manifest import MANIFEST, Manifest, ManifestSummary
from dogbreed.data.plan import NOT_SELECTED, ShardPlan, check_source, plan_dataset
from dogbreed.data.raw import DOWNLOADABLE, Source, open_source
from dogbreed.data.raw.census import ReasonSummary, check_ignored
from dogbreed.data.raw.labels import LabelsOption
from dogbreed.data.record_cache import RecordCache, open_record_cache
from dogbreed.data.splits import describe_empty
from dogbreed.tracking import dataset_run
from dogbreed.workflows import preflight
from dogbreed.workflows.sharded_build import BuildResult, IncompleteSummary, Worker, load_or_build

log = logging.getLogger(__name__)


class PreprocessSummary(ManifestSummary):
    """Summary of a complete dataset."""

    manifest: str  # URI
    classes_without_images: dict[str, int]  # by split
    ignored: int  # files that are not used
    ignored_by_reason: dict[str, ReasonSummary]
    ignored_rows_by_reason: dict[str, ReasonSummary]  # of the tables of --labels


class GarbageSummary(TypedDict):
    """Summary of --gc."""

    out: str
    deleted: int


@dataclass(frozen=True)
class PreprocessJob:
    """What one worker is asked to do."""

    source: str  # one of dogbreed.data.raw.SOURCES
    raw: Store
    out: Store
    experiment_prefix: str
    config: DatasetConfig
    labels: LabelsOption | None  # tables that name the classes of an image folder
    max_quarantined: float  # fraction of all images
    max_ignored: float  # fraction of all image files
    worker: Worker
    export: Store | None  # where the images also go, as folders of JPEG files


def preprocess(job: PreprocessJob) -> PreprocessSummary | IncompleteSummary:
    """Build this worker's shards; once all are there, write the manifest, the MLflow run and the export."""
    plan = _check_and_plan(job)
    with _thread_pool(job) as pool:
        result = _load_or_build(job, plan, pool)
        if result.manifest is None:
            return {"manifest": None, "out": job.out.uri}
        groups = load_groups(job.out, result.manifest.duplicates)
        plan = plan.with_duplicates(groups)  # a plan made for a complete dataset knows none
        _log_excluded(result.manifest)
        counts = preview.images_by_class(plan, result.manifest)
        missing = _warn_of_missing_classes(result.manifest, counts)
        rate = result.images_per_second
        dataset_run.log_dataset(job.experiment_prefix, plan, result.manifest, job.out, counts, rate)
        if job.export:
            maintenance.to_image_folder(result.manifest, job.out, job.export, pool)
    ignored = plan.source.ignored
    return {
        "manifest": job.out.uri_of(MANIFEST),
        **result.manifest.summary(),
        "classes_without_images": {split: len(names) for split, names in missing.items()},
        "ignored": len(ignored),
        "ignored_by_reason": ignored.summary(),
        "ignored_rows_by_reason": ignored.rows_summary(),
    }


def _warn_of_missing_classes(manifest: Manifest, counts: Counter[tuple[str, str]]) -> dict[str, list[str]]:
    """Log a warning for each split that lacks classes, and return these; also if there is one class only."""
    missing = preview.classes_without_images(manifest, counts)
    for split, names in missing.items():
        if len(names) == len(manifest.classes):
            log.warning("%s", describe_empty(split, manifest.config["split"]))
        elif names:
            log.warning("%s", describe_missing_classes(names, len(manifest.classes), split))
    if len(manifest.classes) == 1:
        log.warning("the dataset has one class only, jobs.train needs two or more: %s", manifest.classes[0])
    return missing


def _log_excluded(manifest: Manifest) -> None:
    for reason, count in manifest.excluded.items():
        named = "" if reason == NOT_SELECTED else ": the groups are in tables/duplicates.csv of the run"
        log.info("excluded: %s, %s%s", pluralize(count, "image"), reason, named)


def dry_run(job: PreprocessJob) -> maintenance.Estimate:
    """Estimate what `preprocess` would write and take; writes nothing."""
    plan = _check_and_plan(job, tracked=False)
    _warn_of_missing_classes(plan.empty_manifest, preview.images_by_class(plan, plan.empty_manifest))
    with _thread_pool(job) as pool:
        found = maintenance.estimate(plan, pool)
    total = pluralize(len(plan.images), "image")
    log.info("dry run: %d of %s decoded, duplicates not searched for", found["decoded"], total)
    return found


def collect_garbage(out: Store) -> GarbageSummary:
    """Delete what abandoned configurations wrote beside a complete dataset."""
    preflight.before_job(out, tracked=False)
    return {"out": out.uri, "deleted": len(maintenance.collect_garbage(out))}


def _check_and_plan(job: PreprocessJob, tracked: bool = True) -> ShardPlan:
    """Check the job and return its plan; tracked: whether it will write a run, see `preflight.before_job`."""
    with resources.no_gc():
        preflight.before_job(job.raw, job.out, tracked=tracked)
        source = _open_source(job)
        check_ignored(source.ignored, len(source.images), job.max_ignored, job.raw.uri)
        check_source(source, job.config)
        return plan_dataset(source, job.config)


def _open_source(job: PreprocessJob) -> Source:
    """Open the source; where its prefix is no folder at all, the error says that instead of what is missing in it."""
    try:
        return open_source(job.source, job.raw, job.labels)
    except DataError as error:
        problem = job.raw.prefix_problem()
        if problem is None:
            raise
        fetched = " and ".join(DOWNLOADABLE)
        raise NotFound(f"{problem}; check --raw (jobs.fetch brings the archives of {fetched})") from error


def _thread_pool(job: PreprocessJob) -> AbstractContextManager[ThreadPoolExecutor]:
    return resources.thread_pool(resources.io_threads(local=job.raw.local_path("") is not None))


def _load_or_build(job: PreprocessJob, plan: ShardPlan, pool: ThreadPoolExecutor) -> BuildResult:
    with open_record_cache(plan.classes) as cache:
        return _build_with_cache(job, plan, pool, cache)


def _build_with_cache(job: PreprocessJob, plan: ShardPlan, pool: ThreadPoolExecutor, cache: RecordCache) -> BuildResult:
    def add_duplicates(plan: ShardPlan) -> ShardPlan:
        found = find_duplicates(plan, job.out, pool, job.worker.index, job.worker.count, cache)
        changed = plan.with_duplicates(found)
        warn_of_duplicates(plan, changed)
        return changed

    def write_shards(plan: ShardPlan, numbers: Sequence[int]) -> Iterator[int]:
        return builder.write_shards(plan, numbers, job.out, pool, cache)

    def finalize(plan: ShardPlan) -> Manifest | None:
        return builder.finalize(plan, job.out, job.max_quarantined)

    return load_or_build(plan, job.out, job.worker, "preprocess", write_shards, finalize, add_duplicates)
