"""Bring the raw archives to a folder or bucket (download, copy or generate), check and index them."""

from collections.abc import Mapping
from typing import Any

import click

from dogbreed.core.storage import expand_home, open_store
from dogbreed.data.raw import DOWNLOADABLE
from dogbreed.data.synthetic.archives import SyntheticConfig
from jobs._cli import field_option, job, uri_option


@job("fetch")
@click.option(
    "--source",
    type=click.Choice(DOWNLOADABLE),
    default=DOWNLOADABLE[0],
    help="Dataset to download; synthetic images are generated.",
)
@uri_option("--raw", "Where the archives are written", required=True)
@click.option(
    "--from",
    "origin",
    metavar="URL",
    envvar="DOGBREED_FETCH_FROM",
    help="Where they come from: http(s)://, a folder or s3://bucket/prefix.  [default: the publisher]",
)
@click.option("--scratch", type=click.Path(), help="Directory for partial downloads.  [default: in /tmp]")
@click.option(
    "--allow-other-checksums", is_flag=True, help="Accept archives other than the published ones and record that."
)
@field_option(SyntheticConfig, "classes", help="Synthetic images: number of classes.")
@field_option(SyntheticConfig, "per_class", help="Synthetic images: images of each class.")
@field_option(SyntheticConfig, "seed", help="Synthetic images: seed of the generator.")
@click.option(
    "--weights",
    metavar="LIST",
    help="Only download the ImageNet weights of these Keras models to --raw/weights: mobilenetv2,resnet50 ...",
)
def main(**options: Any) -> Mapping[str, Any]:
    """Download the raw archives to --raw and index them. Existing files are not replaced."""
    from dogbreed.workflows import fetch

    raw = open_store(options["raw"])
    if options["weights"]:
        return fetch.fetch_weights(raw, [name.strip() for name in options["weights"].split(",")])
    if options["source"] == "synthetic":
        config = SyntheticConfig(options["classes"], options["per_class"], options["seed"])
        return fetch.synthesize_archives(raw, config)
    scratch = expand_home(options["scratch"]) if options["scratch"] else None
    return fetch.fetch_archives(raw, options["origin"], scratch, options["allow_other_checksums"])


if __name__ == "__main__":
    main()
