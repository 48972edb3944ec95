"""Compare evaluated models of one dataset: a leaderboard as Markdown, CSV and a figure."""

from collections.abc import Mapping

import click

from jobs._cli import job, name_option, uri_option


def _parse_list(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Read names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


@job("compare")
@uri_option("--data", "Only evaluations on this dataset; required if there are several")
@name_option(
    "--experiment-prefix",
    "Only evaluations in MLflow's experiment NAME/evaluate, not used with --runs.  "
    "[default: the name of --data, dogbreed without --data]",
)
@click.option("--split", default="test", help="Only evaluations on this split: test, validation or train.")
@click.option("--runs", metavar="LIST", callback=_parse_list, help="Only these runs of jobs.evaluate, by id.")
@uri_option("--out", "Where leaderboard.md, leaderboard.csv and leaderboard.png are written", required=True)
def main(
    out: str, data: str | None, experiment_prefix: str | None, split: str, runs: tuple[str, ...]
) -> Mapping[str, object]:
    """Rank the evaluated models of one dataset. Fails if the runs are on different data. Replaces the leaderboard."""
    from dogbreed.workflows import compare

    comparison = compare.compare(out, data, split, runs, experiment_prefix)
    click.echo(comparison.markdown)
    return comparison.summary


if __name__ == "__main__":
    main()
