"""Folder, annotation and list that disagree about the breed of a photo."""

from functools import partial
from pathlib import Path

from tests.support.hostile import made
from tests.support.hostile.tars import open_source
from tests.support.hostile.verdict import Item

KEY = made.KEYS[0]
RED, BLUE = "Red", "Blue-dog"


def _named(*names: str) -> bytes:
    """Return annotation.tar in which the first photo has an object of each name."""
    objects = b"".join(made.annotation(KEY, name=name) for name in names)
    xml = objects.replace(b"</annotation><annotation>", b"")
    return made.tar({**made.annotations(), f"Annotation/{KEY}": xml})


def _labelled(labels: list[int]) -> bytes:
    return made.tar(made.lists(labels=labels))


def _open(archives: dict[str, bytes], folder: Path) -> str:
    return open_source(folder, **archives)


def contradicting_labels() -> list[Item]:
    """Return the ways to disagree, each with what the source must say, and the ways not to."""
    other = r"quarantined: 7 usable, 1 annotation names {}, the folder Red"
    contradiction = r"refused 65: the labels of .*_list\.mat in lists\.tar contradict its file names.*"
    one, two = 1, 2
    good = [one] * 4 + [two] * 4
    rows = {
        "annotation names another breed": ({"annotation": _named(BLUE)}, other.format(BLUE)),
        "annotation names another breed twice": ({"annotation": _named(BLUE, BLUE)}, other.format(BLUE)),
        "annotation names an unknown breed": ({"annotation": _named("Cat")}, other.format("Cat")),
        "annotation names nothing": ({"annotation": _named("")}, other.format("")),
        "annotation names the breed and another": ({"annotation": _named(BLUE, RED)}, "accepted: 8 usable"),
        "labels agree": ({"lists": _labelled(good)}, "accepted: 8 usable"),
        "labels in another order": ({"lists": _labelled([7] * 4 + [3] * 4)}, "accepted: 8 usable"),
        "one label of another breed": ({"lists": _labelled([two, *good[1:]])}, contradiction),
        "one label of its own": ({"lists": _labelled([9, *good[1:]])}, contradiction),
        "one label for all": ({"lists": _labelled([one] * 8)}, contradiction),
    }
    return [Item(name, partial(_open, archives), expected) for name, (archives, expected) in rows.items()]
