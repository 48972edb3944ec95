"""Predict the class of each image below a prefix and write one row for each."""

from collections.abc import Mapping
from typing import Any

import click

from dogbreed.core.names import DEFAULT_NAME
from dogbreed.core.storage import open_store
from dogbreed.serving.row_writers import WRITERS
from dogbreed.workflows.sharded_build import Worker
from jobs._cli import gpus_option, job, max_ignored_option, name_option, uri_option, worker_index_option, workers_option


@job("predict")
@click.option(
    "--model",
    help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder.  "
    "[default: the champion of --registered-model]",
)
@name_option("--registered-model", "Registered model whose champion predicts without --model.", default=DEFAULT_NAME)
@name_option("--experiment-prefix", "MLflow's experiment is NAME/predict.  [default: the name of the model's dataset]")
@uri_option("--images", "An image, or where images are, at any depth", required=True)
@uri_option("--out", "Where the prediction rows are written", required=True)
@click.option(
    "--format", "kind", type=click.Choice(list(WRITERS)), envvar="DOGBREED_PREDICT_FORMAT",
    help="File format of the rows.  [default: the suffix of --out, or parquet]",
)  # fmt: skip
@click.option("--shards", type=click.IntRange(1), help="Approximate number of row files.  [default: 256 images each]")
@max_ignored_option
@click.option(
    "--verify",
    is_flag=True,
    help="Also read every image of complete rows again and compare its SHA-256 with the row's.",
)
@worker_index_option
@workers_option
@gpus_option
def main(**options: Any) -> Mapping[str, Any]:
    """Predict the class of every image below --images, one output row per image. Idempotent.

    An image that cannot be used has a row with the reason. Exits with 65 if that is so for every image.
    """
    from dogbreed.tracking import registry
    from dogbreed.workflows import predict

    images, only = predict.open_images(options["images"])
    return predict.predict(
        predict.PredictJob(
            model=options["model"] or f"models:/{options['registered_model']}@{registry.CHAMPION}",
            images=images,
            only=only,
            max_ignored=options["max_ignored"],
            out=open_store(options["out"]),
            experiment_prefix=options["experiment_prefix"],
            kind=options["kind"],
            shards=options["shards"],
            worker=Worker(options["worker_index"], options["workers"]),
            gpus=options["gpus"],
            verify=options["verify"],
        )
    )


if __name__ == "__main__":
    main()
