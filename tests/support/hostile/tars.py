"""Hostile tars as images.tar and as annotation.tar, what must become of each, and tars cut anywhere."""

import gzip
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data import images
from dogbreed.data.images import InvalidImage
from dogbreed.data.raw.archive_index import MEMBERS, build_index
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from tests.support.hostile import made
from tests.support.hostile.verdict import Item, summary

ESCAPED = Path("/tmp/dogbreed-hostile-escaped.jpg")
AT = 3  # the member that is replaced, or before which something is planted
DAMAGED = "refused 65: .* truncated or damaged .*"
MISSING = "quarantined: 7 usable, 1 {missing}"  # the replaced member is gone, its counterpart says so
OTHER_KEY = "quarantined: 7 usable, 1 no annotation, 1 no image in images.tar"  # each lacks its counterpart


@dataclass(frozen=True)
class Kind:
    """Which of the two archives is hostile."""

    archive: str
    files: Callable[[], dict[str, bytes]]
    missing: str  # what the source says of a photo that lacks this archive's member
    empty: str  # and of an empty member

    @property
    def name(self) -> str:
        """The name of the member that is replaced."""
        return list(self.files())[AT]


KINDS = (
    Kind("images", made.photos, "no image in images.tar", "empty file; copy or download it again"),
    Kind("annotation", made.annotations, "no annotation", "unreadable annotation: no element found: line 1, column 0"),
)


def open_source(folder: Path, **archives: bytes) -> str:
    """Open the archives, decode every photo and say what became of them; nothing may be written anywhere."""
    raw = made.write_raw(folder / "deep" / "raw", **archives)
    before = sorted(folder.rglob("*"))
    source = StanfordDogs(LocalStore(raw))
    problems = Counter(photo.invalid_reason for photo in source.images if photo.invalid_reason)
    usable = 0
    for photo in source.images:
        if not photo.invalid_reason:
            try:
                images.decode(source.read(photo))
                usable += 1
            except InvalidImage as error:
                problems[str(error)] += 1
    assert sorted(folder.rglob("*")) == before, "something was written"
    assert not ESCAPED.exists(), "something was written outside"
    return summary(usable, problems, len(source.ignored))


def planted(kind: Kind, piece: bytes, replace: bool) -> bytes:
    """Return the good tar with a piece before, or in place of, one of its members."""
    members = [made.member(name, content) for name, content in kind.files().items()]
    members[AT : AT + replace] = [piece]
    return b"".join(members) + made.END


def base256(number: int) -> bytes:
    """Return GNU's binary form of a size field, which holds far more than the 8 GB of octal digits."""
    return (b"\xff" if number < 0 else b"\x80") + (number % (1 << 88)).to_bytes(11, "big")


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    """Return a PAX header with these records, their lengths right; kind g holds for all members that follow."""
    content = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        content += str(length).encode() + body
    return made.member("pax", content, kind)


SPARSE = {386: b"%011o\0%011o\0" % (0, 512), 483: base256(3 << 30)}  # one data block, 3 GB when read
LONG = b"././@LongLink"


