"""Canonical JSON, digests and ids: the same content always has the same bytes, and a changed file is noticed.

Every hash that identifies something is computed here, and every JSON file that a digest covers is written here.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

ID_LENGTH = 16  # hexadecimal digits: 64 bits


def dumps(content: Any) -> bytes:
    """Return JSON with sorted keys and an indentation of one blank."""
    return json.dumps(content, sort_keys=True, indent=1).encode()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, which need not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `content`, 64 hexadecimal digits."""
    return sha256_hex(dumps(content))


def short_id(content: Any) -> str:
    """Return the first 16 digits of `digest`, for names of jobs and prefixes."""
    return digest(content)[:ID_LENGTH]


def dumps_with_digest(content: dict[str, Any]) -> bytes:
    """Return canonical JSON of `content` with one more key, `digest`, which covers all others."""
    return dumps({**content, "digest": digest(content)})


def loads_verified(data: bytes) -> dict[str, Any]:
    """Return the content that `dumps_with_digest` was given; ValueError where a byte was changed since."""
    try:
        content = json.loads(data)
        found = content.pop("digest")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a file that this suite has written: {error!r}") from error
    # cut the digest's line out of the bytes: to encode the content again takes five times as long
    line = f'\n "digest": "{found}"'.encode()  # indented by one blank, so it belongs to no inner object
    rest = data.replace(line + b",", b"", 1) if line + b"," in data else data.replace(b"," + line, b"", 1)
    if sha256_hex(rest) != found:
        raise ValueError("the content does not match its digest")
    return dict(content)
