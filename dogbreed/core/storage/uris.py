"""What a URI names: a folder by its plain name or as file:// (RFC 8089), or a prefix in a bucket."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from dogbreed.core.errors import UsageError

# `x:/` begins a URI, and s3: and file: do without a slash; a quote before it comes from an env file that Docker reads
_SCHEME = re.compile(r"""[\s"']*(s3|file|[a-z][a-z0-9+.-]*(?=:/)):(/*)(.*)""", re.IGNORECASE | re.DOTALL)
_FILE_URI = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>.*)", re.DOTALL)
_TO_ESCAPE = re.compile(r"[#?]|%(?![0-9A-Fa-f]{2})")


def to_path(uri: str) -> Path | None:
    """Return the folder or file that a URI names, None for s3://bucket/prefix.

    All characters of a plain name mean themselves, except `~` and `~user` at its start.

    Raises:
        UsageError: it is none of these; the message has the spelling that would be.
    """
    scheme = _SCHEME.match(uri)
    if uri and scheme is None:
        return expand_home(uri)
    if re.match("s3://[^/]", uri):
        return None
    if uri.startswith("file:/"):
        return _from_file_uri(uri)
    raise UsageError(f"cannot open {uri!r}: {_advice(scheme)}; a folder of just that name is './{uri}'")


def to_name(path: Path) -> str:
    """Return the plain name that `to_path` reads as this path."""
    name = str(path)
    return f"./{name}" if name.startswith("~") or _SCHEME.match(name) else name


def _advice(scheme: re.Match[str] | None) -> str:
    kind, slashes, rest = scheme.groups() if scheme else ("", "", "")
    rest = rest.rstrip("\"'")
    if kind.lower() == "s3":
        return f"write s3://{rest if rest and slashes != '///' else 'bucket/prefix'}"
    if kind.lower() == "file":
        return f"write file:///{rest}"
    return "name a folder, file:///folder or s3://bucket/prefix"


def expand_home(name: str) -> Path:
    """Return the path of a plain name, with the home folder for a leading `~` or `~user`; UsageError without one."""
    if not name.startswith("~"):
        return Path(name)
    user = name.partition("/")[0]
    try:
        home = Path(user).expanduser()
    except RuntimeError:  # pathlib's for an unknown user
        home = None
    if home is None or not home.is_dir():
        raise UsageError(
            f"cannot open {name!r}: {user} has no home folder here; write the whole path "
            f"(a folder of just that name is './{name}')"
        )
    return Path(name).expanduser()


def _from_file_uri(uri: str) -> Path:
    """Return the path of a file: URI, percent-decoded to bytes: names need not be UTF-8."""
    host, path = _FILE_URI.fullmatch(uri).group("host", "path")  # type: ignore[union-attr]  # it begins with file:
    if (host or "localhost").lower() != "localhost" or not path.startswith("/"):
        raise UsageError(
            f"cannot open {uri!r}: it names the host {host!r}; write file:///{host}{path}, or a folder without file://"
        )
    if _TO_ESCAPE.search(path):
        escaped = _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", path)
        raise UsageError(
            f"cannot open {uri!r}: in a URI #, ? and % must be escaped; write file://{escaped}, or a folder without "
            "file://, where all characters mean themselves"
        )
    decoded = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    if "\0" in decoded:
        raise UsageError(f"cannot open {uri!r}: no folder has %00 in its name")
    return Path("/", decoded.lstrip("/"))
