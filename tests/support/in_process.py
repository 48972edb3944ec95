"""A job called in this process, with its options parsed as on a command line and its errors raised."""

import importlib
from typing import Any

import click


def call(name: str, *options: str) -> dict[str, Any]:
    """Return the summary of `python -m jobs.NAME` with these options; logging and signals stay the test's."""
    main: click.Command = importlib.import_module(f"jobs.{name}").main
    assert main.callback is not None
    with main.make_context(name, list(options)) as context:
        return dict(main.callback(**context.params))
