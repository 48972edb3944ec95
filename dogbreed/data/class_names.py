"""Class names: as people read them, and their WordNet ids."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from dogbreed.core.errors import shorten_list

_SYNSET = re.compile(r"^(n\d{8})-")  # the WordNet id before a Stanford Dogs class name


def breed_name(class_name: str) -> str:
    """Return the readable name: "n02088466-black-and-tan_coonhound" is "black-and-tan coonhound"."""
    return strip_synset(class_name).replace("_", " ")


def strip_synset(class_name: str) -> str:
    """Return the name without its WordNet id: "n02088466-black-and-tan_coonhound" is "black-and-tan_coonhound"."""
    return _SYNSET.sub("", class_name)


def class_key(class_name: str) -> str:
    """Return what a class is selected by: its name without WordNet id, however case and accents are written."""
    return unicodedata.normalize("NFC", strip_synset(class_name).casefold())


def describe_unknown_classes(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """Return the message for selected names that are none of `classes`, with those that are most like them."""
    names = {class_key(name): name for name in classes}
    near = dict.fromkeys(names[key] for name in unknown for key in get_close_matches(class_key(name), names))
    hint = f"did you mean {shorten_list([*near])}?" if near else f"its classes are {shorten_list(sorted(classes))};"
    return (
        f"no class {shorten_list(unknown)} in the source: {hint} names are those of the class folders, the archive or "
        "the table of labels, in any case, with or without WordNet id"
    )


def wordnet_id(class_name: str) -> str | None:
    """Return the WordNet id, n02088466 for example; None for a class without one."""
    match = _SYNSET.match(class_name)
    return match[1] if match else None


def are_from_imagenet(classes: Sequence[str]) -> bool:
    """Return whether each name has a WordNet id, as in Stanford Dogs, whose images come from ImageNet."""
    return all(map(wordnet_id, classes))


def describe_missing_classes(missing: Sequence[str], total: int, split: str) -> str:
    """Return which classes have no image in a split, for a log or report; "" if all of them have some."""
    if not missing:
        return ""
    return (
        f"{len(missing):,} of {total:,} classes without {split} images, left out of macro averages: "
        f"{shorten_list([breed_name(name) for name in missing])}"
    )
