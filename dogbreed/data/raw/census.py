"""The census of a raw prefix: which files may be images, and which are ignored, by reason."""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

from dogbreed.core.errors import DataError, shorten_list
from dogbreed.core.storage import ObjectInfo, Store
from dogbreed.core.text import pluralize
from dogbreed.data.image_formats import (
    CONVERT,
    FORMATS,
    HEAD,
    LFS_POINTER,
    LFS_SIGNATURE,
    NAMES,
    recognize,
    suffix_kind,
)

READERS = 8  # files at a time: over a network most of the time is waiting
SHOWN = 5  # names of each reason
HIDDEN = "hidden or system file"
NOT_AN_IMAGE = "not an image"
TABLE = "table that --labels names"
NO_ARCHIVE = "none of the dataset's archives"
NOT_DECODED = f"image of a format that is not decoded; {CONVERT}"
NOT_DOWNLOADED = "image that a cloud drive has not downloaded; make the folder available offline and run again"
REASONS = {  # by kind of file, see `classify`
    "hidden": HIDDEN,
    "placeholder": NOT_DOWNLOADED,
    "unsupported": NOT_DECODED,
    "pointer": LFS_POINTER,
    "other": NOT_AN_IMAGE,
}
PLACEHOLDER = re.compile(  # of 1.jpg; see github.com/owncloud/client/wiki/Virtual-Files, docs.odrive.com
    r"\.(?P<icloud>.+)\.icloud|(?P<other>.+)\.(owncloud|nextcloud|cloud)", re.IGNORECASE
)
SYSTEM_NAMES = frozenset(  # of files and folders, in lower case; those that begin with a dot are hidden
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin"}
    | {"system volume information", "lost+found", "__pycache__", "recycler", "@recycle", "@recently-snapshot"}
    | {"#snapshot", "~snapshot", "@tmp", "network trash folder", "temporary items"}
)
ALLOWED = 10  # image files that may be ignored whatever fraction that is

File = TypeVar("File")

log = logging.getLogger(__name__)


class ReasonSummary(TypedDict):
    """How many files are ignored for one reason, and the first names."""

    files: int
    examples: list[str]


@dataclass
class Ignored:
    """The files that are not used, `images` of which are, or are named like, images; and rows of tables of labels."""

    names: dict[str, list[str]] = field(default_factory=dict)  # of files, by reason
    images: int = 0
    rows: dict[str, list[str]] = field(default_factory=dict)  # names in the tables, by reason

    def add(self, key: str, reason: str, *, is_image: bool = False) -> None:
        """Count a file."""
        self.names.setdefault(reason, []).append(key)
        self.images += is_image

    def add_kind(self, key: str, kind: str) -> None:
        """Count a file of a kind of REASONS."""
        self.add(key, REASONS[kind], is_image=kind in ("placeholder", "unsupported"))

    def add_row(self, file: str, reason: str) -> None:
        """Count a row of a table of labels by the file that it names."""
        self.rows.setdefault(reason, []).append(file)

    def move(self, keys: Iterable[str], reason: str) -> None:
        """Give files that are counted already another reason."""
        moved = set(keys)
        self.names = {old: [key for key in names if key not in moved] for old, names in self.names.items()}
        self.names = {old: names for old, names in self.names.items() if names}
        for key in sorted(moved):
            self.add(key, reason)

    def __len__(self) -> int:
        return sum(map(len, self.names.values()))

    def summary(self) -> dict[str, ReasonSummary]:
        """Return count and first names by reason, the most frequent reason first."""
        return _summarize(self.names)

    def rows_summary(self) -> dict[str, ReasonSummary]:
        """Return what `summary` does for the rows."""
        return _summarize(self.rows)

    def log(self, where: str) -> None:
        """Log one warning for each reason."""
        for reason, found in {**self.summary(), **self.rows_summary()}.items():
            more = ", ..." if found["files"] > SHOWN else ""
            log.log(logging.INFO if reason == TABLE else logging.WARNING, "ignored in %s: %s: %d (%s%s)", where, reason,
                    found["files"], ", ".join(found["examples"]), more)  # fmt: skip


def _summarize(names: dict[str, list[str]]) -> dict[str, ReasonSummary]:
    ordered = sorted(names.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        reason: {"files": len(keys), "examples": [printable(key) for key in sorted(keys)[:SHOWN]]}
        for reason, keys in ordered
    }


