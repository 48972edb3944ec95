"""One archive with every odd photo and annotation among good ones, through the whole job as a process."""

import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import Manifest, load_manifest
from tests.support.hostile import made, photos, preprocess, xmls
from tests.support.hostile.preprocess import Done
from tests.support.hostile.verdict import ACCEPTED, QUARANTINED, REFUSED, Item

RED = made.BREEDS[0]
GOOD = tuple(f"{breed}/{breed[:9]}_{n}" for breed in made.BREEDS for n in range(1000, 1024))
WHOLE = (0, 0, made.WIDTH, made.HEIGHT)
WRITTEN = f"{ACCEPTED}: written"
LINK = made.header(f"Images/{RED}/n90000001_99.jpg".encode(), 0, b"2", {157: b"/etc/passwd"})
CLIMBING = made.member("Images/../../escaped.jpg", b"x")
REASONS = {  # how a reason begins -> how many photos have it
    "not an image of a known format": 11,
    "(JPEG 2000|SVG), which is not decoded": 2,
    "web page": 1,
    "broken image": 2,
    "pixels, limit": 5,
    "unreadable annotation": 36,
    "annotation of": 3,
    "annotation without a box": 4,
    "annotation names": 1,
    "no annotation": 1,
    "no image in images.tar": 1,
    "in neither": 1,
}


@dataclass(frozen=True)
class Row:
    """A photo with its annotation and what must become of it."""

    title: str
    photo: bytes
    xml: bytes
    expected: str


@cache
def _rows() -> dict[str, Row]:
    """Return everything odd by its key; all of it is for train."""
    keys = (f"{RED}/n90000001_{n}" for n in itertools.count() if n % 4 != 3)
    rows = {}
    odd = [*photos.bombs(), *photos.strangers(), *((title, data, WRITTEN) for title, data, _, _ in photos.kinds())]
    for title, data, wanted in odd:
        key = next(keys)
        rows[key] = Row(title, data, made.annotation(key, WHOLE), _of_job(wanted))
    for seed, (title, xml, wanted) in enumerate(_annotations()):
        rows[next(keys)] = Row(title, made.encoded(made.picture(5000 + seed)), xml, wanted)
    return rows


def _of_job(expected: str) -> str:
    """What a corpus accepts the job writes; what it quarantines is quarantined for the same reason."""
    return WRITTEN if expected.startswith(ACCEPTED) else expected


def _annotations() -> Iterator[tuple[str, bytes, str]]:
    for title, (xml, wanted) in xmls.ROWS.items():
        yield title, xml, _of_job(wanted)
    for text, good in xmls.NUMBERS.items():
        if text != "1e308":  # a good number, of a box outside the photo
            xml = xmls.GOOD.replace(b">8<", f">{text}<".encode())
            yield f"coordinate {text[:20]!r}", xml, WRITTEN if good else xmls.UNREADABLE
    yield (
        "another breed",
        made.annotation(made.KEYS[0], name="Blue-dog"),
        f"{QUARANTINED}: annotation names Blue-dog, .*",
    )


@cache
def _done() -> tuple[Path, Done, bool, Done]:
    """Run the job with the default limit, look for a manifest, and run it without a limit; return folder and ends."""
    place = Path(tempfile.mkdtemp(prefix="hostile-mixed-"))
    pictures = {f"Images/{key}.jpg": made.encoded(made.picture(100 + n)) for n, key in enumerate(GOOD)}
    notes = {f"Annotation/{key}": made.annotation(key) for key in GOOD}
    for key, row in _rows().items():
        pictures[f"Images/{key}.jpg"], notes[f"Annotation/{key}"] = row.photo, row.xml
    pictures[f"Images/{GOOD[3]}.jpg"] = pictures[f"Images/{GOOD[0]}.jpg"]  # of test and of train: a leak
    del notes[f"Annotation/{GOOD[1]}"], pictures[f"Images/{GOOD[2]}.jpg"]
    listed = [key for key in (*GOOD, *_rows()) if key != GOOD[4]]
    members = b"".join(made.member(name, content) for name, content in pictures.items())
    archives = {"annotation": made.tar(notes), "lists": made.tar(made.lists(listed))}
    raw = made.write_raw(place / "raw", images=LINK + members + CLIMBING + made.END, **archives)
    command = ("preprocess", "--raw", str(raw), "--out", str(place / "out"), "--size", "32")
    strict = preprocess.job(*command)
    early = (place / "out" / "manifest.json").exists()
    return place, strict, early, preprocess.job(*command, "--max-quarantined", "1")


@cache
def _manifest() -> Manifest:
    return load_manifest(LocalStore(_done()[0] / "out"))


@cache
def _ends() -> dict[str, str]:
    """Return key -> outcome of every photo that was written or quarantined."""
    written = preprocess.records(_done()[0] / "out", _manifest())
    reasons = {entry.source_id: f"{QUARANTINED}: {entry.reason}" for entry in _manifest().quarantine}
    assert not written.keys() & reasons.keys()
    return dict.fromkeys(written, WRITTEN) | reasons


def _strict(folder: Path) -> str:
    _, strict, early, _ = _done()
    assert "Traceback" not in strict.log, strict.log[-3000:]
    assert not early, "a manifest in spite of the limit"
    return f"{REFUSED} {strict.code}: {strict.log.splitlines()[-1]}"


def _lenient(folder: Path) -> str:
    """Compare the summary with what was in the archive; the log names what was ignored."""
    _, _, _, done = _done()
    assert "Traceback" not in done.log, done.log[-3000:]
    assert "escaped.jpg" in done.log
    assert "n90000001_99.jpg" in done.log
    counts = json.loads(done.summary)
    every = len(GOOD) + len(_rows())
    assert counts["written"] + counts["quarantined"] + counts["excluded"] == every
    return (
        f"{ACCEPTED}: exit {done.code}, {counts['quarantined']} quarantined, {counts['excluded']} excluded of {every}"
    )


def _reasons(folder: Path) -> str:
    found = Counter(
        next((begin for begin in REASONS if re.match(rf"(\d+ x \d+ )?{begin}", entry.reason)), entry.reason)
        for entry in _manifest().quarantine
    )
    return f"{ACCEPTED}: {'as counted' if found == REASONS else dict(found)}"


def mixed_archive() -> list[Item]:
    """Return the two ends of the job, the counts by reason, and what became of each odd photo."""
    bad = sum(REASONS.values())
    limit = rf"refused 65: .* {bad} of \d+ .*--max-quarantined.*"
    every = len(GOOD) + len(_rows())
    items = [
        Item("the default limit of bad photos", _strict, limit),
        Item("without a limit", _lenient, f"accepted: exit 0, {bad} quarantined, 1 excluded of {every}"),
        Item("counts by reason", _reasons, "accepted: as counted"),
    ]
    return items + [Item(row.title, partial(_end, key), row.expected) for key, row in _rows().items()]


def _end(key: str, folder: Path) -> str:
    return _ends()[key]
