"""Evaluate a model on a named split."""

import tempfile
from pathlib import Path
from typing import Any

import click

from dogbreed.platform.storage import open_store
from jobs._cli import job, uri


@job("evaluate")
@click.option(
    "--model",
    default="models:/dogbreed@candidate",
    help="models:/dogbreed@ALIAS, models:/dogbreed/VERSION, runs:/RUN/model or a folder.",
)
@uri("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--split", default="test", help="Split to evaluate: test, validation or train.")
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Photos at a time.")
def main(**options: Any) -> dict[str, Any]:
    """Evaluate a model on a named split; the figures and pictures go to MLflow."""
    from dogbreed.data.dataset import load_manifest
    from dogbreed.data.pipeline import InputPipeline
    from dogbreed.review import classifier, results, tracking
    from dogbreed.training import trainer

    store, split = open_store(options["data"]), options["split"]
    manifest = load_manifest(store)
    manifest.filled(split)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as scratch:
        uri = tracking.resolve(options["model"])
        model, card = classifier.load(tracking.download(uri, Path(scratch) / "model"))
        results.check_card(card, manifest)
        params = {"model": uri, "model_dataset": card.dataset_digest, "split": split, "data": manifest.options}
        pipeline = InputPipeline(manifest, store, card.view, options["batch_size"], Path(scratch) / "cache")
        with tracking.run("evaluate", f"{model.name}-{split}", params, {"dogbreed.split": split}) as run:
            tracking.log_input(manifest, store, split)
            scores = results.log_evaluation(run, split, trainer.predict(model, pipeline, split), manifest)
    return {"run_id": run.id, "model": uri, **scores, "photos": manifest.split(split).photos}


if __name__ == "__main__":
    main()
