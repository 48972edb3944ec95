"""Check what the jobs need before they are submitted: store, MLflow, clock, scratch, memory, GPUs."""

from collections.abc import Mapping

import click

from dogbreed.core.names import DEFAULT_NAME
from jobs._cli import gpus_option, job, name_option, uri_option


@job("preflight")
@uri_option("--store", "A prefix that the jobs write to", required=True)
@gpus_option
@click.option("--memory", type=click.FloatRange(0), default=2.0, help="Memory that the jobs will need, in GiB.")
@name_option("--experiment-prefix", "MLflow's experiment is NAME/preflight.", default=DEFAULT_NAME)
def main(store: str, gpus: int | None, memory: float, experiment_prefix: str) -> Mapping[str, object]:
    """Run all checks, print a table, and exit with the code of the first check that failed."""
    from dogbreed.workflows import preflight

    results = preflight.check_all(store, gpus, memory, experiment_prefix)
    for result in results:
        state, color = ("ok", "green") if result.error is None else (f"exit {result.error.exit_code}", "red")
        click.echo(f"{result.check:<11} {click.style(f'{state:<8}', color)} {result.found}", err=True)
    for result in results:
        if result.error:
            raise result.error
    return {result.check: result.found for result in results}


if __name__ == "__main__":
    main()
