"""members.json beside the archives: their hashes, and the offset of each image in images.tar."""

from dataclasses import dataclass, replace
from typing import Any

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import CorruptData
from dogbreed.core.storage import Store
from dogbreed.data.raw.archive import Archive, Member, index

IMAGES, ANNOTATION, LISTS = "images.tar", "annotation.tar", "lists.tar"
ARCHIVES = (IMAGES, ANNOTATION, LISTS)
MEMBERS = "members.json"
PUBLISHED = {
    IMAGES: Archive(793_579_520, "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"),
    ANNOTATION: Archive(21_852_160, "662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd"),
    LISTS: Archive(481_280, "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c"),
}


@dataclass(frozen=True)
class ArchiveIndex:
    """The content of members.json: the three archives, images.tar with the names of all its members."""

    archives: dict[str, Archive]

    @property
    def published(self) -> bool:
        """Whether these are the published archives."""
        return all(is_same_archive(self.archives[name], PUBLISHED[name]) for name in ARCHIVES)

    def to_json(self) -> bytes:
        """Return the file's content; unchanged archives give the same bytes."""
        images = self.archives[IMAGES]
        content: dict[str, Any] = {
            "archives": {name: {"bytes": a.bytes, "sha256": a.sha256} for name, a in self.archives.items()},
            "members": [member.to_dict() for member in images.members],
        }
        if images.skipped:
            content["skipped"] = list(images.skipped)
        return dumps_with_digest(content)

    @classmethod
    def from_json(cls, data: bytes) -> "ArchiveIndex":
        """Return what `to_json` was made of; KeyError, TypeError or ValueError for anything else."""
        content = loads_verified(data)
        entries = content["archives"]
        archives = {name: Archive(entries[name]["bytes"], entries[name]["sha256"]) for name in ARCHIVES}
        members = tuple(map(Member.from_dict, content["members"]))
        archives[IMAGES] = replace(archives[IMAGES], members=members, skipped=tuple(content.get("skipped", ())))
        return cls(archives)


def is_same_archive(archive: Archive, other: Archive) -> bool:
    """Tell whether two archives have the same length and content."""
    return (archive.bytes, archive.sha256) == (other.bytes, other.sha256)


def build_index(raw: Store) -> ArchiveIndex:
    """Read the archives at `raw` and return their index."""
    return ArchiveIndex({name: index(raw, name) for name in ARCHIVES})


def load_index(raw: Store) -> ArchiveIndex | None:
    """Return the index that jobs.fetch wrote to `raw`, None if there is none.

    Raises:
        CorruptData: the index cannot be read, or an archive has another length than in it.
    """
    if raw.size(MEMBERS) is None:
        return None
    try:
        archive_index = ArchiveIndex.from_json(raw.read(MEMBERS))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(f"{raw.uri_of(MEMBERS)} is damaged ({error!r}); delete it and run jobs.fetch") from error
    for name, archive in archive_index.archives.items():
        size = raw.size(name)
        if size is not None and size != archive.bytes:
            raise CorruptData(
                f"{raw.uri_of(name)} has {size} bytes, {archive.bytes} in {MEMBERS}; "
                "delete whichever is wrong and run jobs.fetch"
            )
    return archive_index
