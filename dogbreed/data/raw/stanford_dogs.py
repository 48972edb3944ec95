"""The published Stanford Dogs archives: images.tar, annotation.tar and, for the official split, lists.tar.

Layout: http://vision.stanford.edu/aditya86/ImageNetDogs/ (Khosla et al., FGVC workshop, CVPR 2011).
"""

import re
import unicodedata
from pathlib import PurePosixPath

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, DataError
from dogbreed.core.storage import Store
from dogbreed.core.storage.walk import NOT_A_FILE
from dogbreed.data.boxes import Box, InvalidAnnotation, parse_voc
from dogbreed.data.class_names import strip_synset
from dogbreed.data.image_formats import HEAD
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.archive import Archive, Member, index
from dogbreed.data.raw.archive_index import (
    ANNOTATION,
    ARCHIVES,
    IMAGES,
    LISTS,
    MEMBERS,
    ArchiveIndex,
    is_same_archive,
    load_index,
)
from dogbreed.data.raw.census import HIDDEN, Ignored, check_utf8, classify, ignore_other_files, is_hidden
from dogbreed.data.raw.matlab import read_matlab
from dogbreed.data.splits import TEST, TRAIN

# archives of other datasets may begin with ./ or with a folder of their own
ROOT = r"(?:\./)*(?:[^/]+/)?"
IMAGE = re.compile(ROOT + r"Images/(?P<key>[^/]+/[^/]+?)(\.[^./]+)?")
XML = re.compile(ROOT + r"Annotations?/(?P<key>(?P<class>[^/]+)/[^/]+?)(\.xml)?")
SPLIT_OF_LIST = {"train_list.mat": TRAIN, "test_list.mat": TEST}
BOTH_LISTS = "file_list.mat"  # the union of these
LAYOUT = "outside the published layout"


