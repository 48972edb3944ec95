"""Fetching over real HTTP: whole, resumed, broken off, wrong."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import tenacity

from dogbreed.core.errors import (
    CorruptData,
    DataError,
    EnvironmentUnsupported,
    NotFound,
    RetryableError,
    ServiceUnavailable,
    UsageError,
)
from dogbreed.core.scratch import SCRATCH_LIMIT, SCRATCH_RESERVE
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.raw import download
from dogbreed.data.raw.archive_index import ARCHIVES
from dogbreed.data.raw.stanford_dogs import StanfordDogs


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves a folder with ranges; a reply may break off after `limit` bytes."""

    folder: Path
    limit: int | None
    announced: bool  # whether replies have a Content-Length
    asked: list[str]

    def do_GET(self) -> None:
        assert self.headers["Accept-Encoding"] == "identity"
        path = self.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        start = int(match[1]) if match else 0
        self.asked.append(f"{path.name} from {start}")
        content = path.read_bytes()[start:]
        self.send_response(206 if content else 416)
        if self.announced:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.limit])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher(sketches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Publisher.folder, Publisher.limit, Publisher.announced, Publisher.asked = sketches, None, True, []
    monkeypatch.setattr(download._download.retry, "wait", tenacity.wait_none())  # type: ignore[attr-defined]
    monkeypatch.setattr(download, "BLOCK", 1000)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_what_is_fetched_reads_as_the_original_does(publisher: str, sketches: Path, tmp_path: Path) -> None:
    raw = LocalStore(tmp_path / "raw")
    download.fetch(raw, publisher, tmp_path / "scratch", other_checksums=True)
    summary = download.write_index(raw, other_checksums=True)
    assert summary == {"raw": raw.uri, "images": 48, "published": False}
    assert StanfordDogs(raw).digest == StanfordDogs(LocalStore(sketches)).digest
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def test_a_download_goes_on_where_it_broke_off(publisher: str, sketches: Path, tmp_path: Path) -> None:
    Publisher.limit = 150_000
    raw = LocalStore(tmp_path / "raw")
    size = (sketches / "images.tar").stat().st_size
    assert 300_000 < size < 5 * 150_000
    download.fetch(raw, publisher, tmp_path / "scratch", other_checksums=True)
    starts = [asked for asked in Publisher.asked if asked.startswith("images.tar")]
    assert starts == [f"images.tar from {start}" for start in range(0, size, 150_000)]
    assert raw.read("images.tar") == (sketches / "images.tar").read_bytes()


def test_a_download_that_never_ends_is_kept_for_the_next_run(publisher: str, tmp_path: Path) -> None:
    Publisher.limit = 1000
    with pytest.raises(RetryableError, match="run the same command again"):
        download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)
    (half,) = (tmp_path / "scratch").glob("*/images.tar")
    assert half.stat().st_size == 5000
    assert not (tmp_path / "raw").exists()
    Publisher.limit = None
    download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)
    assert "images.tar from 5000" in Publisher.asked


def test_other_archives_than_the_published_are_refused(publisher: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptData, match="--allow-other-checksums"):
        download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=False)
    assert not (tmp_path / "raw").exists()
    download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)
    assert [asked for asked in Publisher.asked if asked == "images.tar from 0"] == ["images.tar from 0"]


def test_archives_are_copied_from_a_folder_and_not_twice(sketches: Path, tmp_path: Path) -> None:
    raw = LocalStore(tmp_path / "raw")
    download.fetch(raw, str(sketches), sketches, other_checksums=True)  # scratch and origin may be one
    download.fetch(raw, str(tmp_path / "nowhere"), sketches, other_checksums=True)
    assert [raw.read(name) for name in ARCHIVES] == [(sketches / name).read_bytes() for name in ARCHIVES]


def test_archives_are_copied_from_a_bucket(sketches: Path, tmp_path: Path, bucket: str) -> None:
    origin, raw = open_store(bucket + "/raw"), LocalStore(tmp_path / "raw")
    for name in ARCHIVES:
        origin.put_file(name, sketches / name)
    download.fetch(raw, origin.uri, tmp_path / "scratch", other_checksums=True)
    assert [raw.read(name) for name in ARCHIVES] == [(sketches / name).read_bytes() for name in ARCHIVES]
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def test_another_fetch_may_have_been_faster(sketches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = LocalStore(tmp_path / "raw")
    monkeypatch.setattr(raw, "size", lambda name: None)  # what this fetch saw before the other one's put
    for name in ARCHIVES:
        raw.put_file(name, sketches / name)
    download.fetch(raw, str(sketches), None, other_checksums=True)
    (tmp_path / "raw" / "lists.tar").write_bytes(bytes(2048))
    with pytest.raises(DataError, match=r"lists\.tar is another archive"):
        download.fetch(raw, str(sketches), None, other_checksums=True)


@pytest.mark.parametrize("announced", [True, False])
def test_a_download_that_would_exceed_the_scratch_limit_ends_before(
    announced: bool, publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 250_000))
    monkeypatch.setattr(download, "UNANNOUNCED", 50_000)
    Publisher.announced = announced
    with pytest.raises(EnvironmentUnsupported, match=rf"images\.tar.*{SCRATCH_LIMIT}"):
        download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)
    (partial,) = (tmp_path / "scratch").glob("*/images.tar")
    assert partial.stat().st_size == 0 if announced else 100_000 <= partial.stat().st_size <= 250_000


def test_a_copy_from_a_bucket_that_would_exceed_the_scratch_limit_is_not_started(
    sketches: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 250_000))
    open_store(bucket).put_file("images.tar", sketches / "images.tar")
    with pytest.raises(EnvironmentUnsupported, match=rf"images\.tar.*{SCRATCH_LIMIT}"):
        download.fetch(LocalStore(tmp_path / "raw"), bucket, tmp_path / "scratch", other_checksums=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_not_there_is_named(publisher: str, tmp_path: Path) -> None:
    raw = LocalStore(tmp_path / "raw")
    with pytest.raises(NotFound, match="check --from"):
        download.fetch(raw, publisher + "/elsewhere", tmp_path, other_checksums=True)
    with pytest.raises(NotFound, match="--from"):
        download.fetch(raw, str(tmp_path / "nowhere"), None, other_checksums=True)
    with pytest.raises(ServiceUnavailable, match="check the network"):
        download.fetch(raw, "http://127.0.0.1:9", tmp_path, other_checksums=True)
    with pytest.raises(UsageError, match="--from"):
        download.fetch(raw, "http://[bad", tmp_path, other_checksums=True)


def test_a_publisher_that_answered_once_is_lost_not_unreachable(
    publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put_file

    def end(raw: LocalStore, name: str, path: Path) -> None:
        put(raw, name, path)
        monkeypatch.setattr(requests, "get", broken)

    def broken(*_: object, **__: object) -> None:
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(LocalStore, "put_file", end)
    with pytest.raises(RetryableError, match="run the same command again"):
        download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)


def test_a_damaged_download_is_not_kept(publisher: str, tmp_path: Path) -> None:
    Publisher.folder = tmp_path / "bad"
    Publisher.folder.mkdir()
    (Publisher.folder / "images.tar").write_bytes(b"<html>" * 500)
    with pytest.raises(CorruptData, match="truncated or damaged"):
        download.fetch(LocalStore(tmp_path / "raw"), publisher, tmp_path / "scratch", other_checksums=True)
    assert not list((tmp_path / "scratch").glob("*/images.tar"))
