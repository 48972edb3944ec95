"""Tables that name the class of each image: CSV or JSON lines, one row for each image."""

import csv
import io
import json
import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dogbreed.core.errors import DataError, UsageError, shorten_list
from dogbreed.core.storage import Store, read_uri
from dogbreed.data.raw.layout import Place, split_of

FILE_COLUMNS = ("file", "file_name", "filename", "image", "path", "id")
LABEL_COLUMNS = ("label", "class", "breed")
SPLIT_COLUMN = "split"
MARKS = {"0", "1", "0.0", "1.0", ""}  # values of columns that each stand for a class (one-hot)
NO_ROW, NO_CLASS, SEVERAL_CLASSES = "no row in the labels", "no class in the labels", "several classes in the labels"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelsOption:
    """Which table to read; `columns` are those of file and label, None to find them by their names."""

    file: str  # a name below the raw prefix, in the folder of each split too, or a URI
    columns: tuple[str, str] | None = None


@dataclass(frozen=True)
class Labels:
    """What the tables say of the images: places by key, and why others have none."""

    places: dict[str, Place]
    reasons: dict[str, str]
    tables: tuple[str, ...]  # keys of the tables below the raw prefix


@dataclass(frozen=True)
class _Row:
    file: str
    class_name: str  # empty: the table names none; SEVERAL_CLASSES
    split: str | None


def read_labels(raw: Store, option: LabelsOption, images: Sequence[str], others: Sequence[str]) -> Labels:
    """Return the places that the tables give to the images.

    A name in a table is relative to the table's folder or to `raw`; without a suffix, or without a folder, it stands
    for the only image of that name. Rows without an image are counted in the log.

    Raises:
        NotFound: there is no such table.
        DataError: a table cannot be read, contradicts itself, or names no image.
        UsageError: the columns cannot be found.
    """
    tables = _find_tables(option.file, others)
    finder = _Finder(images)
    places: dict[str, Place] = {}
    reasons: dict[str, str] = {}
    unmatched: list[str] = []
    for key in tables or (option.file,):
        text = raw.read(key) if tables else read_uri(key)
        folder = key.rpartition("/")[0] if tables else ""
        for row in _parse(text, key, option.columns):
            image = finder.find(folder, row.file)
            if image is None:
                unmatched.append(row.file)
            elif row.class_name in ("", SEVERAL_CLASSES):
                reasons[image] = row.class_name or NO_CLASS
            else:
                place = Place(row.class_name, row.split or split_of(image.split("/")[0]))
                if places.setdefault(image, place) != place:
                    raise DataError(f"{key} names {image} twice, as {places[image]} and {place}; correct it")
    if unmatched:
        some = shorten_list(sorted(unmatched))
        log.warning("rows of %s that name no image, or several: %d (%s)", option.file, len(unmatched), some)
    if not places:
        raise DataError(f"no row of {option.file} names an image of {raw.uri} and its class; check --label-columns")
    return Labels(places, {**dict.fromkeys(images, NO_ROW), **reasons}, tables)


def _find_tables(name: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the tables of this name: the one at this key, or those in any folder."""
    if name in others:
        return (name,)
    return tuple(key for key in others if "/" not in name and key.endswith(f"/{name}"))


class _Finder:
    """Finds the image that a table means."""

    def __init__(self, images: Iterable[str]) -> None:
        self._keys = {_normalize(key): key for key in images}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name, key in self._keys.items():
            path = PurePosixPath(name)
            for shorter in {str(path.with_suffix("")), path.name, path.stem}:
                self._by_name[shorter].append(key)

    def find(self, folder: str, name: str) -> str | None:
        """Return the key of the image, None if there is none or more than one of that name."""
        path = PurePosixPath(_normalize(name).replace("\\", "/"))
        candidates = (str(PurePosixPath(_normalize(folder), path)), str(path), path.name)
        exact = [self._keys[name] for name in candidates if name in self._keys]
        others = [found[0] for name in candidates if len(found := self._by_name.get(name, [])) == 1]
        return next(iter([*exact, *others]), None)


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _parse(data: bytes, key: str, columns: tuple[str, str] | None) -> Iterator[_Row]:
    """Yield the rows of a table; see `read_labels` for the errors."""
    rows = _read_rows(data, key)
    if not rows:
        raise DataError(f"{key} has no row")
    names = list(rows[0])
    file = columns[0] if columns else _find_column(names, FILE_COLUMNS)
    label = columns[1] if columns else _find_column(names, LABEL_COLUMNS)
    classes = [name for name in names if name != file]
    is_one_hot = not columns and label is None and all(row.get(name, "") in MARKS for row in rows for name in classes)
    if file is None or (label is None and not is_one_hot) or not {file, label or file} <= set(names):
        raise UsageError(
            f"{key} has the columns {', '.join(names)}; name those of file and class with --label-columns FILE,LABEL"
        )
    log.info("labels: %s, files in column %s, classes in %s", key, file, label or f"{len(classes)} columns of marks")
    split = _find_column(names, (SPLIT_COLUMN,))
    for row in rows:
        name = row[label] if label else _marked(row, classes)
        yield _Row(row[file], _normalize(name.strip()), _split(row[split], key) if split else None)


def _read_rows(data: bytes, key: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file, of JSON lines, or of a JSON list of objects; all values as text."""
    try:
        text = data.decode("utf-8-sig")
        if key.lower().endswith((".jsonl", ".ndjson", ".json")):
            content = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, text.splitlines())]
            return [{name: "" if value is None else str(value) for name, value in row.items()} for row in content]
        header = text.partition("\n")[0]
        table = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count), restval="")
        return [{(name or "").strip(): (value or "").strip() for name, value in row.items() if name} for row in table]
    except (ValueError, csv.Error, AttributeError) as error:
        raise DataError(f"{key} is no table in UTF-8 ({error}); expected CSV with a header, or JSON lines") from error


def _find_column(names: Iterable[str], known: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in known if name in by_name), None)


def _marked(row: Mapping[str, str], classes: Iterable[str]) -> str:
    """Return the class whose column has a 1; empty if none has, SEVERAL_CLASSES if more have."""
    marked = [name for name in classes if row.get(name, "").startswith("1")]
    return marked[0] if len(marked) == 1 else SEVERAL_CLASSES if marked else ""


def _split(name: str, key: str) -> str | None:
    if name and split_of(name) is None:
        raise DataError(f"{key} has the split {name!r}; known are train, validation and test")
    return split_of(name)
