"""What became of a fault that was injected many times, and the checks that every recovery must pass."""

import io
import json
import re
import sqlite3
import tarfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dogbreed.data.examples import read_shard
from tests.support.attempt import Outcome, attempt
from tests.support.faults.preprocess_sites import Place, Site

ERROR = re.compile(r"\d\d:\d\d:\d\d ERROR +preprocess (?P<text>.+)")


@dataclass
class Row:
    """One line of the table: `attempts` is how often the fault was injected."""

    fault: str
    attempts: int = 0
    recovered: int = 0
    exit_codes: Counter[int | None] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # what is worth telling and no problem

    @property
    def passed(self) -> bool:
        """Whether every attempt recovered, and there was one."""
        return self.recovered == self.attempts > 0 and not self.problems

    def ended(self, outcome: Outcome, *expected: int) -> list[str]:
        """Note an exit code; return a problem when it is none of those expected."""
        self.exit_codes[outcome.exit_code] += 1
        if outcome.exit_code in expected:
            return []
        return [f"exit {outcome.exit_code} instead of {' or '.join(map(str, expected))}: {outcome.stderr[-2000:]}"]

    def judge(self, problems: list[str], where: str) -> None:
        """Count one injected fault, recovered or not."""
        self.attempts += 1
        self.recovered += not problems
        self.problems += [f"{where}: {problem}" for problem in problems]


def run_again(row: Row, place: Place, *options: str) -> list[str]:
    """Run the job once more without any fault and return what is then wrong."""
    problems = row.ended(attempt(place.order(*options)), 0)
    return problems + differences(place.objects(), place.site.clean.objects)


def differences(found: dict[str, bytes], clean: dict[str, bytes]) -> list[str]:
    """Return what distinguishes a prefix from that of a clean run: nothing, after a recovery."""
    missing = [f"no {key}" for key in sorted(clean.keys() - found.keys())]
    return missing + half_written(found, clean)


def half_written(found: dict[str, bytes], clean: dict[str, bytes]) -> list[str]:
    """Return what should not be visible: other objects than a clean run makes, or other bytes."""
    return [f"{key} is not what a clean run writes" for key in sorted(found) if found[key] != clean.get(key)]


def unclear_error(outcome: Outcome, says: str) -> list[str]:
    """Return what keeps the last line on stderr from being one clear error that `says` something."""
    if "Traceback" in outcome.stderr:
        return [f"a traceback: {outcome.stderr[-2000:]}"]
    last = outcome.stderr.strip().rpartition("\n")[2]
    match = ERROR.fullmatch(last)
    if match is None or not re.search(says, match["text"]):
        return [f"the last line is no error that says {says!r}: {last!r}"]
    return []


def clean_run(site: Site) -> Row:
    """See that a run that nobody hurts loses no photo; every other row compares its objects with this run's."""
    row = Row(f"a clean run ({site.name})")
    row.exit_codes[0] += 1
    row.judge(lost_or_doubled(site.clean.objects, site.objects(site.raw)["images.tar"]), row.fault)
    return row


def lost_or_doubled(objects: dict[str, bytes], images: bytes) -> list[str]:
    """Compare the photos of a dataset with those of the archive: each must be there once, or be counted as left out."""
    manifest = json.loads(objects["manifest.json"])
    shards = [shard["key"] for split in manifest["splits"].values() for shard in split["shards"]]
    written = Counter(example.source_id for key in shards for example in read_shard(objects[key]))
    quarantined = {entry["source_id"] for entry in manifest["quarantine"]}
    with tarfile.open(fileobj=io.BytesIO(images)) as tar:
        photos = {name.removeprefix("Images/").removesuffix(".jpg") for name in tar.getnames() if name.endswith(".jpg")}
    problems = [f"{key} is there {count} times" for key, count in written.items() if count > 1]
    problems += [f"{key} is no photo of the archive" for key in (written.keys() | quarantined) - photos]
    problems += [f"{key} is written and quarantined" for key in written.keys() & quarantined]
    counted = len(written) + len(quarantined) + sum(manifest["excluded"].values())
    return problems if counted == len(photos) else [*problems, f"{counted} photos are accounted for, not {len(photos)}"]


def mlflow_runs(database: Path) -> Counter[str]:
    """Return the number of runs in each state."""
    with closing(sqlite3.connect(database)) as connection:
        return Counter(status for (status,) in connection.execute("SELECT status FROM runs"))
