"""Bring the raw archives to a folder or bucket: download, copy or draw them, check them, index them."""

import tempfile
from pathlib import Path
from typing import Any

import click

from dogbreed.core.storage import Store, open_store
from dogbreed.data.raw import DOWNLOADABLE
from dogbreed.data.synthetic.archives import SyntheticConfig
from jobs._cli import field_option, job, uri_option


@job("fetch")
@click.option(
    "--source",
    type=click.Choice(DOWNLOADABLE),
    default=DOWNLOADABLE[0],
    help="What to fetch; synthetic images are generated.",
)
@uri_option("--raw", "Where the archives go", required=True)
@click.option(
    "--from",
    "origin",
    metavar="URL",
    envvar="DOGBREED_FETCH_FROM",
    help="Where they come from: http(s)://, a folder or s3://bucket/prefix.  [default: the publisher]",
)
@click.option("--scratch", type=click.Path(path_type=Path), help="Directory for partial downloads.  [default: in /tmp]")
@click.option(
    "--allow-other-checksums", is_flag=True, help="Accept archives that are not the published ones; recorded."
)
@field_option(SyntheticConfig, "classes", help="Synthetic images: number of classes.")
@field_option(SyntheticConfig, "per_class", help="Synthetic images: images of each class.")
@field_option(SyntheticConfig, "seed", help="Synthetic images: seed of the generator.")
@click.option(
    "--weights",
    metavar="LIST",
    help="Bring Keras' ImageNet weights of these models to --raw/weights, nothing else: mobilenetv2,resnet50 ...",
)
def main(**options: Any) -> dict[str, Any]:
    """Download the raw archives to --raw and index them. Existing files are not replaced."""
    from dogbreed.data.raw import download
    from dogbreed.workflows import preflight

    raw = open_store(options["raw"])
    preflight.before_job(raw, tracked=False)
    if options["weights"]:
        return _weights(raw, [name.strip() for name in options["weights"].split(",")])
    synthetic = options["source"] == "synthetic"
    if synthetic:
        download.synthesize(raw, SyntheticConfig(options["classes"], options["per_class"], options["seed"]))
    else:
        download.fetch(raw, options["origin"], options["scratch"], options["allow_other_checksums"])
    return download.write_index(raw, synthetic or options["allow_other_checksums"])


def _weights(raw: Store, models: list[str]) -> dict[str, Any]:
    """Put the weights of each model below weights/ and return their hashes."""
    from dogbreed.models import weights

    for model in models:  # all names, before the first download
        weights.require_published(model)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        return {"weights": {model: weights.cache_in_store(raw, model, Path(folder)) for model in models}}


if __name__ == "__main__":
    main()
