"""Names that become paths: what a key may be, and a file name for any text."""

import re
from pathlib import PurePosixPath

from dogbreed.core.canonical_json import sha256_hex

NAME_LIMIT = 255  # bytes of a file name in the usual file systems
_TO_ESCAPE = re.compile(r"[%/\\\x00-\x1f\x7f]|^\.")


def key_problem(key: str) -> str | None:
    """Return why a key, or the name of a class or split, could leave its folder; None if it cannot."""
    if "\0" in key or "\\" in key:
        return "has a NUL or a backslash"
    if key.startswith("/"):
        return "is absolute"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "is empty or has an empty part, '.' or '..'"
    return None


def escape_name(text: str) -> str:
    """Return one file name for any text, and different names for different texts.

    A name that is too long for a file system ends with a hash of the whole. Percent-encoded are `/`, backslash, control
    characters, `%`, and a dot at the start; all other characters stay.
    """
    name = _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", text)
    if len(name.encode()) <= NAME_LIMIT:
        return name
    suffix = PurePosixPath(name).suffix
    digest = f"%{sha256_hex(text.encode())[:16]}"  # no other name has a percent sign before such digits
    kept = name.encode()[: NAME_LIMIT - len(digest) - len(suffix.encode())].decode(errors="ignore")
    return kept + digest + suffix
