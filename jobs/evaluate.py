"""Evaluate a model on a named split."""

from collections.abc import Mapping
from typing import Any

import click

from dogbreed.data.config import TTA
from jobs._cli import gpus_option, job, name_option, uri_option


@job("evaluate")
@click.option(
    "--model",
    help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder.  "
    "[default: the candidate of --registered-model]",
)
@name_option(
    "--registered-model", "Registered model whose cards and champion may change.  [default: the dataset's name]"
)
@name_option("--experiment-prefix", "MLflow's experiment is NAME/evaluate.  [default: the dataset's name]")
@uri_option("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--split", default="test", help="Split to evaluate: test, validation or train.")
@uri_option(
    "--pretraining-list", "List of the images used in pretraining, like ILSVRC's train_cls.txt: adds scores by subset"
)
@uri_option("--compare-with", "Other dataset of the same images, or whole: this dataset's uncropped images")
@click.option(
    "--imagenet-baseline",
    metavar="imagenet|URI",
    help="Also evaluate the ImageNet-pretrained classifier (from Keras or a .h5 file) as a zero-shot baseline.",
)
@click.option(
    "--tta",
    type=click.Choice(TTA),
    default=TTA[0],
    help="Test-time augmentation: flip averages over each image and its mirror image and takes twice as long, "
    "flip-shift also over shifts of both by one pixel and takes six times as long.",
)
@click.option("--promote", is_flag=True, help="Make it champion if test top-1 is above the champion's 95 % interval.")
@click.option("--force", is_flag=True, help="With --promote: skip the score comparison (the model must still load).")
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Images per batch.")
@gpus_option
@click.option("--restart", is_flag=True, help="Evaluate again even if a finished run exists.")
def main(promote: bool, force: bool, **options: Any) -> Mapping[str, object]:
    """Evaluate a model on a split and log metrics, figures and a report to MLflow. Idempotent."""
    from dogbreed.workflows import evaluate

    chosen = evaluate.EvalOptions(**options)
    return evaluate.evaluate_and_promote(chosen, force) if promote else evaluate.evaluate(chosen)


if __name__ == "__main__":
    main()
