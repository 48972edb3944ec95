"""JSON files whose bytes follow from their content and which tell when somebody changed them."""

import hashlib
import json
from typing import Any


def canonical(content: Any) -> bytes:
    """Return JSON with sorted keys: the same content gives the same bytes."""
    return json.dumps(content, sort_keys=True, indent=1).encode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sealed(content: dict[str, Any]) -> bytes:
    """Return canonical JSON that holds the digest of the rest, so that a reader notices any change."""
    return canonical({**content, "digest": sha256(canonical(content))})


def unsealed(data: bytes) -> dict[str, Any]:
    """Return what `sealed` was made of; ValueError where a byte was changed since."""
    try:
        content = json.loads(data)
        digest = content.pop("digest")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a file that this suite has written: {error!r}") from error
    line = f'\n "digest": "{digest}"'.encode()  # one blank deep, so of no inner object
    rest = data.replace(line + b",", b"", 1) if line + b"," in data else data.replace(b"," + line, b"", 1)
    if sha256(rest) != digest:  # to encode the content anew takes five times as long
        raise ValueError("its content is not what its digest says")
    return dict(content)
