"""Compare evaluated models of one dataset: a leaderboard as Markdown, CSV and a picture."""

from typing import Any

import click

from dogbreed.core.storage import open_store
from jobs._cli import job, uri_option


def _listed(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Read names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


@job("compare")
@uri_option("--data", "Only evaluations on this dataset; needed where there are several")
@click.option("--split", default="test", help="Only evaluations on this split: test, validation or train.")
@click.option("--runs", metavar="LIST", callback=_listed, help="Only these runs of jobs.evaluate, by id.")
@uri_option("--out", "Where leaderboard.md, leaderboard.csv and leaderboard.png go", required=True)
def main(**options: Any) -> dict[str, Any]:
    """Rank evaluated models of one dataset; runs on different data are refused. The leaderboard is written anew."""
    from dogbreed.data.manifest import load_manifest
    from dogbreed.tracking import leaderboard
    from dogbreed.workflows import preflight

    out, split = open_store(options["out"]), options["split"]
    preflight.before_job(out, tracked=False)
    digest = load_manifest(open_store(options["data"])).digest if options["data"] else None
    evaluated = leaderboard.evaluations(split, digest, options["runs"])
    board = leaderboard.table(evaluated)
    text = leaderboard.markdown(board, split)
    leaderboard.write(board, text, split, out)
    click.echo(text)
    best = board.iloc[0]
    return {"rows": len(board), "best": best["model"], "top1": best["top1"], "out": out.uri}


if __name__ == "__main__":
    main()
