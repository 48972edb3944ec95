"""Evaluate a model on a named split."""

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from dogbreed.core.storage import open_store, read_uri
from dogbreed.data.config import TTA
from jobs._cli import gpus_option, job, uri_option

log = logging.getLogger(__name__)


@job("evaluate")
@click.option(
    "--model",
    default="models:/dogbreed@candidate",
    help="models:/dogbreed@ALIAS, models:/dogbreed/VERSION, runs:/RUN/model or a folder.",
)
@uri_option("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--split", default="test", help="Split to evaluate: test, validation or train.")
@uri_option(
    "--pretraining-list", "List of the images behind pretrained weights, like ILSVRC's train_cls.txt: scores by subset"
)
@uri_option("--compare-with", "Another dataset of the same images, or whole: this one's whole images")
@click.option(
    "--imagenet-baseline",
    metavar="imagenet|URI",
    help="Also evaluate the ImageNet-pretrained classifier (from Keras or a .h5 file) as a zero-shot baseline.",
)
@click.option(
    "--tta",
    type=click.Choice(TTA),
    default=TTA[0],
    help="Test-time augmentation: flip is the mean over each image and its mirror image, in twice the time.",
)
@click.option("--promote", is_flag=True, help="Make the model champion if it is better than the present one on test.")
@click.option("--force", is_flag=True, help="With --promote: skip the score comparison (the model must still load).")
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Images at a time.")
@gpus_option
@click.option("--restart", is_flag=True, help="Evaluate again although this model's run on this split is finished.")
def main(**options: Any) -> dict[str, Any]:
    """Evaluate a model on a split and log metrics, figures and a report to MLflow. Idempotent."""
    from dogbreed.tracking import model_card, promotion

    if not options["promote"]:
        summary = _evaluate(options)
    else:
        promotion.check_asked(options["model"], options["split"])
        with promotion.damage_recorded(options["model"]):
            summary = _evaluate(options)
        store = open_store(options["data"])
        again = partial(promotion.top1_again, summary["model"], store, options["batch_size"], options["tta"])
        summary |= promotion.promote(summary["run_id"], again, options["force"])
    model_card.describe(summary["model"])
    return summary


def _evaluate(options: dict[str, Any]) -> dict[str, Any]:
    """Evaluate, or find the run that has done so, and return the summary."""
    from dogbreed.data.input_pipeline import InputPipeline
    from dogbreed.data.manifest import load_manifest
    from dogbreed.data.near_duplicates import parse_image_list
    from dogbreed.evaluation.result import EvalTarget
    from dogbreed.serving import classifier
    from dogbreed.tracking import lineage, runs
    from dogbreed.workflows import evaluate, preflight, summaries

    store, split = open_store(options["data"]), options["split"]
    preflight.before_job(store, gpus=options["gpus"], tracked=False)
    manifest = load_manifest(store)
    manifest.require_nonempty(split)
    names = parse_image_list(read_uri(options["pretraining_list"])) if options["pretraining_list"] else frozenset()
    uri = runs.resolve(options["model"])
    beside = {name: options[name] for name in ("tta", "compare_with", "imagenet_baseline")}
    key = summaries.evaluation_key(uri, manifest, split, beside, names)
    tags = {"dogbreed.split": split, runs.EVALUATION: key}
    done = summaries.finished_evaluation(uri, key)
    if done and not options["restart"]:
        log.info("done already in run %s; --restart evaluates again", done.info.run_id)
        return summaries.evaluation_summary(done, manifest)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        scratch = Path(folder)
        downloaded = runs.download(uri, scratch / "model")
        model, metadata = classifier.load(downloaded)
        summaries.check_classes_match(metadata, manifest)
        asked = {"model": uri, "split": split, **beside}
        params = {**asked, "model_dataset": metadata.dataset_digest, "data": manifest.config}
        seen = (store, metadata.view, options["batch_size"], scratch / "cache")
        target = EvalTarget(model, manifest, InputPipeline(manifest, *seen), split, options["tta"])
        against = evaluate.open_comparison(options["compare_with"], manifest, *seen)
        floor = evaluate.zero_shot_baseline(options["imagenet_baseline"], model.name, metadata, scratch)
        with runs.start_run("evaluate", f"{model.name}-{split}", params, tags) as run:
            runs.log_input(manifest, store, split)
            found = evaluate.evaluate(target, names, floor, against)
            evaluate.log_evaluation(run, target, found, lineage.load(downloaded, scratch))
    return summaries.evaluation_summary(runs.get_run(run.id), manifest)


if __name__ == "__main__":
    main()
