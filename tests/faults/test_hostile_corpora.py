"""Every hostile item ends as its row says: no silent acceptance, no traceback, bounded memory."""

import time
from pathlib import Path

import pytest

from tests.support.hostile.__main__ import PEAK_LIMIT_MB
from tests.support.hostile.run import CORPORA, report
from tests.support.hostile.verdict import Item, judge

pytestmark = pytest.mark.timeout(900)  # hundreds of files a test, slow on a busy machine

SIZES = {
    "tars": 90,
    "tars cut": 110,
    "tars zeroed": 92,
    "CIFAR archives": 52,
    "images damaged later": 200,
    "images damaged before": 100,
    "odd images": 52,
    "other formats": 100,
    "annotations": 53,
    "labels": 10,
    "lists": 328,
    "boxes": 1000,
    "boxes in tf.data": 1001,
    "shards": 23,
    "mixed archive": 108,
}
LONG = {"boxes", "boxes in tf.data"}  # a thousand images
CHECKED = [pytest.param(corpus, marks=pytest.mark.long) if corpus in LONG else corpus for corpus in CORPORA]
COUNTED = [pytest.param(corpus, marks=pytest.mark.long) if corpus in LONG else corpus for corpus in SIZES]


@pytest.mark.parametrize("corpus", CHECKED)
def test_each_item_of_a_corpus_ends_as_its_row_says(corpus: str) -> None:
    wrong = {v.name: (v.outcome, v.expected) for v in report(corpus).verdicts if not v.right}
    assert wrong == {}


@pytest.mark.parametrize("corpus", CHECKED)
def test_no_corpus_takes_more_memory_than_a_small_pod_has(corpus: str) -> None:
    assert report(corpus).peak_mb < PEAK_LIMIT_MB


@pytest.mark.parametrize("corpus", COUNTED)
def test_no_item_of_a_corpus_was_left_out(corpus: str) -> None:
    names = [verdict.name for verdict in report(corpus).verdicts]
    assert len(names) == len(set(names)) == SIZES[corpus]


@pytest.mark.parametrize("corpus", ["manifest.json", "_parts/*.json", "members.json"])
def test_documents_are_mutated_hundreds_of_times(corpus: str) -> None:
    assert len(report(corpus).verdicts) >= 200


def test_of_50_garbled_photos_what_decodes_has_a_digest_of_its_own() -> None:
    garbled = [verdict for verdict in report("images damaged before").verdicts if "garbled" in verdict.name]
    decoded = [verdict.outcome for verdict in garbled if verdict.kind == "accepted"]
    assert len(garbled) == 50
    assert 0 < len(decoded) < 50  # no JPEG decoder can tell all of them: that is what SHA-256 is for
    assert all(outcome.endswith("under a digest of their own") for outcome in decoded)


def _raise(error: Exception) -> str:
    raise error


def test_the_judge_tells_silence_tracebacks_and_hangs_from_what_was_expected() -> None:
    silent = judge(Item("silent", lambda _: "accepted: 7 usable", "refused 65: .*"))
    fallen = judge(Item("fallen", lambda _: _raise(KeyError("size")), "refused 65: .*"))
    hung = judge(Item("hung", lambda _: str(time.sleep(5)), "accepted: .*"), seconds=1)
    right = judge(Item("right", lambda _: "accepted: 8 usable", "accepted: 8 usable"))
    assert [v.right for v in (silent, fallen, hung, right)] == [False, False, False, True]
    assert [v.silent for v in (silent, fallen, hung, right)] == [True, False, False, False]
    assert fallen.outcome == "traceback: KeyError('size')"
    assert hung.outcome == "traceback: TimeoutError('not done after 1 s')"


def test_the_judge_gives_each_item_an_empty_folder_and_removes_it() -> None:
    seen: list[Path] = []

    def look(folder: Path) -> str:
        seen.append(folder)
        return f"accepted: {list(folder.iterdir())}"

    assert judge(Item("look", look, r"accepted: \[\]")).right
    assert not seen[0].exists()