def check_ignored(ignored: Ignored, used: int, limit: float, where: str) -> None:
    """Log what is ignored; DataError if that is more than ALLOWED image files and more than `limit` of all of them.

    used: number of image files that are not ignored. limit: a fraction.
    """
    ignored.log(where)
    every = used + ignored.images
    if ignored.images > max(ALLOWED, limit * every):
        raise DataError(
            f"{ignored.images} of {every} image files of {where} are ignored, --max-ignored allows {limit:.1%}; "
            "the warnings above name them: correct the folder, or raise the limit"
        )


def no_image(raw: Store, ignored: Ignored, option: str) -> str:
    """Return the message for a prefix without an image; what is there is logged."""
    ignored.log(raw.uri)
    return f"{raw.uri} holds no image ({NAMES}) among {pluralize(len(ignored), 'file')}; check {option}"


def find_images(raw: Store, ignored: Ignored) -> list[ObjectInfo]:
    """Return the files below `raw` that are images by their suffix or, where it tells nothing, by their first bytes.

    All others are added to `ignored`. Whether an image can be decoded is not known before it is read.

    Raises:
        PermissionDenied: a folder cannot be read.
        DataError: names of images are not UTF-8.
    """
    skipped: dict[str, str] = {}
    files = list(raw.list_inputs(skipped, is_hidden))
    kinds = classify(files, lambda info: info.key, lambda info: raw.read_range(info.key, 0, HEAD))
    for info, kind in zip(files, kinds, strict=True):
        if kind != "image":
            ignored.add_kind(info.key, kind)
    for key, reason in skipped.items():
        hidden = is_hidden(key)
        ignored.add(key, HIDDEN if hidden else reason, is_image=suffix_kind(key) == "image" and not hidden)
    found = sorted(info for info, kind in zip(files, kinds, strict=True) if kind == "image")
    check_utf8(raw.uri, [info.key for info in found])
    return found


def classify(files: Sequence[File], name_of: Callable[[File], str], read_head: Callable[[File], bytes]) -> list[str]:
    """Return for each file image or a key of REASONS, by its name or, where that tells nothing, by its first bytes."""
    kinds = [_name_kind(name_of(file)) for file in files]
    unknown = [place for place, kind in enumerate(kinds) if kind == "unknown"]
    with ThreadPoolExecutor(READERS) as pool:
        heads = pool.map(lambda place: read_head(files[place]), unknown)
        for place, head in zip(unknown, heads, strict=True):
            kinds[place] = _head_kind(head)
    return kinds


def _name_kind(key: str) -> str:
    if _is_placeholder(key):
        return "placeholder"
    return "hidden" if is_hidden(key) else suffix_kind(key)


def _is_placeholder(key: str) -> bool:
    """Tell whether a file is the placeholder of an image that a cloud drive has not downloaded."""
    folder, _, name = key.rpartition("/")
    match = PLACEHOLDER.fullmatch(name)
    if not match or (folder and is_hidden(folder)):
        return False
    image = match["icloud"] or match["other"]
    return not is_hidden(image) and suffix_kind(image) in ("image", "unsupported")


def _head_kind(head: bytes) -> str:
    if head.startswith(LFS_SIGNATURE):
        return "pointer"
    name = recognize(head)
    if name in FORMATS:
        return "image"
    return "unsupported" if name else "other"


def ignore_other_files(raw: Store, known: Collection[str], ignored: Ignored) -> None:
    """Ignore the files of a prefix of archives that are none of the `known` ones."""
    skipped: dict[str, str] = {}
    keys = [info.key for info in raw.list_inputs(skipped, is_hidden) if info.key not in known]
    for key in [*keys, *skipped]:
        ignored.add(key, HIDDEN if is_hidden(key) else NO_ARCHIVE)


def is_hidden(key: str) -> bool:
    """Tell whether a file, or a folder that it is in, belongs to the operating system or an editor."""
    parts = key.split("/")
    return not parts[-1] or any(part.startswith(".") or part.lower() in SYSTEM_NAMES for part in parts)


def check_utf8(where: str, keys: Iterable[str]) -> None:
    """Raise DataError if names of images cannot be written to a manifest."""
    wrong = [printable(key) for key in keys if printable(key) != key]
    if wrong:
        raise DataError(
            f"names of images of {where} are not UTF-8: {shorten_list(wrong)}; rename them, for example with convmv"
        )


def printable(key: str) -> str:
    r"""Return a name as valid UTF-8; bytes that are not are written as \udcXX."""
    return key.encode("utf-8", "backslashreplace").decode()
