"""Logs and progress, both on stderr: bars on a terminal, plain lines otherwise."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

T = TypeVar("T")
LINE_EVERY = 10.0  # seconds between two plain progress lines: readable in `kubectl logs`


def configure(job: str) -> None:
    """Send the log records of every module to stderr as `time level job message`."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)-7s {job} %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    for chatty in ("botocore", "boto3", "s3transfer", "urllib3", "matplotlib", "PIL", "h5py", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def progress(items: Iterable[T], label: str, total: int, unit: str = "photo") -> Iterator[T]:
    """Yield `items` unchanged, showing how many of `total` have passed."""
    if sys.stderr.isatty():
        with logging_redirect_tqdm():
            yield from tqdm(items, desc=label, total=total, unit=unit, unit_scale=unit == "B", leave=False)
        return
    log, said = logging.getLogger(__name__), time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said > LINE_EVERY:
            log.info("%s: %d of %d %ss", label, done, total, unit)
            said = time.monotonic()