def replacements(name: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, piece in place of a good member, expected outcome."""
    raw = name.encode()
    link = {157: b"/etc/passwd"}
    for title, kind in (("symlink", b"2"), ("hard link", b"1"), ("character device", b"3"), ("fifo", b"6")):
        yield f"{title} named like a photo", made.header(raw, 0, kind, link), MISSING + ", 1 ignored"
    yield "member of unknown type", made.header(raw, 0, b"Z"), MISSING + ", 1 ignored"
    yield "folder named like a photo", made.header(raw, 0, b"5"), MISSING
    yield "empty member", made.member(name, b""), "quarantined: 7 usable, 1 {empty}"
    yield "name in upper case", made.member(name.upper(), b"x"), MISSING + ", 1 ignored"
    yield "other suffix", made.member(name + ".jpeg", b"x"), OTHER_KEY
    yield "digits that are not ASCII", made.member(name.replace("_3", "_٣"), b"x"), OTHER_KEY


def additions(kind: Kind) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, piece before a good member, expected outcome."""
    raw, ignored = kind.name.encode(), "quarantined: 8 usable, 1 ignored"
    yield "path that climbs", made.member("../../escaped.jpg", b"x"), ignored
    yield "path that climbs inside", made.member(raw.replace(b"/n9", b"/../../n9", 1), b"x"), ignored
    yield "absolute path", made.member(str(ESCAPED), b"x"), ignored
    yield "long name that climbs", made.member(LONG, b"../" * 300 + b"x\0", b"L") + made.member("x", b"x"), ignored
    yield "name that is no UTF-8", made.member(b"Images/\xff\xfe.jpg", b"x"), ignored
    yield "name of two lines", made.member("Images/x\n12:00:00 ERROR forged", b"x"), ignored
    yield "member twice", made.member(raw, kind.files()[kind.name]), "refused 65: .* (twice|two images of one name).*"
    yield "size of 3 GB", made.header(b"x", 3 << 30), DAMAGED
    yield "size of 2^80", made.header(b"x", base256(1 << 80)), DAMAGED
    yield "unknown type of 2^80 bytes", made.header(b"x", base256(1 << 80), b"Z"), DAMAGED  # tarfile skips for ever
    yield "negative size", made.header(b"x", base256(-1536)), DAMAGED
    yield "size that is no number", made.header(b"x", b"ABCDEFGHIJK\0"), DAMAGED
    yield "sparse file of 3 GB", made.header(b"x", 512, b"S", SPARSE) + bytes(512), DAMAGED
    yield "sparse file of 3 GB by PAX", pax(("GNU.sparse.size", str(3 << 30)), ("GNU.sparse.map", "0,1")), DAMAGED
    yield "sparse map of words", pax(("GNU.sparse.map", "one,two")), DAMAGED
    yield "PAX size of 30 digits", pax(("size", "9" * 30)), DAMAGED
    yield "PAX size below zero", pax(("size", "-512")), DAMAGED
    yield "PAX path of 5 MB", pax(("path", "p" * 5_000_000)), DAMAGED
    yield "PAX length of 5,000 digits", made.member("pax", b"9" * 5000 + b" path=a\n", b"x"), DAMAGED
    yield "global PAX size of 3 GB", pax(("GNU.sparse.size", str(3 << 30)), kind=b"g"), DAMAGED
    yield "3,000 PAX headers in a row", pax(("path", "p")) * 3000, DAMAGED
    yield "3,000 long names in a row", made.member(LONG, b"n", b"L") * 3000, DAMAGED
    yield "long name of 5 MB", made.member(LONG, b"n" * 5_000_000, b"L"), DAMAGED
    yield "wrong checksum", made.member("x", b"x").replace(b"ustar", b"USTAR", 1), DAMAGED
    yield "one empty block", bytes(512), DAMAGED  # tarfile ends here and forgets the rest
    yield "the closing blocks", made.END, DAMAGED


def wholes(kind: Kind) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, whole file, expected outcome."""
    good = made.tar(kind.files())
    for title, format in (("GNU", tarfile.GNU_FORMAT), ("PAX", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
        yield f"good tar in {title} format", made.tar(kind.files(), format), "accepted: 8 usable"
    yield "one byte", b"\0", DAMAGED
    yield "web page", b"<html>404 Not Found</html>" * 100, DAMAGED
    yield "tar.gz", gzip.compress(good, mtime=0), "refused 65: .* is compressed .gzip.*"
    yield "tar without members", bytes(10240), "quarantined: 0 usable, 8 {missing}"
    yield "garbage after the end", good + b"garbage" * 100 + bytes(10240), DAMAGED
    yield "second tar after the end", good + good, DAMAGED


def hostile_tars() -> list[Item]:
    """Return every hostile tar as images.tar and as annotation.tar."""
    items = []
    for kind in KINDS:
        rows = [(title, planted(kind, piece, True), wanted) for title, piece, wanted in replacements(kind.name)]
        rows += [(title, planted(kind, piece, False), wanted) for title, piece, wanted in additions(kind)]
        for title, data, wanted in [*rows, *wholes(kind)]:
            expected = wanted.format(missing=kind.missing, empty=kind.empty)
            items.append(Item(f"{kind.archive}: {title}", partial(open_source, **{kind.archive: data}), expected))
    return items


def _cuts(files: dict[str, bytes]) -> list[int]:
    """Return offsets at, just inside and between headers and contents, and in the closing blocks."""
    offsets, start = [0, 1], 0
    for content in files.values():
        body = start + 512
        stop = body + len(content)
        start = stop + -len(content) % 512
        offsets += [body - 256, body, body + 1, stop - 1, stop, start]
    return [*offsets, start + 1, start + 512, start + 1023, start + 1024, start + 4096]


def _ending_in_zeros(kind: Kind) -> dict[str, bytes]:
    """Return the good files, one with 2,048 zeros at its end, which look like the closing blocks of a tar."""
    return {name: content + bytes(2048 * (n == AT)) for n, (name, content) in enumerate(kind.files().items())}


def _open_cut(offset: int, listed: bool, filled: bool, folder: Path) -> str:
    whole = made.tar(_ending_in_zeros(KINDS[0]))
    if listed:
        raw = made.write_raw(folder / "deep" / "raw", images=whole)
        (raw / MEMBERS).write_bytes(build_index(LocalStore(raw)).to_json())
    return open_source(folder, images=whole[:offset] + bytes(len(whole) - offset if filled else 0))


def cut_tars() -> list[Item]:
    """Return images.tar cut everywhere, without and with members.json: never a smaller dataset."""
    items = []
    *offsets, last, padding = _cuts(_ending_in_zeros(KINDS[0]))
    for offset in (*offsets, last, padding):
        expected = DAMAGED if offset < last else "accepted: 8 usable"  # after `last` only padding is missing
        items.append(Item(f"cut at {offset}", partial(_open_cut, offset, False, False), expected))
        expected = r"refused 65: .*images\.tar has \d+ bytes.*members\.json.*"
        items.append(Item(f"cut at {offset}, indexed", partial(_open_cut, offset, True, False), expected))
    return items


def zeroed_tars() -> list[Item]:
    """Return images.tar of the right length, but zeros from some offset on: a download into a preallocated file.

    Such a tar is a whole one of fewer photos; that they are missing is known from annotation.tar or members.json.
    """
    items = []
    for offset in _cuts(_ending_in_zeros(KINDS[0]))[:-9]:  # before the zeros that the last photos end with
        missing = r"(quarantined: [0-7] usable, .*|refused 65: .*truncated or damaged.*)"
        items.append(Item(f"zeros from {offset}", partial(_open_cut, offset, False, True), missing))
        changed = r"refused 65: .* differs from its index.*"
        items.append(Item(f"zeros from {offset}, indexed", partial(_open_cut, offset, True, True), changed))
    return items
