"""jobs.evaluate: evaluate a model on a split, log metrics, tables, figures and a report, promote it, summarize."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from dogbreed.core import canonical_json
from dogbreed.core.storage import Store, open_store, read_uri
from dogbreed.data.duplicate_groups import load_groups
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.evaluation import baselines, metrics, result
from dogbreed.evaluation.predict import predict
from dogbreed.evaluation.result import EvalTarget
from dogbreed.evaluation.subsets import parse_image_list
from dogbreed.evaluation.zoom import warn_if_too_small
from dogbreed.serving import model_files
from dogbreed.tracking import evaluation_outputs, lineage, model_card, promotion, registry, runs
from dogbreed.tracking.mlflow_errors import ping
from dogbreed.tracking.runs import MlflowRun
from dogbreed.training.out_of_memory import smaller_batch, translating_out_of_memory
from dogbreed.workflows import gpu_memory, preflight
from dogbreed.workflows.dataset_checks import check_classes_match, open_comparison

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvalOptions:
    """Options of jobs.evaluate."""

    model: str | None  # URI; None: the candidate of the registered model
    registered_model: str | None  # None: the dataset's name
    experiment_prefix: str | None  # None: the dataset's name
    data: str  # URI of the dataset
    split: str
    tta: str
    compare_with: str | None  # URI of another dataset, or dataset_checks.WHOLE
    imagenet_baseline: str | None  # URI of weights, or `imagenet`
    pretraining_list: str | None  # URI
    batch_size: int
    gpus: int | None
    restart: bool  # evaluate again although there is a finished run

    def scored_options(self) -> dict[str, Any]:
        """Return the options that change the metrics, beside model, dataset, split and pretraining list."""
        return {name: getattr(self, name) for name in ("tta", "compare_with", "imagenet_baseline")}


@dataclass(frozen=True)
class EvalJob:
    """An evaluation with its dataset, and with that dataset's name where the options give none."""

    options: EvalOptions
    store: Store
    manifest: Manifest
    model: str  # URI
    registered_model: str
    experiment_prefix: str


class EvalSummary(TypedDict):
    """Summary of jobs.evaluate; it also has each other metric of the split, see `EvalResult.to_metrics`."""

    run_id: str
    model: str
    images: int
    top1: float
    top5: float
    macro_f1: float
    loss: float
    classes_without_images: float  # those that macro_f1 leaves out
    ece: float
    promoted: NotRequired[bool]  # with --promote
    champion: NotRequired[int | None]
    reason: NotRequired[str]


def evaluate(options: EvalOptions) -> EvalSummary:
    """Evaluate a model, or find the run that has, and update its model card."""
    job = open_job(options)
    summary = _evaluate_once(job)
    model_card.describe(summary["model"], job.registered_model, job.experiment_prefix)
    return summary


def evaluate_and_promote(options: EvalOptions, force: bool) -> EvalSummary:
    """Evaluate a registered version on test and make it champion if it is better, see `promotion.promote`."""
    job = open_job(options)
    promotion.check_promotable(job.model, job.registered_model, options.split)
    with promotion.record_failure(job.model):
        summary = _evaluate_once(job)
    again = partial(evaluate_again, summary["model"], job.store, options.batch_size, options.tta)
    outcome = promotion.promote(summary["run_id"], again, force)
    model_card.describe(summary["model"], job.registered_model, job.experiment_prefix)
    return {**summary, **outcome}


def open_job(options: EvalOptions) -> EvalJob:
    """Check what the evaluation needs and open its dataset."""
    store = open_store(options.data)
    gpu_memory.enable_memory_growth()
    preflight.before_job(store, gpus=options.gpus, tracked=False)
    manifest = load_manifest(store)
    registered_model = options.registered_model or manifest.name
    return EvalJob(
        options,
        store,
        manifest,
        options.model or f"models:/{registered_model}@{registry.CANDIDATE}",
        registered_model,
        options.experiment_prefix or manifest.name,
    )


