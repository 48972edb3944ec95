"""A training that is killed, stopped, crowded, or finds its checkpoints damaged."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.support.attempt import KILLED, Attempt, attempt
from tests.support.faults.rows import Row
from tests.support.faults.training_site import TrainingSite, Ward
from tests.support.watched_job import STEPS, Kill, Order

STOPPED, TRY_AGAIN = 143, 75
NOT_LISTENING = -15  # SIGTERM before Python has come to the job's first line
GRACE = 10.0  # seconds from SIGTERM to the end
LOST = 6  # steps, with a checkpoint every 3: those of the one that is being written, and those since then

Damage = Callable[[Path], None]


def at_steps(site: TrainingSite, kills: Sequence[Kill], chain: int = 1) -> Row:
    """Kill the training at the end of a step, `chain` times in a row, then run it to its end."""
    row = Row("train: SIGKILL at a step" + f", {chain} times in a row" * (chain > 1))
    for start in range(0, len(kills), chain):
        ward, calls, problems = site.ward(), 0, list[str]()
        for kill in kills[start : start + chain]:
            outcome = attempt(ward.order(kill=kill, watched=STEPS))
            calls += len(outcome.calls)
            problems += row.ended(outcome, KILLED)
        row.judge(problems + recover(row, ward, calls, LOST * chain), f"{kills[start : start + chain]}")
    return row


def random_steps(count: int, most: int, seed: int) -> list[Kill]:
    """Return kills before or after the end of so many steps of 1 to `most`."""
    choice = random.Random(seed)
    return [Kill(choice.randint(1, most), choice.random() < 0.5) for _ in range(count)]


def in_checkpoints(site: TrainingSite, kills: Iterable[Kill]) -> Row:
    """Kill the training before or after calls to the store of its checkpoints."""
    row = Row("train: SIGKILL while a checkpoint is written")
    for kill in kills:
        ward = site.ward()
        outcome = attempt(ward.order(kill=kill, watched=str(ward.checkpoints)))
        problems = row.ended(outcome, KILLED)
        row.judge(problems + recover(row, ward), f"{kill} ({outcome.calls[-1:]})")
    return row


def checkpoint_writes(site: TrainingSite) -> list[tuple[int, int]]:
    """Return, for each checkpoint of a whole training, the number of its first call and that of the next one's."""
    ward = site.ward()
    calls = attempt(ward.order(watched=str(ward.checkpoints))).calls
    starts = [n for n, call in enumerate(calls, 1) if call.startswith("put_file")]
    return list(zip(starts, [*starts[1:], len(calls) + 1], strict=True))


def checkpoint_calls(site: TrainingSite, count: int, seed: int) -> list[Kill]:
    """Return a kill in every checkpoint's write, and before and after each call of one of them; `count` at most."""
    writes, choice = checkpoint_writes(site), random.Random(seed)
    one_each = [Kill(choice.randrange(*write), choice.random() < 0.5) for write in writes]
    whole = [Kill(call, after) for call in range(*writes[len(writes) // 2]) for after in (False, True)]
    chosen = [*one_each, *whole]
    return chosen if len(chosen) <= count else choice.sample(chosen, count)


def terminated(site: TrainingSite, moments: Iterable[float], again: bool = True) -> Row:
    """SIGTERM a fresh `python -m jobs.train` so many seconds after its start, then, with `again`, train to the end."""
    row = Row("train: SIGTERM at any moment")
    for moment in moments:
        ward = site.ward()
        order = ward.order(watched=STEPS)
        with order.stdout.open("w") as stdout, order.stderr.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", order.module, *order.arguments],
                env={**os.environ, **order.environment}, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        time.sleep(moment)
        asked = time.monotonic()
        process.terminate()
        code = process.wait()
        took, said = time.monotonic() - asked, order.stderr.read_text()
        row.exit_codes[code] += 1
        row.seen[_where(said)] += 1
        problems = [] if code in (0, STOPPED, NOT_LISTENING) else [f"exit {code}: {said[-2000:]}"]
        problems += [f"it took {took:.1f} s to end"] * (took > GRACE)
        problems += recover(row, ward) if again else []
        row.judge(problems, f"SIGTERM after {moment:.2f} s")
    return row


def _where(said: str) -> str:
    """Say how far a training had come by its log."""
    places = ("checkpoint of step", "memory: about", "GPUs:")
    words = ("in training or after it", "before the first checkpoint", "while the model was made")
    return next((word for place, word in zip(places, words, strict=True) if place in said), "in the imports")


def stopped(site: TrainingSite, steps: Iterable[int]) -> Row:
    """SIGTERM the training when it has begun a step: no step is lost but the one that traces the model."""
    row = Row("train: SIGTERM in a step")
    for step in steps:
        ward = site.ward()
        outcome = Attempt(ward.order(watched=STEPS)).wait_for(step).kill_after(0, signal.SIGTERM)
        problems = row.ended(outcome, STOPPED, 0)
        row.judge(problems + recover(row, ward, len(outcome.calls), 1), f"SIGTERM in step {step}")
    return row


def damaged(site: TrainingSite, damages: Iterable[tuple[str, Damage]], files: Iterable[str]) -> Row:
    """Damage a file of the newest checkpoint of a killed training, then run it again."""
    row, last = Row("train: a damaged checkpoint"), len(site.clean.outcome.calls) - 2
    for name in files:
        for what, damage in damages:
            ward = site.ward()
            killed = attempt(ward.order(kill=Kill(last), watched=STEPS))
            problems = row.ended(killed, KILLED)
            newest = max(ward.checkpoints.glob("*/COMMIT.json"), key=lambda path: path.parent.name).parent
            damage(newest / name)
            problems += recover(row, ward, len(killed.calls), LOST + 3)
            row.judge(problems, f"{name} {what}")
    return row


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: tuple[tuple[str, Damage], ...] = (("truncated", cut), ("bit-flipped", flip), ("dropped", Path.unlink))
FILES = ("training.npz", "state.json", "spool", "COMMIT.json")


def two_holders(site: TrainingSite, rounds: int) -> Row:
    """Start a training that another process is at: that one ends well, this one with 75."""
    row = Row("train: a second holder of the job key")
    for _ in range(rounds):
        ward = site.ward()
        first = ward.order(watched=STEPS)
        running = Attempt(first).wait_for(1)
        problems = row.ended(attempt(ward.order()), TRY_AGAIN)
        problems += row.ended(running.wait(), 0)
        row.judge(problems or ward.problems(first.stdout), "two holders")
    return row


def recover(
    row: Row, ward: Ward, before: int | None = None, most_lost: int = 0, again: Order | None = None
) -> list[str]:
    """Train on to the end and return what is then wrong; of `before` steps so many may be lost at most."""
    order = again or ward.order(watched=STEPS)
    outcome = attempt(order)
    problems = row.ended(outcome, 0)
    if problems:
        return problems
    if before is not None:
        lost = before + len(outcome.calls) - len(ward.site.clean.outcome.calls)
        row.seen["steps done twice"] += lost
        if lost > most_lost:
            problems.append(f"{lost} steps were lost, not at most {most_lost}")
    if "Traceback" in outcome.stderr:
        problems.append(outcome.stderr[-2000:])
    return problems + ward.problems(order.stdout)
