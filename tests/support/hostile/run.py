"""Checks the corpora in processes of their own, so that their peak memory is their own."""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from tests.support.hostile.verdict import Item, Verdict, judge

ROOT = Path(__file__).parents[3]
GUARD = 8 << 30  # bytes of address space: what would take the machine's memory fails here instead
GROUPS = {  # group -> corpus -> module:function that returns its items; a group shares a process, its imports and data
    "sources": {
        "tars": "tars:hostile_tars",
        "tars cut": "tars:cut_tars",
        "tars zeroed": "tars:zeroed_tars",
        "CIFAR archives": "cifar:hostile_cifar",
        "images damaged later": "damage:damaged_later",
        "images damaged before": "damage:damaged_before",
        "odd images": "photos:odd_photos",
        "other formats": "formats:other_formats",
        "annotations": "xmls:hostile_annotations",
        "labels": "labels:contradicting_labels",
    },
    "lists": {"lists": "lists:mutated_lists"},
    "datasets": {
        "boxes": "boxes:random_boxes",
        "boxes in tf.data": "boxes:deferred_boxes",
        "shards": "shards:mutated_shards",
        "manifest.json": "documents:mutated_manifests",
        "_parts/*.json": "documents:mutated_parts",
        "members.json": "documents:mutated_indexes",
    },
    "job": {"mixed archive": "mixed:mixed_archive"},
}
CORPORA = {corpus: group for group, corpora in GROUPS.items() for corpus in corpora}


@dataclass(frozen=True)
class Report:
    """The verdicts of one corpus, its peak memory and its time."""

    verdicts: tuple[Verdict, ...]
    peak_mb: float
    seconds: float


def items(corpus: str) -> list[Item]:
    """Return the items of a corpus."""
    module, function = GROUPS[CORPORA[corpus]][corpus].split(":")
    found: list[Item] = getattr(import_module(f"tests.support.hostile.{module}"), function)()
    return found


def check(group: str) -> None:
    """Judge every item of a group and print a line of JSON for each corpus; leaves no file behind."""
    resource.setrlimit(resource.RLIMIT_AS, (GUARD, GUARD))
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        tempfile.tempdir = scratch
        for corpus in GROUPS[group]:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            began = time.monotonic()
            verdicts = [vars(judge(item)) for item in items(corpus)]
            print(json.dumps([corpus, verdicts, _peak_mb(), time.monotonic() - began]), flush=True)


def _peak_mb() -> float:
    """Return the peak of this process or of the largest that it has waited for.

    VmHWM, since a process's ru_maxrss begins at that of the one that started it.
    """
    own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert own is not None
    return max(int(own[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


@cache
def reports(group: str) -> dict[str, Report]:
    """Check a group in a new process and return a report for each corpus."""
    command = [sys.executable, "-m", "tests.support.hostile", group]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{group} ended with {done.returncode}: {done.stderr[-3000:]}")
    found = {}
    for line in done.stdout.splitlines():
        corpus, verdicts, peak_mb, seconds = json.loads(line)
        found[corpus] = Report(tuple(Verdict(**verdict) for verdict in verdicts), peak_mb, seconds)
    return found


def report(corpus: str) -> Report:
    """Return the report of one corpus."""
    return reports(CORPORA[corpus])[corpus]
