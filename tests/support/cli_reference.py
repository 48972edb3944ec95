"""`python -m tests.support.cli_reference` writes docs/cli.md, the `--help` of every job, and jobs/_variables.py."""

from importlib import import_module
from pathlib import Path

import click

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
VARIABLES = Path(__file__).parents[2] / "jobs" / "_variables.py"
JOBS = ("fetch", "preprocess", "train", "evaluate", "predict", "compare", "search", "preflight")
WIDTH = 100  # characters a line
INTRODUCTION = """\
# Command line reference

<!-- Written by `make docs` from the --help of each job; do not edit. -->

Run a job as `python -m jobs.NAME [OPTIONS]`. Each option can also be set by the environment variable
`DOGBREED_<JOB>_<OPTION>`, for example `DOGBREED_TRAIN_RECIPE=simple-64`; an option on the command line wins. Flags take
`true` or `false`. `JOB_COMPLETION_INDEX`, which Kubernetes sets in Indexed Jobs, stands for `--worker-index`.

Logs and progress bars go to stderr. The last line of stdout is a JSON summary. Exit codes are listed in
[architecture.md](architecture.md#exit-codes).
"""


def help_text(job: str) -> str:
    """Return what `python -m jobs.NAME --help` prints on a terminal of WIDTH characters."""
    command: click.Command = import_module(f"jobs.{job}").main
    settings = {**command.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    return command.get_help(click.Context(command, info_name=f"python -m jobs.{job}", **settings))


def render() -> str:
    """Return the page."""
    sections = [f"\n## {job}\n\n```text\n{help_text(job)}\n```\n" for job in JOBS]
    return INTRODUCTION + "".join(sections)


def option_variables(job: str) -> set[str]:
    """Return the environment variables of a job's options."""
    command: click.Command = import_module(f"jobs.{job}").main
    options = [option for option in command.params if isinstance(option, click.Option)]
    own = {option.envvar for option in options if isinstance(option.envvar, str)}
    names = {option.name for option in options} | {option.opts[0].removeprefix("--") for option in options}
    automatic = {f"DOGBREED_{job}_{name}".replace("-", "_").upper() for name in names if name}
    return {name for name in own | automatic if name.startswith("DOGBREED_")}


def render_variables() -> str:
    """Return the module that lists the variables of all jobs: each job knows those of the others, too."""
    names = sorted(name for job in JOBS for name in option_variables(job))
    lines = "".join(f'    "{name}",\n' for name in names)
    return f'"""The variables of the options of all jobs; written by `make docs`."""\n\nOPTIONS = (\n{lines})\n'


if __name__ == "__main__":
    PAGE.write_text(render())
    VARIABLES.write_text(render_variables())
