"""Tables of labels: CSV, JSON lines or a JSON list with one row for each image."""

import csv
import io
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dogbreed.core.errors import DataError, UsageError, shorten_list
from dogbreed.data.raw.census import printable
from dogbreed.data.raw.layout import split_of

FILE_COLUMNS = ("file", "file_name", "filename", "image", "path", "id")
LABEL_COLUMNS = ("label", "class", "breed")
SPLIT_COLUMN = "split"
MARKS = {"0", "1", "0.0", "1.0", ""}  # values of columns that each stand for a class (one-hot)
SEVERAL_CLASSES = "several classes in the labels"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """The file, class and split of one image; `class_name` is empty for none, or SEVERAL_CLASSES."""

    file: str
    class_name: str
    split: str | None


@dataclass(frozen=True)
class _Columns:
    file: str
    label: str | None  # None: each of `classes` is the column of a class
    classes: tuple[str, ...]
    split: str | None


def parse_table(data: bytes, key: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of a table.

    columns: those of file, label and perhaps split; () to find them by their names.

    Raises:
        DataError: it is no table, has no row, or a row contradicts the header.
        UsageError: the columns cannot be found.
    """
    rows = _read_rows(data, key)
    if not rows:
        raise DataError(f"{key} has no row")
    found = _find_columns(rows, key, columns)
    log.info(
        "labels: %s, files in %s, classes in %s, splits in %s",
        key,
        found.file,
        found.label or f"{len(found.classes)} columns",
        found.split or "no column, but in the folders",
    )
    if found.label is None:
        _warn_of_unmarked(rows, key, found.classes)
    for row in rows:
        name = row.get(found.label, "") if found.label else _marked_class(row, found.classes)
        name = unicodedata.normalize("NFC", name.strip())
        if printable(name) != name:
            raise DataError(f"{key} has the class {printable(name)}, which is not valid Unicode; correct it")
        yield Row(row.get(found.file, ""), name, _split(row.get(found.split, ""), key) if found.split else None)


def _find_columns(rows: Sequence[Mapping[str, str]], key: str, columns: tuple[str, ...]) -> _Columns:
    names = list(dict.fromkeys(name for row in rows for name in row))
    file, label = columns[:2] or (_find_column(names, FILE_COLUMNS), _find_column(names, LABEL_COLUMNS))
    split = columns[2] if columns[2:] else _find_column(names, (SPLIT_COLUMN,))
    classes = tuple(name for name in names if name not in (file, split))
    if not columns and _is_one_hot(rows, classes, strict=label is not None):
        label = None
    elif label is None or label not in names or split not in (None, *names):
        file = None
    if file is None or file not in names:
        raise UsageError(
            f"{key} has the columns {shorten_list(names)}; name those of file and class, and of the split if there is "
            "one, with --label-columns FILE,LABEL,SPLIT"
        )
    if split is None:
        _warn_of_splits(rows, key, [name for name in names if name not in (file, label)])
    return _Columns(file, label, classes, split)


def _warn_of_splits(rows: Sequence[Mapping[str, str]], key: str, names: Iterable[str]) -> None:
    """Log a warning if a column that is not used holds names of splits only."""
    for name in names:
        values = {row.get(name, "") for row in rows}
        if len(values) > 1 and all(map(split_of, values)):
            some = shorten_list(sorted(values))
            log.warning("column %s of %s holds splits (%s) but is not used: name it third in --label-columns",
                        name, key, some)  # fmt: skip


def _warn_of_unmarked(rows: Sequence[Mapping[str, str]], key: str, classes: Sequence[str]) -> None:
    """Log a warning if columns that each stand for a class have no mark."""
    unmarked = [name for name in classes if not any(row.get(name, "").startswith("1") for row in rows)]
    if unmarked:
        log.warning("no row of %s marks these columns; they are no classes: %s", key, shorten_list(unmarked))


def _is_one_hot(rows: Sequence[Mapping[str, str]], classes: Sequence[str], *, strict: bool) -> bool:
    """Tell whether each of several columns stands for a class; `strict`: only if every row has exactly one mark."""
    if len(classes) < 2 or not all(row.get(name, "") in MARKS for row in rows for name in classes):
        return False
    return not strict or all(sum(row.get(name, "").startswith("1") for name in classes) == 1 for row in rows)


def _read_rows(data: bytes, key: str) -> list[dict[str, str]]:
    """Return the rows with all values as text."""
    try:
        text = data.decode("utf-8-sig")
        if key.lower().endswith((".jsonl", ".ndjson", ".json")):
            lines = [line for line in text.split("\n") if line.strip()]
            content = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
            return [{name: _cell(value) for name, value in row.items()} for row in content]
        header = text.partition("\n")[0]
        table = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header.count))
        names = [name.strip() for name in next(table, [])]
        return [_csv_row(names, [cell.strip() for cell in cells]) for cells in table if cells]
    except (ValueError, csv.Error, AttributeError, RecursionError) as error:
        raise DataError(
            f"{key} is no table in UTF-8 ({error}); expected CSV with a header (a spreadsheet saves it as CSV UTF-8), "
            "JSON lines or a JSON list of objects"
        ) from error


def _csv_row(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise ValueError(f"two columns are called {twice[0]}")
    if any(cells[len(names) :]):
        raise ValueError(f"more cells than columns in {','.join(cells)[:100]!r}; quote values that hold the separator")
    return {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _cell(value: Any) -> str:
    """Return a JSON value as text; of a list its only element."""
    if isinstance(value, list) and len(value) != 1:
        return SEVERAL_CLASSES if value else ""
    if isinstance(value, list):
        (value,) = value
    if isinstance(value, dict | list):
        raise ValueError(f"the value {json.dumps(value)[:100]} is no text or number")
    return "" if value is None else str(value)


def _find_column(names: Iterable[str], known: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    return next((by_name[name] for name in known if name in by_name), None)


def _marked_class(row: Mapping[str, str], classes: Iterable[str]) -> str:
    marked = [name for name in classes if row.get(name, "").startswith("1")]
    return marked[0] if len(marked) == 1 else SEVERAL_CLASSES if marked else ""


def _split(name: str, key: str) -> str | None:
    if name and split_of(name) is None:
        raise DataError(f"{key} has the split {name!r}; known are train, validation and test")
    return split_of(name)
