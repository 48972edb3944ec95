"""Check what the jobs need before they are submitted: store, MLflow, clock, scratch, memory, GPUs."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dogbreed.platform.storage import open_store
from jobs._cli import gpus_option, job, uri


@job("preflight")
@uri("--store", "A prefix that the jobs will write to", required=True)
@gpus_option
@click.option("--memory", type=click.FloatRange(0), default=2.0, help="Memory that the jobs will need, in GiB.")
def main(**options: Any) -> dict[str, Any]:
    """Check everything, show a table, and end with the code of the first thing that is wrong."""
    from dogbreed.review import preflight

    checks = preflight.all_checks(open_store(options["store"]), options["gpus"], options["memory"])
    results = preflight.outcomes(checks)
    table = Table("check", "", "found", title="preflight", title_justify="left")
    for result in results:
        state = "[green]ok[/]" if result.error is None else f"[red]exit {result.error.exit_code}[/]"
        table.add_row(result.check, state, result.found)
    Console(stderr=True).print(table)
    for result in results:
        if result.error:
            raise result.error
    return {result.check: result.found for result in results}


if __name__ == "__main__":
    main()