def _evaluate_once(job: EvalJob) -> EvalSummary:
    options, manifest = job.options, job.manifest
    manifest.require_nonempty(options.split)
    listed = parse_image_list(read_uri(options.pretraining_list)) if options.pretraining_list else frozenset[str]()
    ping()
    model_uri = registry.resolve(job.model)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as scratch:
        folder = registry.download(model_uri, Path(scratch) / "model")
        model = {"model": model_uri, "model_sha256": model_files.fingerprint(folder)}
        key = evaluation_key(model, manifest, options.split, options.scored_options(), listed)
        done = runs.finished_run(job.experiment_prefix, "evaluate", runs.EVALUATION, key)
        if done and not options.restart:
            log.info("already evaluated in run %s; use --restart to evaluate again", done.info.run_id)
            return _summarize(done, manifest)
        advice = f"{smaller_batch(options.batch_size)}, or the CPU with an empty CUDA_VISIBLE_DEVICES"
        with translating_out_of_memory(options.batch_size, advice):
            run_id = _evaluate_and_log(job, model, folder, listed, key)
    return _summarize(runs.get_run(run_id), manifest)


def _evaluate_and_log(
    job: EvalJob, identity: Mapping[str, str], folder: Path, pretraining_list: frozenset[str], key: str
) -> str:
    """Evaluate the model that was downloaded to `folder` in a new run and return the run's id.

    identity: of the model, see `evaluation_key`.
    """
    options, manifest, store, scratch = job.options, job.manifest, job.store, folder.parent
    model, metadata = model_files.load(folder)
    check_classes_match(metadata, manifest)
    warn_if_too_small(metadata.view, manifest)
    reading = (metadata.view, options.batch_size, scratch / "cache")
    pipeline, duplicates = InputPipeline(manifest, store, *reading), load_groups(store, manifest.duplicates)
    target = EvalTarget(model, manifest, pipeline, options.split, options.tta, duplicates)
    other_crop = open_comparison(options.compare_with, manifest, store, *reading)
    baseline = None
    if options.imagenet_baseline:
        baseline = baselines.zero_shot_classifier(
            model.name, metadata.size, metadata.classes, options.imagenet_baseline, scratch
        )
    params = {**identity, "split": options.split, **options.scored_options()}
    params |= {"model_dataset": metadata.dataset_digest, "test_zoom": metadata.zoom, "data": manifest.params()}
    tags = {runs.SPLIT: options.split, runs.EVALUATION: key, **lineage.tags(folder)}
    run_name = f"{model.name}-{options.split}"
    with runs.start_run(job.experiment_prefix, "evaluate", run_name, params, tags) as run:
        runs.log_input(manifest, store, options.split)
        found = result.evaluate(target, pretraining_list, baseline, other_crop)
        evaluation_outputs.log_evaluation(run, target, found, lineage.load(folder, scratch))
    return run.id


def evaluate_again(model_uri: str, data: Store, batch_size: int, tta: str) -> float:
    """Return the top-1 on test of a newly downloaded copy of the model."""
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        model, metadata = model_files.load(registry.download(model_uri, Path(folder) / "model"))
        pipeline = InputPipeline(load_manifest(data), data, metadata.view, batch_size, Path(folder) / "cache")
        labels, probabilities, _ = predict(model, pipeline, promotion.SPLIT, tta=tta)
    return metrics.compute_metrics(labels, probabilities)["top1"]


def evaluation_key(
    model: Mapping[str, str],
    manifest: Manifest,
    split: str,
    options: Mapping[str, Any],
    pretraining_list: frozenset[str],
) -> str:
    """Return the hash of all that determines the metrics of an evaluation, and of the name that its run shows.

    Args:
        model: `model`, its URI, and `model_sha256`: a model that is deleted and made again has the same URI once more.
        options: `EvalOptions.scored_options`.
    """
    return canonical_json.digest(
        {
            **model,
            "dataset_digest": manifest.digest,
            "split": split,
            "options": dict(options),
            "pretraining_list": sorted(pretraining_list),
        }
    )


def _summarize(run: MlflowRun, manifest: Manifest) -> EvalSummary:
    split = run.data.tags[runs.SPLIT]
    prefix = f"{split}_"
    scores = {name.removeprefix(prefix): v for name, v in run.data.metrics.items() if name.startswith(prefix)}
    known = {"run_id": run.info.run_id, "model": run.data.params["model"]}
    return cast(EvalSummary, {**known, **scores, "images": manifest.split(split).num_images})
