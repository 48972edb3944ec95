"""The layout of an image folder: class and split of each image from its path, or the error that says what to change."""

import logging
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dogbreed.core.errors import DataError, shorten_list
from dogbreed.core.text import pluralize
from dogbreed.data.splits import TEST, TRAIN, VALIDATION

SPLIT_NAMES = {  # folder, in lower case -> split
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
EXPECTED = "expected <class>/<image> or <split>/<class>/<image>"
NOT_CLASSES = {"images", "image", "img", "imgs", "jpegimages", "labels", "annotations"}  # folders of detection datasets
DETECTION = {  # format -> a file that only a dataset of that format has
    "YOLO": re.compile(r"(.*/)?labels/.*\.txt|data\.yaml", re.IGNORECASE),
    "COCO": re.compile(r"(.*/)?(_annotations\.coco|instances_[^/]*)\.json", re.IGNORECASE),
    "Pascal VOC": re.compile(r"(.*/)?annotations?/.*\.xml", re.IGNORECASE),
}
PARTS = {*SPLIT_NAMES, *NOT_CLASSES, "mask", "masks", "part"}  # words in names of folders that are not classes
TABLES = (".csv", ".jsonl", ".json", ".tsv")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Class and published split of an image."""

    class_name: str
    split: str | None


def split_of(folder: str) -> str | None:
    """Return the split that a folder's name stands for, None for any other name."""
    return SPLIT_NAMES.get(folder.strip().lower())


def read_layout(images: Sequence[str], others: Sequence[str], uri: str) -> dict[str, Place]:
    """Return the place of each image (by key) that lies in a class folder.

    A folder is a split if it is called like one and has class folders. Names are in Unicode's NFC, which is one name
    however a file system stores it.

    Args:
        images: keys of the images.
        others: keys of all other files, which tell other layouts apart.
        uri: of the folder, for messages.

    Raises:
        DataError: the layout is another one; the message names the folder or the option to give.
    """
    paths = {key: key.split("/") for key in images}
    splits = {parts[0] for parts in paths.values() if len(parts) > 2 and split_of(parts[0])}
    below = {key: parts[1:] if parts[0] in splits else parts for key, parts in paths.items()}
    inside = {key: parts for key, parts in below.items() if len(parts) > 1 and (paths[key][0] in splits or not splits)}
    if not splits and all(split_of(parts[0]) for parts in inside.values()):
        inside = {}  # train/ and test/ hold images and no class folders
    if not _is_one_level_too_high(inside.values(), others):
        _refuse_detection(inside.values(), others, uri)
    if not inside:
        raise DataError(_no_class_folder(images, others, uri))
    if not splits:
        _refuse_parts({parts[0] for parts in inside.values()}, uri)
    _refuse_groups(inside.values(), splits, uri)
    if splits:
        _check_splits(splits, uri)
    return {
        key: Place(unicodedata.normalize("NFC", parts[0]), split_of(paths[key][0]) if splits else None)
        for key, parts in inside.items()
    }


def _is_one_level_too_high(inside: Collection[Sequence[str]], others: Sequence[str]) -> bool:
    """Tell whether the class folders lie below the only folder with images, whatever annotations lie beside it.

    The images of a detection dataset lie below folders that are called like splits or parts of a dataset, or each
    has a text file of its own name (YOLO).
    """
    deep = [parts for parts in inside if len(parts) > 2]
    if len({parts[0] for parts in inside}) != 1 or 2 * len(deep) <= len(inside):
        return False
    folders = {parts[-2].lower() for parts in deep}
    classes = {name for name in folders if not _is_part(name) and not name.startswith("segmentation")}
    stems = {posixpath.splitext(parts[-1])[0] for parts in inside}
    texts = {posixpath.splitext(posixpath.basename(key))[0] for key in others if DETECTION["YOLO"].fullmatch(key)}
    return len(classes) > 1 and not stems & texts and not any(DETECTION["COCO"].fullmatch(key) for key in others)


def _is_part(folder: str) -> bool:
    """Tell whether a folder is called like a split or a part of a dataset, as seg_train and train2017 are."""
    return bool(PARTS & set(re.split(r"[^a-z]+", folder.lower())))


def _refuse_detection(inside: Iterable[Sequence[str]], others: Sequence[str], uri: str) -> None:
    """Raise DataError if there are annotations of boxes and the folders are not those of classes."""
    classes = {parts[0].lower() for parts in inside}
    if len(classes) > 1 and not classes & NOT_CLASSES:
        return
    for name, pattern in DETECTION.items():
        if found := next((key for key in others if pattern.fullmatch(key)), None):
            raise DataError(
                f"{uri} is a dataset for detection ({name}: {found}), and its folders are not classes; export it for "
                f"classification, or name the class of each image with --labels; {EXPECTED}"
            )


def _no_class_folder(images: Sequence[str], others: Sequence[str], uri: str) -> str:
    """Return the message for images that lie directly below the prefix or below folders of splits."""
    table = next((key for key in others if key.lower().endswith(TABLES) and key.count("/") < 2), None)
    advice = f"; if {table} names their classes, add --labels {table.rpartition('/')[2]}" if table else ""
    found = pluralize(len(images), "image")
    return f"{found} of {uri} in no class folder ({shorten_list(images)}): {EXPECTED}{advice}"


def _refuse_groups(inside: Collection[Sequence[str]], splits: set[str], uri: str) -> None:
    """Raise DataError if top folders hold folders of classes instead of images; log images in folders of a class."""
    direct: Counter[str] = Counter()
    nested: dict[str, Counter[str]] = defaultdict(Counter)
    for top, *rest in inside:
        if len(rest) == 1:
            direct[top] += 1
        else:
            nested[top]["/".join(rest[:-1])] += 1
    tops = direct.keys() | nested.keys()
    groups = {top for top, folders in nested.items() if folders.total() > direct[top] and len(folders) > 1}
    if _hold_one_class_each(direct, nested):
        groups |= tops
    top = min(groups, default="")
    if groups and len(tops) == 1:
        deepest = posixpath.commonpath(["/".join(parts[:-2]) for parts in inside if len(parts) > 2])
        advice = f"move the folders of {top} up, into the folders of the splits" if splits else f"name {uri}/{deepest}"
        some = shorten_list(sorted(nested[top]))
        raise DataError(f"the only folder with images in {uri}, {top}, holds folders ({some}): {advice}")
    if groups:
        advice = f"give {uri}/{top} as --raw, or move them up beside the others" if len(groups) == 1 else "move them up"
        raise DataError(
            f"folders of {uri} hold folders of images, as {top} does ({shorten_list(sorted(nested[top]))}): if these "
            f"are the classes, {advice}, or name the class of each image with --labels; {EXPECTED}"
        )
    if deep := sum(folders.total() for folders in nested.values()):
        some = shorten_list(sorted(f"{top}/{folder}" for top, folders in nested.items() for folder in folders))
        log.warning("images in folders of a class folder take its class: %d (in %s)", deep, some)


def _hold_one_class_each(direct: Counter[str], nested: Mapping[str, Counter[str]]) -> bool:
    """Tell whether each top folder holds one folder and no image, all of different names."""
    names = [min(folders) for folders in nested.values() if len(folders) == 1]
    return not direct.total() and len(names) == len(nested) == len(set(names))


def _refuse_parts(tops: Collection[str], uri: str) -> None:
    """Raise DataError if every top folder is called like a split or a part of a dataset, `seg_train` for example."""
    parts = [top for top in tops if _is_part(top)]
    if len(tops) > 1 and len(parts) == len(tops):
        raise DataError(
            f"the folders of {uri} ({shorten_list(sorted(tops))}) are parts of a dataset and not classes: {EXPECTED}; "
            "rename them to train, validation and test, or name the class of each image with --labels"
        )


def _check_splits(folders: set[str], uri: str) -> None:
    found = {split_of(folder) for folder in folders}
    if TRAIN not in found:
        raise DataError(
            f"{uri} has the splits {shorten_list(sorted(folders))} but none to train on; {EXPECTED}, with a split train"
        )
