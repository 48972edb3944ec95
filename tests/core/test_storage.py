"""The store: the same promises over a folder and over S3, and each failure under its own exit code."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tenacity
from botocore.config import Config

from dogbreed.core.errors import (
    AlreadyExists,
    DataError,
    NotFound,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    UsageError,
)
from dogbreed.core.storage import LocalStore, S3Store, Store, open_store, read_uri
from dogbreed.core.storage import s3 as s3_module

CONTENT = bytes(range(256)) * 40
QUICK = Config(connect_timeout=10, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})


def test_what_is_put_is_read_back_whole_and_in_ranges(store: Store) -> None:
    store.put("a/b.bin", CONTENT)
    assert store.read("a/b.bin") == CONTENT
    assert store.read_range("a/b.bin", 100, 300) == CONTENT[100:400]
    assert store.read_range("a/b.bin", 100, 0) == b""
    assert store.size("a/b.bin") == 10240


def test_a_range_over_the_end_is_cut_there(store: Store) -> None:
    store.put("a", CONTENT)
    assert store.read_range("a", 10200, 1000) == CONTENT[10200:]


def test_a_range_behind_the_end_is_empty(
    store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(S3Store._get.retry, "wait", tenacity.wait_none())  # type: ignore[attr-defined]
    store.put("a", b"1234")
    assert store.read_range("a", 4, 10) == b""


def test_an_opened_object_streams_all_of_its_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "STREAM_BLOCK", 1000)  # eleven range requests
    store.put("a", CONTENT)
    with store.open("a") as stream:
        assert stream.read(10) == CONTENT[:10]
        assert stream.read() == CONTENT[10:]
        assert stream.read(1) == b""


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("empty", b"")
    assert store.read("empty") == b""
    assert store.size("empty") == 0
    with store.open("empty") as stream:
        assert stream.read() == b""


def test_a_put_never_overwrites(store: Store) -> None:
    store.put("a", b"first")
    with pytest.raises(AlreadyExists, match="a exists"):
        store.put("a", b"second")
    assert store.read("a") == b"first"


def test_a_file_is_put_once(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    store.put_file("copy", file)
    assert store.read("copy") == CONTENT
    with pytest.raises(AlreadyExists):
        store.put_file("copy", file)


def test_of_many_writers_at_once_exactly_one_wins(store: Store) -> None:
    start, won = threading.Barrier(6), []

    def write(number: int) -> None:
        start.wait()
        try:
            store.put("contested", b"%d" % number * 1000)
        except AlreadyExists:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("contested") == b"%d" % won[0] * 1000


def test_keys_are_listed_in_order_relative_to_the_prefix(store: Store) -> None:
    keys = ["b/2", "a", "b/10", "c/d/e", "b-side"]
    for key in keys:
        store.put(key, b"")
    assert list(store.list()) == ["a", "b-side", "b/10", "b/2", "c/d/e"]
    assert list(store.list("b/")) == ["b/10", "b/2"]
    assert list(store.list("b")) == ["b-side", "b/10", "b/2"]
    assert list(store.list("none")) == []


def test_an_empty_prefix_lists_nothing(store: Store) -> None:
    assert list(store.list()) == []


def test_a_neighbour_whose_name_begins_alike_is_not_listed(store: Store) -> None:
    open_store(store.uri + "-other").put("foreign", b"")
    store.put("own", b"")
    assert list(store.list()) == ["own"]


def test_a_bucket_without_prefix_is_a_store(bucket: str) -> None:
    whole = open_store(bucket + "/")
    whole.put("deep/key", b"1")
    assert list(whole.list()) == ["deep/key"]
    assert open_store(bucket + "/deep/").read("key") == b"1"


def test_a_listing_goes_on_to_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_pages(request: BaseHTTPRequestHandler) -> None:
        key, more = ("p/b", "") if "continuation-token=next" in request.path else ("p/a", "next")
        token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        body = f"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <IsTruncated>{"true" if more else "false"}</IsTruncated>{token}
            <Contents><Key>{key}</Key></Contents></ListBucketResult>"""
        reply(request, 200, body.encode())

    with serving(two_pages) as endpoint:
        assert list(quick_store(monkeypatch, endpoint).list()) == ["a", "b"]


