"""JSON files whose bytes follow from their content and which tell when somebody changed them."""

import hashlib
import json
import re
from typing import Any

# the line that `sealed` adds: one blank deep, so of no inner object
SEAL = re.compile(rb'\n "digest": "(?P<digest>[0-9a-f]{64})",|,\n "digest": "(?P<last>[0-9a-f]{64})"(?=\n}\Z)')


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
    """Return what `sealed` was made of; ValueError for any other bytes."""
    seal = SEAL.search(data)
    if seal is None or sha256(data[: seal.start()] + data[seal.end() :]) != (seal["digest"] or seal["last"]).decode():
        raise ValueError("its content is not what its digest says")
    try:
        content: dict[str, Any] = json.loads(data)
        del content["digest"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a file that this suite has written: {error!r}") from error
    return content
