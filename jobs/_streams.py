"""The standard streams of a job: any may be closed when it starts, or not writable when it ends."""

import json
import logging
import os
import sys
from collections.abc import Mapping

import click

from dogbreed.core.errors import RetryableError

_closed = set[str]()  # streams that were closed at the start

log = logging.getLogger(__name__)


def open_closed_streams() -> None:
    """Open /dev/null for each standard stream that is closed.

    Python sets such a stream to None, which libraries do not expect; and the next file that is opened would get its
    number, so that messages of TensorFlow would be written into that file.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
            _closed.add(name)


def print_summary(summary: Mapping[str, object]) -> None:
    """Print the summary as one JSON object, the last line of stdout; log it if stdout was closed at the start.

    Raises:
        RetryableError: stdout cannot be written.
    """
    line = json.dumps(summary)
    if "stdout" in _closed:
        log.warning("stdout was closed when the job started; its summary is: %s", line)
        return
    try:
        click.echo(line)
    except OSError as error:
        raise RetryableError(
            f"the job is done, but its summary cannot be written to stdout ({error}); run the same command again for it"
        ) from error


def discard_unwritten() -> None:
    """Discard what a stream cannot take: the interpreter would try again at its end and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
