"""jobs.fetch: raw archives, or published weights, to a prefix."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from dogbreed.core.storage import Store
from dogbreed.data.raw import download
from dogbreed.data.raw.download import FetchSummary
from dogbreed.data.synthetic.archives import SyntheticConfig
from dogbreed.workflows import preflight


class WeightsSummary(TypedDict):
    """Summary of --weights: SHA-256 of each model's file."""

    weights: dict[str, str]


def fetch_archives(raw: Store, origin: str | None, scratch: Path | None, allow_other_checksums: bool) -> FetchSummary:
    """Download the published archives to `raw` and index them; existing files are not replaced.

    Args:
        origin: http(s) URL, folder or s3:// prefix; None: the publisher.
        scratch: folder for partial downloads; None: one in the temporary folder.
        allow_other_checksums: accept archives that are not the published ones.
    """
    preflight.before_job(raw, tracked=False)
    download.fetch(raw, origin, scratch, allow_other_checksums)
    return download.write_index(raw, allow_other_checksums)


def synthesize_archives(raw: Store, config: SyntheticConfig) -> FetchSummary:
    """Generate archives of synthetic images at `raw` and index them; DataError if other archives are there."""
    preflight.before_job(raw, tracked=False)
    download.synthesize(raw, config)
    return download.write_index(raw, other_checksums=True)


def fetch_weights(raw: Store, models: Sequence[str]) -> WeightsSummary:
    """Put the published ImageNet weights of each model below weights/."""
    from dogbreed.models import weights  # imports Keras, which archives do not need

    preflight.before_job(raw, tracked=False)
    for model in models:  # all names, before the first download
        weights.require_published(model)
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        return {"weights": {model: weights.cache_in_store(raw, model, Path(folder)) for model in models}}
