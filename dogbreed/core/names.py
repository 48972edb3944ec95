"""Names of datasets, registered models, experiments and training jobs: one rule for all of them."""

import re
import unicodedata

RULE = "1 to 100 letters, digits, dots, dashes and underscores, the first one a letter or digit"
DEFAULT_NAME = "dogbreed"  # of the dataset of Stanford Dogs, and where no dataset names anything else


def is_valid_name(name: str) -> bool:
    """Return whether a text can be part of tags, filters, object keys and the names of MLflow."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) is not None


def require_valid_name(name: str) -> str:
    """Return the name; ValueError if it is not valid."""
    if not is_valid_name(name):
        raise ValueError(f"{name!r} must be {RULE}")
    return name


def suggest_name(text: str) -> str:
    """Return a valid name that resembles a text; `my-images` if none of its characters can be used."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("._-")[:100] or "my-images"
