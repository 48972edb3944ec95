"""What became of one hostile item, and whether its row of the table says so."""

import re
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dogbreed.core.errors import DogbreedError
from dogbreed.data.boxes import InvalidAnnotation
from dogbreed.data.images import InvalidImage

REFUSED, QUARANTINED, ACCEPTED, TRACEBACK = "refused", "quarantined", "accepted", "traceback"
SECONDS = 60  # for one item: the slowest is a whole job


@dataclass(frozen=True)
class Item:
    """A hostile thing: `check` gets an empty folder and returns its outcome, `expected` is a pattern of the whole."""

    name: str
    check: Callable[[Path], str]
    expected: str


@dataclass(frozen=True)
class Verdict:
    """The outcome beside the expected one."""

    name: str
    expected: str
    outcome: str

    @property
    def right(self) -> bool:
        return re.fullmatch(self.expected, self.outcome, re.DOTALL) is not None

    @property
    def kind(self) -> str:
        """Refused, quarantined, accepted or traceback."""
        return self.outcome.split(":")[0].split(" ")[0]

    @property
    def silent(self) -> bool:
        """Whether something was taken that should not have been."""
        return not self.right and self.kind == ACCEPTED


def judge(item: Item, seconds: int = SECONDS) -> Verdict:
    """Check one item; every exception that is not of the suite's tree is a traceback, a hang is one too."""
    try:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder, _limited(seconds):
            outcome = item.check(Path(folder))
    except (InvalidImage, InvalidAnnotation) as error:
        outcome = f"{QUARANTINED}: {error}"
    except DogbreedError as error:
        outcome = f"{REFUSED} {error.exit_code}: {error}"
    except Exception as error:
        outcome = f"{TRACEBACK}: {error!r}"
    return Verdict(item.name, item.expected, outcome)


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def summary(usable: int, problems: Counter[str], ignored: int) -> str:
    """Return the outcome of a source that was opened: `quarantined` as soon as anything was left out."""
    left_out = [f"{count} {reason}" for reason, count in sorted(problems.items())]
    left_out += [f"{ignored} ignored"] if ignored else []
    return f"{QUARANTINED if left_out else ACCEPTED}: " + ", ".join([f"{usable} usable", *left_out])
