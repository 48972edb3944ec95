"""The folder for temporary files: written, measured, and limited as a volume is."""

import re
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogbreed.core import scratch
from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError

SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def test_scratch_is_written_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert "GiB free" in scratch.check_scratch(0.001)
    assert not list(tmp_path.iterdir())
    total = psutil.disk_usage(str(tmp_path)).total / (1 << 30)
    with pytest.raises(RetryableError, match="make room or set TMPDIR"):
        scratch.check_scratch(total)
    with pytest.raises(EnvironmentUnsupported, match="choose another TMPDIR"):
        scratch.check_scratch(total + 1)


def test_scratch_that_cannot_be_written_is_impossible_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")  # even root cannot write there
    with pytest.raises(EnvironmentUnsupported, match="cannot write in /proc"):
        scratch.check_scratch(0)


def test_a_tmpdir_that_is_not_there_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(EnvironmentUnsupported, match="/nowhere is no folder; set TMPDIR"):
        scratch.check_scratch(0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(scratch.SCRATCH_LIMIT, "1Gi")
    return tmp_path


@given(st.integers(1, 10**18 - 1), st.integers(0, len(SUFFIXES) - 1))
def test_a_limit_is_bytes_or_has_a_binary_suffix(number: int, power: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(scratch.SCRATCH_LIMIT, f"{number}{SUFFIXES[power]}")
        assert scratch.scratch_limit() == number * 1024**power


@given(st.one_of(st.from_regex(r"-?\d*\.?\d*\s?[kKmMgG]?[iB]?", fullmatch=True), st.text(min_size=1)))
def test_what_kubernetes_does_not_write_so_is_a_usage_error(text: str) -> None:
    if re.fullmatch(r"[1-9][0-9]*([KMGTPE]i)?|", text) or "\0" in text or not text.isprintable():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(scratch.SCRATCH_LIMIT, text)
        with pytest.raises(UsageError, match=scratch.SCRATCH_LIMIT) as error:
            scratch.scratch_limit()
    assert error.value.exit_code == 2


def test_files_in_the_scratch_folder_count_against_its_limit(folder: Path) -> None:
    assert "free, limit 1Gi" in scratch.check_scratch(0.5)
    before = scratch.free_scratch()
    assert 0 <= (1 << 30) - before < 1 << 16
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "half").write_bytes(bytes(3 << 20))
    (folder / "a" / "same").hardlink_to(folder / "a" / "b" / "half")
    (folder / "a" / "link").symlink_to("/usr")
    assert 3 << 20 <= before - scratch.free_scratch(folder / "not" / "there") < 4 << 20


def test_what_would_exceed_the_limit_is_impossible_here_and_says_what_to_raise(folder: Path) -> None:
    scratch.check_free_scratch(900 << 20, "a copy")
    with (folder / "file").open("wb") as file:
        file.truncate(900 << 20)  # its blocks may be allocated any time
    with pytest.raises(EnvironmentUnsupported, match=r"1Gi; raise the sizeLimit .* DOGBREED_SCRATCH_LIMIT") as error:
        scratch.check_free_scratch(100 << 20, "a copy of x")
    assert "a copy of x: 164 MiB of scratch space are needed, 124 MiB are left" in str(error.value)
    with pytest.raises(EnvironmentUnsupported, match="sizeLimit"):
        scratch.check_scratch(0.5)


def test_the_limit_is_of_no_folder_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    scratch.check_free_scratch(1 << 30, "a copy", elsewhere)
    assert scratch.free_scratch(elsewhere) > scratch.free_scratch(folder / "new")
