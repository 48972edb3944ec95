"""The classes that tables of labels give to images (see `label_tables`)."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dogbreed.core.errors import DataError, shorten_list
from dogbreed.core.storage import Store, open_store, read_uri, to_path
from dogbreed.data.raw.label_tables import SEVERAL_CLASSES, Row, parse_table
from dogbreed.data.raw.layout import Place, split_of

NO_ROW, NO_CLASS = "no row in the labels", "no class in the labels"
NO_IMAGE = "row of the labels without an image"
SEVERAL_IMAGES = "row of the labels that may mean several images; write their folders into the table"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelsOption:
    """Which table to read; `columns` are those of file, label and perhaps split, () to find them by their names."""

    file: str  # a name below the raw prefix, in the folder of each split too, or a URI
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """What the tables say of the images: places by key, and why others have none."""

    places: dict[str, Place]
    reasons: dict[str, str]
    tables: tuple[str, ...]  # keys of the tables below the raw prefix
    unused_rows: tuple[tuple[Row, str], ...]  # with the reason


def read_labels(raw: Store, option: LabelsOption, images: Sequence[str], others: Sequence[str]) -> Labels:
    """Return the places that the tables give to the images.

    A name in a table is relative to the table's folder or to `raw`; it may lack leading folders or the suffix if it
    then matches one image only. Classes without an image are named in the log.

    Raises:
        NotFound: there is no such table.
        DataError: it is a folder; a table cannot be read, contradicts itself, or names no image.
        UsageError: the columns cannot be found.
    """
    file = option.file.removeprefix(f"{raw.uri.rstrip('/')}/")
    _check_is_file(file, raw, [*images, *others])
    tables = _find_tables(file, others)
    matches = _Matches(images)
    for key in tables or (file,):
        table = raw.read(key) if tables else read_uri(key)
        for row in parse_table(table, key, option.columns):
            matches.add(row, key, folder=key.rpartition("/")[0] if tables else "")
    matches.check(file, raw)
    return Labels(matches.places, dict.fromkeys(images, NO_ROW) | matches.reasons, tables, tuple(matches.unused))


def _check_is_file(name: str, raw: Store, keys: Iterable[str]) -> None:
    """Raise DataError for the name of a folder, below `raw` or elsewhere, or for an S3 prefix of objects."""
    path, folder = to_path(name), f"{name.rstrip('/')}/"
    if path is not None and path.is_file():
        return
    below = sorted(key for key in keys if key.startswith(folder))
    if below or (path.is_dir() if path is not None else any(open_store(folder).list())):
        where = f" below {raw.uri}" if below else ""
        raise DataError(
            f"--labels {name} is a folder{where}; name the table itself, a CSV file or JSON lines, for example "
            f"--labels {folder}labels.csv; without a table leave --labels out: the folders are then the classes"
        )


def _find_tables(name: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the tables of this name: the one at this key, or those in any folder."""
    if name in others:
        return (name,)
    return tuple(key for key in others if "/" not in name and key.endswith(f"/{name}"))


class _Matches:
    """The rows of the tables and the images that they mean; see `Labels`."""

    def __init__(self, images: Sequence[str]) -> None:
        self._images, self._finder = images, _Finder(images)
        self.places: dict[str, Place] = {}
        self.reasons: dict[str, str] = {}
        self.unused: list[tuple[Row, str]] = []
        self._moved: list[str] = []  # images that the tables put into other splits than their folders do

    def add(self, row: Row, table: str, folder: str) -> None:
        """Match a row of a table in `folder`; DataError if another row contradicts it."""
        found = self._finder.find(folder, row.file)
        if len(found) != 1:
            self.unused.append((row, SEVERAL_IMAGES if found else NO_IMAGE))
            return
        (image,) = found
        if row.class_name in ("", SEVERAL_CLASSES):
            self.reasons[image] = row.class_name or NO_CLASS
            return
        folder_split = split_of(image.split("/")[0])
        if row.split and folder_split and row.split != folder_split:
            self._moved.append(f"{image} in {row.split}")
        place = Place(row.class_name, row.split or folder_split)
        known = self.places.setdefault(image, place)
        if known != place:
            first, second = (f"{p.class_name} in {p.split or 'no split'}" for p in (known, place))
            raise DataError(f"{table} names {image} twice, as {first} and as {second}; correct it")

    def check(self, file: str, raw: Store) -> None:
        """Log moved images, and classes without an image; DataError if no image has a class."""
        if self._moved:
            log.warning("%s gives other splits than the folders, and is followed: %d images (%s)", file,
                        len(self._moved), shorten_list(self._moved))  # fmt: skip
        if not self.places:
            rows = f", for example {self.unused[0][0].file!r}" if self.unused else ""
            raise DataError(
                f"no row of {file}{rows} names one of the images of {raw.uri}, for example {self._images[0]!r}, and "
                "its class; check --raw and --label-columns"
            )
        named = {row.class_name for row, _ in self.unused} - {"", SEVERAL_CLASSES}
        if missing := sorted(named - {place.class_name for place in self.places.values()}):
            log.warning(
                "classes of %s without an image in %s: %d (%s); add their images, or correct the files' names in the "
                "table",
                file,
                raw.uri,
                len(missing),
                shorten_list(missing),
            )


class _Finder:
    """Finds the image that a table means."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_name: dict[str, list[tuple[str, str]]] = defaultdict(list)  # without folder -> normalized key, key
        for key in images:
            path = PurePosixPath(_normalize(key))
            self._by_name[path.name].append((str(path), key))
            self._by_name[path.stem].append((str(path.with_suffix("")), key))

    def find(self, folder: str, name: str) -> list[str]:
        """Return the keys of the images that a name in a table of this folder may mean."""
        path = str(PurePosixPath(_normalize(name).replace("\\", "/")))
        below = f"{_normalize(folder)}/" if folder else ""
        tests: tuple[Callable[[str], bool], ...] = (
            lambda key: key == below + path,
            lambda key: key == path,
            lambda key: key.startswith(below) and (key.endswith(f"/{path}") or path.endswith(f"/{key}")),
        )
        candidates = self._by_name.get(path.rpartition("/")[2], [])
        for is_meant in tests:
            found = [key for normalized, key in candidates if is_meant(normalized)]
            if found:
                return found
        return []


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)
