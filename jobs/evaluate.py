"""Evaluate a model on a named split."""

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from dogbreed.data.options import TTA
from dogbreed.platform.storage import open_store, read_uri
from jobs._cli import gpus_option, job, uri

log = logging.getLogger(__name__)


@job("evaluate")
@click.option(
    "--model",
    default="models:/dogbreed@candidate",
    help="models:/dogbreed@ALIAS, models:/dogbreed/VERSION, runs:/RUN/model or a folder.",
)
@uri("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--split", default="test", help="Split to evaluate: test, validation or train.")
@uri(
    "--pretraining-list", "List of the images behind pretrained weights, like ILSVRC's train_cls.txt: scores by subset"
)
@uri("--compare-with", "Another dataset of the same images, or whole: this one's whole images")
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
    from dogbreed.review import model_card, promotion

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
    from dogbreed.data.dataset import load_manifest
    from dogbreed.data.leakage import imagenet_names
    from dogbreed.data.pipeline import InputPipeline
    from dogbreed.review import classifier, evaluation, origin, preflight, results, tracking
    from dogbreed.review.findings import Subject

    store, split = open_store(options["data"]), options["split"]
    preflight.before_job(store, gpus=options["gpus"], tracked=False)
    manifest = load_manifest(store)
    manifest.require_nonempty(split)
    names = imagenet_names(read_uri(options["pretraining_list"])) if options["pretraining_list"] else frozenset()
    uri = tracking.resolve(options["model"])
    beside = {name: options[name] for name in ("tta", "compare_with", "imagenet_baseline")}
    key = results.evaluation_key(uri, manifest, split, beside, names)
    tags = {"dogbreed.split": split, tracking.EVALUATION: key}
    done = results.finished_evaluation(uri, key)
    if done and not options["restart"]:
        log.info("done already in run %s; --restart evaluates again", done.info.run_id)
        return results.of_evaluation(done, manifest)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        scratch = Path(folder)
        downloaded = tracking.download(uri, scratch / "model")
        model, card = classifier.load(downloaded)
        results.check_card(card, manifest)
        asked = {"model": uri, "split": split, **beside}
        params = {**asked, "model_dataset": card.dataset_digest, "data": manifest.config}
        seen = (store, card.view, options["batch_size"], scratch / "cache")
        subject = Subject(model, manifest, InputPipeline(manifest, *seen), split, options["tta"])
        against = evaluation.against(options["compare_with"], manifest, *seen)
        floor = evaluation.untrained(options["imagenet_baseline"], model.name, card, scratch)
        with tracking.run("evaluate", f"{model.name}-{split}", params, tags) as run:
            tracking.log_input(manifest, store, split)
            found = evaluation.measure(subject, names, floor, against)
            evaluation.leave(run, subject, found, origin.of(downloaded, scratch))
    return results.of_evaluation(tracking.get(run.id), manifest)


if __name__ == "__main__":
    main()
