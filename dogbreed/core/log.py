"""Logs and progress, both on stderr: bars on a terminal, plain lines otherwise."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
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
    for chatty in (
        "botocore",
        "boto3",
        "s3transfer",
        "urllib3",
        "matplotlib",
        "PIL",
        "h5py",
        "alembic",
        "tensorflow",
        "mlflow.system_metrics",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def progress(
    items: Iterable[T], label: str, total: int | None, unit: str = "image", size: Callable[[T], int] | None = None
) -> Iterator[T]:
    """Yield `items` unchanged, showing how many of `total` (None: unknown) have passed.

    With `size` an item counts as so many units, bytes for example.
    """
    bar = sys.stderr.isatty()
    log, said, done = logging.getLogger(__name__), time.monotonic(), 0
    with (
        logging_redirect_tqdm() if bar else nullcontext(),
        tqdm(desc=label, total=total, unit=unit, unit_scale=size is not None, leave=False, disable=not bar) as shown,
    ):
        for item in items:
            yield item
            step = size(item) if size else 1
            done += step
            shown.update(step)
            if not bar and time.monotonic() - said > LINE_EVERY:
                log.info(
                    "%s: %s%s %s",
                    label,
                    f"{done:,}",
                    f" of {total:,}" if total else "",
                    f"{unit}s" if size is None else unit,
                )
                said = time.monotonic()
