"""Predictions as files: Parquet, CSV or JSON lines; the same rows give the same bytes."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

Row = dict[str, Any]  # column -> value

_TEXT, _NUMBER = pyarrow.string(), pyarrow.float64()
_TOP5 = pyarrow.list_(pyarrow.struct([("class", _TEXT), ("probability", _NUMBER)]))
SCHEMA = pyarrow.schema(  # given, because a column without any value has no type
    [
        ("image", _TEXT),  # key below --images
        ("sha256", _TEXT),  # of the image's bytes
        ("class", _TEXT),
        ("wordnet_id", _TEXT),
        ("probability", _NUMBER),
        ("top5", _TOP5),
        ("error", _TEXT),  # the reason why there is no class
    ]
)


def to_parquet(rows: Sequence[Row]) -> bytes:
    """Return a Parquet file with the columns of SCHEMA."""
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), SCHEMA), buffer)
    return buffer.getvalue()


def to_csv(rows: Sequence[Row]) -> bytes:
    """Return RFC 4180 lines after a header; top5 is JSON, missing values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SCHEMA.names)
    writer.writeheader()
    writer.writerows({**row, "top5": json.dumps(row["top5"], ensure_ascii=False)} for row in rows)
    return text.getvalue().encode()


def to_jsonl(rows: Sequence[Row]) -> bytes:
    """Return one JSON object a line."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


WRITERS = {"parquet": to_parquet, "csv": to_csv, "jsonl": to_jsonl}
