"""The index of a tar: exact places, and every kind of damage noticed."""

import bz2
import gc
import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from dogbreed.core.errors import CorruptData, DataError, NotFound
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data.raw.archive import HEADER_LIMIT, MEMBER_LIMIT, Member, TarStream, index, read_files

FILES = {"a/one": b"1" * 700, "a/two": b"2" * 512, "b/empty": b"", "b/three": b"3" * 5000}
TWO_AT = 512 + 1024  # where the header of the second member begins


def tar(files: dict[str, bytes] = FILES) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_each_member_is_found_at_its_offset_with_its_hash(store: Store) -> None:
    store.put("x.tar", tar())
    archive = index(store, "x.tar")
    assert [member.name for member in archive.members] == list(FILES)
    for member in archive.members:
        content = FILES[member.name]
        assert store.read_range("x.tar", member.offset, member.size) == content
        assert member.sha256 == hashlib.sha256(content).hexdigest()
    assert archive.members[1] == Member("a/two", TWO_AT + 512, 512, hashlib.sha256(b"2" * 512).hexdigest())


def test_the_archive_is_hashed_and_measured_whole(store: Store) -> None:
    store.put("x.tar", tar())
    archive = index(store, "x.tar")
    assert archive.bytes == len(tar()) == 10240
    assert archive.sha256 == hashlib.sha256(tar()).hexdigest()


def test_each_file_is_shown_once_in_the_archives_order(store: Store) -> None:
    store.put("x.tar", tar())
    seen = []
    index(store, "x.tar", lambda name, content: seen.append((name, content)))
    assert seen == list(FILES.items())


def test_long_names_keep_their_offsets(store: Store) -> None:
    files = {"Images/" + "n" * 200 + ".jpg": b"long", "after": b"next"}
    store.put("x.tar", tar(files))
    found = {m.name: store.read_range("x.tar", m.offset, m.size) for m in index(store, "x.tar").members}
    assert found == files


def with_long_name(length: int, format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        archive.addfile(tarfile.TarInfo("n" * length))
    return buffer.getvalue()


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_as_long_as_a_file_system_takes_are_read(store: Store, format: int) -> None:
    store.put("x.tar", with_long_name(4095, format))
    assert [len(member.name) for member in index(store, "x.tar").members] == [4095]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_beyond_the_limit_is_refused_before_it_is_read(format: int) -> None:
    stream = TarStream(io.BytesIO(with_long_name(5_000_000, format)))
    with pytest.raises(tarfile.ReadError, match="limit"):
        list(read_files(stream, MEMBER_LIMIT, []))
    assert stream.count <= 1024


def test_many_short_headers_of_one_member_are_as_bounded_as_a_long_one() -> None:
    piece = with_long_name(101, tarfile.GNU_FORMAT)[:1024]  # a long name without the member that it belongs to
    stream = TarStream(io.BytesIO(piece * 1000))
    with pytest.raises(tarfile.ReadError, match="limit"):
        list(read_files(stream, MEMBER_LIMIT, []))
    assert stream.count <= HEADER_LIMIT


def test_what_is_not_wanted_is_not_shown_and_the_rest_is_hashed_all_the_same() -> None:
    stream = TarStream(io.BytesIO(tar()))
    wanted = read_files(stream, 10_000, [], lambda name: name.startswith("b"))
    assert [member.name for member, _ in wanted] == list(FILES)[2:]
    assert stream.digest.hexdigest() == hashlib.sha256(tar()).hexdigest()


def test_an_error_of_who_looks_at_the_files_is_not_taken_for_a_damaged_archive(store: Store) -> None:
    store.put("x.tar", tar())
    with pytest.raises(ValueError, match="their own"):
        index(store, "x.tar", lambda name, content: (_ for _ in ()).throw(ValueError("their own")))


def test_folders_and_links_are_no_members(store: Store) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in [("folder", tarfile.DIRTYPE), ("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    store.put("x.tar", buffer.getvalue())
    archive = index(store, "x.tar")
    assert archive.members == ()
    assert archive.skipped == ("soft", "hard")


def test_a_missing_archive_names_the_job_that_brings_it(store: Store) -> None:
    with pytest.raises(NotFound, match=r"x\.tar does not exist; run jobs\.fetch --raw .* first"):
        index(store, "x.tar")


def flipped(at: int) -> bytes:
    data = bytearray(tar())
    data[at] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        tar()[:TWO_AT],
        tar()[: TWO_AT + 100],
        tar()[: TWO_AT + 512],
        tar()[: TWO_AT + 700],
        tar()[: 512 + 300],
        tar()[:-10240] + tar()[: len(tar()) - 10240 + 8704],
        b"",
        bytes(500),
        b"<html>404 Not Found</html>" * 100,
        flipped(0),
        flipped(TWO_AT),
        tar()[:TWO_AT] + b"\xff" * 512 + tar()[TWO_AT + 512 :],
    ],
    ids=[
        "cut-between-members",
        "cut-in-a-header",
        "cut-after-a-header",
        "cut-in-the-second-content",
        "cut-in-the-first-content",
        "cut-in-the-end",
        "empty",
        "too-short",
        "text",
        "damaged-first-header",
        "damaged-later-header",
        "overwritten-header",
    ],
)
def test_a_truncated_or_damaged_archive_is_told_from_a_whole_one(store: Store, data: bytes) -> None:
    store.put("x.tar", data)
    with pytest.raises(CorruptData, match=r"x\.tar.*delete it and run jobs.fetch") as error:
        index(store, "x.tar")
    assert error.value.exit_code == 65


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_the_error_for_a_compressed_archive_names_the_command_that_helps(compression: str, store: Store) -> None:
    plain = tar()
    compress = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}[compression]
    store.put("x.tar", compress(plain))
    with pytest.raises(DataError, match=rf"\({compression}\).*> plain\.tar"):
        index(store, "x.tar")


def test_a_zip_archive_called_tar_is_named_with_the_commands_that_repack_it(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Images/a/1.jpg", b"one")
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    store = LocalStore(tmp_path)
    with pytest.raises(DataError, match=r"is a zip archive.*repack it: ") as error:
        index(store, "x.tar")
    command = str(error.value).partition("repack it: ")[2].replace("unzip -d", "python3 -m zipfile -e x.tar x #", 1)
    subprocess.run(["sh", "-ec", command.replace(" && ", "\n")], cwd=tmp_path, check=True)
    assert [member.name for member in index(store, "x.tar").members] == ["./Images/a/1.jpg"]


def test_the_error_for_a_missing_archive_names_the_compressed_one_beside_it(store: Store) -> None:
    store.put("x.tar.gz", gzip.compress(tar()))
    with pytest.raises(NotFound, match=r"x\.tar\.gz does: decompress it"):
        index(store, "x.tar")


def test_the_archive_is_closed_after_indexing(store: Store) -> None:
    store.put("x.tar", tar())
    opened, streams = store.open, []
    store.open = lambda key: streams.append(opened(key)) or streams[-1]  # type: ignore[method-assign, func-returns-value]
    index(store, "x.tar")
    closed = [stream.closed for stream in streams]
    for stream in streams:
        stream.close()
    gc.collect()
    assert closed == [True]
