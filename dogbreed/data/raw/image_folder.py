"""Images as files: <class>/<image>, optionally below folders of splits, or with a table that names their classes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.census import READERS, TABLE, Ignored, find_images, no_image
from dogbreed.data.raw.labels import NO_ROW, LabelsOption, read_labels
from dogbreed.data.raw.layout import Place, read_layout, split_of
from dogbreed.data.splits import TEST

NO_CLASS_FOLDER = "image in no class folder"
UNLABELLED_TEST = "image of a test folder without classes"


class ImageFolder:
    """The images below `raw`; see dogbreed.data.raw.Source.

    The source id of an image is its path; its class and split come from there, or from the tables of `labels`. There
    are no boxes: whole images are used.
    """

    def __init__(self, raw: Store, labels: LabelsOption | None = None) -> None:
        self._raw, self.ignored = raw, Ignored()
        keys = [info.key for info in find_images(raw, self.ignored)]
        if not keys:
            raise NotFound(no_image(raw, self.ignored, "--raw"))
        places = self._places(keys, labels)
        self.images = [SourceImage(key, places[key].class_name, places[key].split) for key in keys if key in places]
        self._sha256 = dict(self._hashes())
        table = {key: [sha256, places[key].class_name, places[key].split] for key, sha256 in self._sha256.items()}
        self.digest = canonical_json.digest(table if labels else self._sha256)

    def _places(self, keys: Sequence[str], labels: LabelsOption | None) -> dict[str, Place]:
        """Return the place of each image that has one; the others are ignored."""
        others = sorted(key for names in self.ignored.names.values() for key in names)
        if labels is None:
            places = read_layout(keys, others, self._raw.uri)
            self._ignore_unplaced(keys, places, dict.fromkeys(keys, NO_CLASS_FOLDER))
            return places
        found = read_labels(self._raw, labels, keys, others)
        self.ignored.move(found.tables, TABLE)
        for row, reason in found.unused_rows:
            self.ignored.add_row(row.file, reason)
        self._ignore_unplaced(keys, found.places, found.reasons)
        return found.places

    def _ignore_unplaced(self, keys: Sequence[str], places: dict[str, Place], reasons: dict[str, str]) -> None:
        """Ignore the images without a place; a test folder of which none has one was published without classes."""
        labelled = {key.split("/")[0] for key in places}
        for key in keys:
            if key in places:
                continue
            folder = key.split("/")[0]
            is_test = split_of(folder) == TEST and folder not in labelled
            if is_test and reasons[key] in (NO_ROW, NO_CLASS_FOLDER):
                self.ignored.add(key, UNLABELLED_TEST)
            else:
                self.ignored.add(key, reasons[key], is_image=True)

    def _hashes(self) -> Iterator[tuple[str, str]]:
        with ThreadPoolExecutor(READERS) as pool:
            hashes = pool.map(lambda image: sha256_hex(self._raw.read(image.source_id)), self.images)
            names = (image.source_id for image in self.images)
            yield from progress(zip(names, hashes, strict=True), "index", len(self.images))

    def read(self, image: SourceImage) -> bytes:
        data = self._raw.read(image.source_id)
        if sha256_hex(data) != self._sha256[image.source_id]:
            raise CorruptData(
                f"{self._raw.uri_of(image.source_id)} has changed since it was indexed; run the job again"
            )
        return data