def test_a_listing_tells_size_and_version_of_each_object(store: Store) -> None:
    for key, data in {"b/2": b"two", "a": b"", "b-side": CONTENT}.items():
        store.put(key, data)
    found = list(store.list_objects())
    assert [(info.key, info.size) for info in found] == [("a", 0), ("b-side", len(CONTENT)), ("b/2", 3)]
    assert list(store.list_objects()) == found, "what did not change has the same version"
    assert list(store.list_objects("b/")) == [found[2]]


def test_an_object_replaced_by_one_of_equal_length_has_another_version(store: Store) -> None:
    store.put("a", b"first")
    (before,) = store.list_objects()
    time.sleep(0.02)  # file systems count the time of a change in ticks of up to 10 ms
    store.delete("a")
    store.put("a", b"other")
    (after,) = store.list_objects()
    assert (before.size, after.size) == (5, 5)
    assert before.version != after.version


def test_a_bucket_tells_size_and_version_in_the_listing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def list_two(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        body = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>
            <Contents><Key>p/a</Key><Size>5</Size><ETag>"0123"</ETag></Contents>
            <Contents><Key>p/b</Key><Size>6</Size><ETag></ETag><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>
            </ListBucketResult>"""
        reply(request, 200, body)

    with serving(list_two) as endpoint:
        found = list(quick_store(monkeypatch, endpoint).list_objects())
    assert found == [("a", 5, '"0123"'), ("b", 6, "2026-01-02 03:04:05+00:00")]
    assert len(asked) == 1


def test_a_folder_lists_files_behind_links_but_neither_broken_links_nor_loops(tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / ".hidden").write_bytes(b"1")
    (tmp_path / "out" / ".dogbreed-half").write_bytes(b"not yet an object")
    (tmp_path / "elsewhere").write_bytes(b"12")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "broken").symlink_to(tmp_path / "absent")
    (tmp_path / "out" / "loop").symlink_to(tmp_path / "out" / "loop")
    (tmp_path / "out" / "upwards").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "out" / "pipe")
    found = [(info.key, info.size) for info in LocalStore(tmp_path / "out").list_objects()]
    assert found == [("deep/.hidden", 1), ("link", 2)]
    assert list(LocalStore(tmp_path / "absent").list()) == []


def test_what_is_deleted_is_gone_and_can_be_put_again(store: Store) -> None:
    store.put("a", b"1")
    store.delete("a")
    store.delete("a")
    assert store.size("a") is None
    store.put("a", b"2")
    assert store.read("a") == b"2"


def test_a_commit_of_the_same_bytes_is_done_already(store: Store) -> None:
    assert store.commit("manifest.json", b"{}") is True
    assert store.commit("manifest.json", b"{}") is False


def test_a_commit_of_other_bytes_contradicts(store: Store) -> None:
    store.commit("manifest.json", b"{}")
    with pytest.raises(DataError, match=r"manifest\.json exists with other content") as error:
        store.commit("manifest.json", b"[]")
    assert error.value.exit_code == 65
    assert store.read("manifest.json") == b"{}"


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.read("absent"),
        lambda store: store.read_range("absent", 0, 5),
        lambda store: store.open("absent"),
        lambda store: store.read("absent/below"),
    ],
    ids=["read", "read_range", "open", "below"],
)
def test_a_missing_object_is_named_with_its_whole_uri(store: Store, use: Callable[[Store], object]) -> None:
    assert store.size("absent") is None
    with pytest.raises(NotFound, match=f"{store.uri}/absent.* does not exist"):
        use(store)


def test_a_folder_holds_nothing_but_what_was_put(tmp_path: Path) -> None:
    folder = LocalStore(tmp_path / "out")
    folder.put("a/b", b"1")
    with pytest.raises(AlreadyExists):
        folder.put("a/b", b"2")
    folder.commit("a/b", b"1")
    below = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert below == ["out", "out/a", "out/a/b"]


def test_a_put_that_fails_midway_leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    folder = LocalStore(tmp_path / "out")
    with pytest.raises(OSError, match="No space left"):
        folder.put("a", b"1")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_put_file_is_readable_for_others(tmp_path: Path) -> None:
    LocalStore(tmp_path / "out").put("a", b"1")
    assert (tmp_path / "out/a").stat().st_mode & 0o777 == 0o644


def test_a_folder_may_be_a_mount_point_itself(tmp_path: Path) -> None:
    mount = Path("/dev/shm")  # what a volume is to a container: another file system than its parent
    if not mount.is_mount():
        pytest.skip("no mount point to write to")
    folder, key = LocalStore(mount), f"dogbreed-{tmp_path.name}"
    try:
        folder.put(key, b"1")
        assert folder.read(key) == b"1"
    finally:
        folder.delete(key)


def test_a_folder_mounted_from_the_same_disk_is_written_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def across(source: str, target: Path) -> None:  # what the kernel says between two bind mounts
        if Path(source).parent != tmp_path / "out":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr("os.link", across)
    folder = LocalStore(tmp_path / "out")
    folder.put("a", b"1" * 100)
    assert folder.read("a") == b"1" * 100
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_a_folder_is_opened_by_path_and_by_file_uri(tmp_path: Path) -> None:
    LocalStore(tmp_path / "a b").put("key", b"1")
    assert open_store(str(tmp_path / "a b")).read("key") == b"1"
    assert open_store((tmp_path / "a b").as_uri() + "/").read("key") == b"1"


def test_only_a_folder_has_local_paths(tmp_path: Path, bucket: str) -> None:
    assert open_store(str(tmp_path)).local_path("a/b") == tmp_path / "a/b"
    assert open_store(bucket).local_path("a/b") is None


@pytest.mark.parametrize("uri", ["gs://bucket/prefix", "http://host/x", "s3://", ""])
def test_an_unknown_kind_of_uri_is_refused_with_the_known_ones(uri: str) -> None:
    with pytest.raises(UsageError, match="s3://bucket/prefix") as error:
        open_store(uri)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.read("a"),
        lambda store: store.put("a", b"1"),
        lambda store: list(store.list()),
        pytest.param(
            lambda store: store.open("a"),
        ),
    ],
    ids=["read", "put", "list", "open"],
)
def test_a_missing_bucket_is_a_wrong_name(s3: str, use: Callable[[Store], object]) -> None:
    with pytest.raises(UsageError, match="never-created") as error:
        use(open_store("s3://never-created/prefix"))
    assert error.value.exit_code == 2


def test_an_endpoint_that_nobody_listens_on_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = quick_store(monkeypatch, closed)
    with pytest.raises(ServiceUnavailable, match=closed) as error:
        store.read("a")
    assert error.value.exit_code == 69


def test_a_server_that_goes_away_after_an_answer_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda request: reply(request, 200, b"here")) as endpoint:
        store = quick_store(monkeypatch, endpoint)
        assert store.read("a") == b"here"
    with pytest.raises(RetryableError, match="again") as error:
        store.read("a")
    assert error.value.exit_code == 75


def test_refused_credentials_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with serving(lambda request: reply(request, 403, body)) as endpoint:
        store = quick_store(monkeypatch, endpoint)
        for use in (lambda: store.read("a"), lambda: store.size("a"), lambda: store.put("a", b"1")):
            with pytest.raises(PermissionDenied, match="credentials") as error:
                use()
            assert error.value.exit_code == 77


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidToken", PermissionDenied),
        (401, "Unauthorized", PermissionDenied),
        (400, "InvalidArgument", UsageError),
        (405, "MethodNotAllowed", UsageError),
        (501, "NotImplemented", UsageError),
        (503, "SlowDown", RetryableError),
        (400, "RequestTimeout", RetryableError),
        (429, "SlowDown", RetryableError),
    ],
)
def test_a_refusal_is_tried_again_only_where_that_helps(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
) -> None:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    with serving(lambda request: reply(request, status, body)) as endpoint:
        store = quick_store(monkeypatch, endpoint)
        for use in (lambda: store.read("a"), lambda: store.size("a")):  # a HEAD's answer has no body
            with pytest.raises(kind, match="s3://b/p/a"):
                use()


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL_S3", "no address")])
def test_a_setting_that_means_nothing_is_a_wrong_name(
    s3: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(s3_module.boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="AWS_"):
        S3Store("s3://b/p")
    monkeypatch.setattr(s3_module.boto3, "DEFAULT_SESSION", None)


def test_missing_credentials_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = quick_store(monkeypatch, "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(s3_module.boto3, "DEFAULT_SESSION", None)
    store = S3Store("s3://b/p")
    with pytest.raises(PermissionDenied, match="set AWS_ACCESS_KEY_ID"):
        store.read("a")


@pytest.mark.parametrize("reached", [False, True], ids=["on-the-first-request", "later"])
def test_a_body_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    asked = []

    def half_then_whole(request: BaseHTTPRequestHandler) -> None:
        if request.path.endswith("/whole"):
            reply(request, 200, b"whole")
            return
        asked.append(request.path)
        reply(request, 200, CONTENT, sent=100 if len(asked) == 1 else len(CONTENT))

    with serving(half_then_whole) as endpoint:
        store = quick_store(monkeypatch, endpoint)
        if reached:
            assert store.read("whole") == b"whole"
        assert store.read("a") == CONTENT
    assert asked == ["/b/p/a", "/b/p/a"]


def test_a_conflict_of_two_writers_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def conflict_once(request: BaseHTTPRequestHandler) -> None:
        asked.append((request.headers["If-None-Match"], request.rfile.read(int(request.headers["Content-Length"]))))
        body = b"<Error><Code>ConditionalRequestConflict</Code></Error>"
        reply(request, *((409, body) if len(asked) == 1 else (200, b"")))

    with serving(conflict_once) as endpoint:
        quick_store(monkeypatch, endpoint).put("a", b"")
    assert asked == [("*", b""), ("*", b"")]


def quick_store(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> S3Store:
    """Return a store of s3://b/p that neither waits between attempts nor lets botocore retry."""
    monkeypatch.setattr(s3_module, "S3_CONFIG", QUICK)
    for attempt in (S3Store._get, S3Store._put):
        monkeypatch.setattr(attempt.retry, "wait", tenacity.wait_none())  # type: ignore[attr-defined]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return S3Store("s3://b/p")


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve `answer` to every request on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            answer(self)

        do_GET = do_PUT = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes, sent: int | None = None) -> None:
    """Answer once and close; with `sent`, only so many bytes of the announced body."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[:sent])
    request.close_connection = True


def test_one_object_or_file_is_read_by_its_uri(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("lists/names.txt", b"content")
    assert read_uri(store.uri_of("lists/names.txt")) == b"content"
    (tmp_path / "beside.txt").write_bytes(b"near")
    monkeypatch.chdir(tmp_path)
    assert read_uri("beside.txt") == read_uri((tmp_path / "beside.txt").as_uri()) == b"near"
    with pytest.raises(NotFound, match=r"absent\.txt does not exist"):
        read_uri(store.uri_of("absent.txt"))


def test_a_second_attempt_to_link_that_another_writer_has_won_finds_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def gone_then_there(source: str, target: Path) -> None:
        calls.append(1)
        raise FileNotFoundError(target) if len(calls) == 1 else FileExistsError(target)

    monkeypatch.setattr("os.link", gone_then_there)
    with pytest.raises(AlreadyExists):
        LocalStore(tmp_path / "place").put("shards/a", b"x")
    assert len(calls) == 2
