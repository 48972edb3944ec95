"""Names that become paths: what a key may be, and a file name for any text."""

import re

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

    Percent-encoded are `/`, backslash, control characters, `%`, and a dot at the start; all other characters stay.
    """
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", text)
