"""Files in memory as a source, and groups of duplicates."""

from dogbreed.data.duplicate_groups import DuplicateGroup, DuplicateMember
from dogbreed.data.raw import SourceImage


class FileSource:
    """A source in memory: the files by key; class and published split are the key's first two parts."""

    digest = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.images = [SourceImage(key, key.split("/")[0], key.split("/")[1]) for key in sorted(files)]

    def read(self, image: SourceImage) -> bytes:
        return self.files[image.source_id]


def group(representative: str, *members: tuple[str, str], chain: str = "") -> DuplicateGroup:
    """Return a group, of a chain of its own unless another one is given; members are (source id, kind)."""
    found = tuple(DuplicateMember(source_id, kind) for source_id, kind in members)
    return DuplicateGroup(representative, found, chain or representative)


def near(*source_ids: str, chain: str = "") -> DuplicateGroup:
    """Return a group of near-duplicates, the first of which is the representative."""
    return group(source_ids[0], *((source_id, "near") for source_id in source_ids[1:]), chain=chain)
