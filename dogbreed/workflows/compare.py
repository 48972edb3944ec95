"""jobs.compare: rank evaluated models of one dataset and write the leaderboard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from dogbreed.core.names import DEFAULT_NAME
from dogbreed.core.storage import open_store
from dogbreed.data.manifest import load_manifest
from dogbreed.tracking import leaderboard
from dogbreed.workflows import preflight


class CompareSummary(TypedDict):
    """Summary of jobs.compare."""

    rows: int
    best: str  # URI of the model
    top1: float
    out: str  # URI of the leaderboard


@dataclass(frozen=True)
class Comparison:
    """A leaderboard as Markdown, and the summary."""

    markdown: str
    summary: CompareSummary


def compare(
    out: str, data: str | None, split: str, run_ids: Sequence[str], experiment_prefix: str | None
) -> Comparison:
    """Write leaderboard.md, leaderboard.csv and leaderboard.png to `out`, replacing earlier ones.

    Args:
        out: URI.
        data: URI of the dataset, None if all evaluations are on the same one.
        split: of the evaluations.
        run_ids: of the evaluations to compare, none for all.
        experiment_prefix: None: the name of the dataset, or DEFAULT_NAME without `data`.

    Raises:
        DataError: the evaluations are on different data.
    """
    store = open_store(out)
    preflight.before_job(store, tracked=False)
    manifest = load_manifest(open_store(data)) if data else None
    prefix = experiment_prefix or (manifest.name if manifest else DEFAULT_NAME)
    digest = manifest.digest if manifest else None
    board = leaderboard.table(leaderboard.evaluations(prefix, split, digest, run_ids))
    text = leaderboard.markdown(board, split)
    leaderboard.write(board, text, split, store)
    best = board.iloc[0]
    return Comparison(text, {"rows": len(board), "best": best["model"], "top1": best["top1"], "out": store.uri})
