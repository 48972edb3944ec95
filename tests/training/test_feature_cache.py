"""Features that are kept in the scratch folder."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dogbreed.core.scratch import SCRATCH_LIMIT
from dogbreed.training.feature_cache import FOLDER, Features, load_or_extract

FOUND = Features(np.arange(12, dtype="float32").reshape(4, 3), np.array([0, 1, 1, 0], "int32"))


class Extraction:
    """Counts how often the features are extracted."""

    calls = 0

    def __call__(self) -> Features:
        self.calls += 1
        return FOUND


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"{FOLDER}-{os.getuid()}"


def same(found: Features) -> bool:
    return np.array_equal(found.values, FOUND.values) and np.array_equal(found.labels, FOUND.labels)


def test_features_are_extracted_once_for_each_name(scratch: Path) -> None:
    extract = Extraction()
    assert same(load_or_extract("a", extract))
    assert same(load_or_extract("a", extract))
    assert extract.calls == 1
    load_or_extract("b", extract)
    assert extract.calls == 2
    assert sorted(path.name for path in scratch.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"PK" + data])
def test_a_damaged_file_is_written_again(
    scratch: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    extract = Extraction()
    load_or_extract("a", extract)
    path = scratch / "a.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert same(load_or_extract("a", extract))
    assert same(load_or_extract("a", extract))
    assert extract.calls == 2
    assert "damaged" in caplog.text


def test_a_flipped_bit_is_noticed(scratch: Path) -> None:
    extract = Extraction()
    load_or_extract("a", extract)
    path = scratch / "a.npz"
    data = bytearray(path.read_bytes())
    data[data.index(FOUND.values.tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert same(load_or_extract("a", extract))
    assert extract.calls == 2


def test_features_that_cannot_be_written_are_used_all_the_same(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, **_: np.ndarray) -> None:
        path.write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert same(load_or_extract("a", Extraction()))
    assert not list(scratch.iterdir())
    assert "not kept: [Errno 28]" in caplog.text


def test_features_that_do_not_fit_are_not_kept(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SCRATCH_LIMIT, "1Mi")
    caplog.set_level("INFO")
    extract = Extraction()
    assert same(load_or_extract("a", extract))
    assert not list(scratch.iterdir())
    assert "not kept" in caplog.text