class StanfordDogs:
    """The images of the three archives below `raw`; see dogbreed.data.raw.Source.

    Every key that the images, the annotations or the lists name becomes a SourceImage; one that lacks its counterpart
    gets an `invalid_reason`.
    """

    def __init__(self, raw: Store) -> None:
        self._raw, self.ignored = raw, Ignored()
        ignore_other_files(raw, (*ARCHIVES, MEMBERS), self.ignored)
        boxes: dict[str, tuple[Box, ...] | InvalidAnnotation] = {}
        archive_index = load_index(raw)
        archives = {IMAGES: archive_index.archives[IMAGES] if archive_index else index(raw, IMAGES)}
        archives[ANNOTATION] = index(raw, ANNOTATION, lambda name, xml: self._read_xml(boxes, name, xml))
        official: dict[str, str] = {}
        if raw.size(LISTS) is not None:
            archives[LISTS] = index(raw, LISTS, lambda name, mat: self._read_list(official, name, mat))
        _compare(raw, archives, archive_index)
        for archive in archives.values():
            for name in archive.skipped:
                self.ignored.add(name, NOT_A_FILE)
        self._members = self._find_images(archives[IMAGES])
        self.digest = canonical_json.digest({name: archive.sha256 for name, archive in archives.items()})
        keys = sorted(self._members.keys() | boxes.keys() | official.keys())
        check_utf8(raw.uri, keys)
        self.images = [self._source_image(key, boxes.get(key), official) for key in keys]

    def _find_images(self, images: Archive) -> dict[str, Member]:
        """Return the members that are images of a class, by source id; the others are ignored."""

        def read_head(member: Member) -> bytes:
            return self._raw.read_range(IMAGES, member.offset, min(member.size, HEAD))

        members: dict[str, Member] = {}
        names = [member.name.removeprefix("./") for member in images.members]
        kinds = classify(images.members, lambda member: member.name.removeprefix("./"), read_head)
        for member, name, kind in zip(images.members, names, kinds, strict=True):
            match = IMAGE.fullmatch(name)
            if kind != "image":
                self.ignored.add_kind(name, kind)
            elif match is None:
                self.ignored.add(name, f"{LAYOUT}: expected Images/<class>/<image>.jpg", is_image=True)
            elif (other := members.setdefault(_normalize(match["key"]), member)) is not member:
                raise DataError(f"{IMAGES} has two images of one name, {other.name} and {member.name}; rename one")
        return members

    def _read_xml(self, boxes: dict[str, tuple[Box, ...] | InvalidAnnotation], name: str, xml: bytes) -> None:
        match = XML.fullmatch(name)
        if match is None or is_hidden(name.removeprefix("./")):
            self.ignored.add(name, HIDDEN if match else f"{LAYOUT}: expected Annotation/<class>/<image>")
            return
        key = _normalize(match["key"])
        if key in boxes:
            raise DataError(f"{name} occurs twice in {ANNOTATION}; fetch the archive again")
        try:
            boxes[key] = parse_voc(xml, strip_synset(match["class"]))
        except InvalidAnnotation as error:
            boxes[key] = error

    def _read_list(self, official: dict[str, str], name: str, mat: bytes) -> None:
        file = PurePosixPath(name).name
        if file in SPLIT_OF_LIST:
            _read_list(official, name, SPLIT_OF_LIST[file], mat)
        elif file != BOTH_LISTS:
            self.ignored.add(
                name, HIDDEN if is_hidden(name.removeprefix("./")) else f"{LAYOUT}: expected lists of images"
            )

    def _source_image(
        self, key: str, boxes: tuple[Box, ...] | InvalidAnnotation | None, official: dict[str, str]
    ) -> SourceImage:
        invalid_reason = None
        if key not in self._members:
            invalid_reason = "no image in images.tar"
        elif boxes is None:
            invalid_reason = "no annotation"
        elif isinstance(boxes, InvalidAnnotation):
            invalid_reason = str(boxes)
        elif official and key not in official:
            invalid_reason = "in neither train_list nor test_list"
        parsed = boxes if isinstance(boxes, tuple) else ()
        return SourceImage(key, key.split("/")[0], official.get(key), parsed, invalid_reason)

    def read(self, image: SourceImage) -> bytes:
        member = self._members[image.source_id]
        data = self._raw.read_range(IMAGES, member.offset, member.size)
        if sha256_hex(data) != member.sha256:
            raise CorruptData(
                f"{member.name} in {self._raw.uri_of(IMAGES)} differs from its index; delete the archive and run "
                f"jobs.fetch"
            )
        return data


def _compare(raw: Store, archives: dict[str, Archive], archive_index: ArchiveIndex | None) -> None:
    """Raise CorruptData if an archive that was read is not the one in members.json."""
    for name, archive in archives.items():
        if archive_index and not is_same_archive(archive, archive_index.archives[name]):
            raise CorruptData(
                f"{raw.uri_of(name)} is not the archive that {MEMBERS} describes; "
                "delete whichever is wrong and run jobs.fetch"
            )


def _normalize(key: str) -> str:
    """Return a name in NFC: the archives may have been made on different systems."""
    return unicodedata.normalize("NFC", key)


def _read_list(official: dict[str, str], name: str, split: str, mat: bytes) -> None:
    """Add the keys of a list of images.

    Raises:
        DataError: a label belongs to two breeds, or a breed to two labels.
    """
    try:
        content = read_matlab(mat)
        keys = [_normalize(str(name).removesuffix(".jpg")) for name in content["file_list"]]
        pairs = {(label, key.split("/")[0]) for key, label in zip(keys, content["labels"], strict=True)}
    except (ValueError, KeyError) as error:
        raise CorruptData(f"{name} in {LISTS} is damaged ({error!r}); delete it and run jobs.fetch") from error
    if not len(pairs) == len({label for label, _ in pairs}) == len({breed for _, breed in pairs}):
        raise DataError(f"the labels of {name} in {LISTS} contradict its file names; fetch the archive again")
    for key in keys:
        if official.setdefault(key, split) != split:
            raise DataError(f"{key} is in the train list and in the test list")
