"""Groups of duplicates: a representative and its members, in one object of their own that the manifest names.

The manifest would otherwise grow with the images of a group: ten thousand copies of one placeholder have a megabyte.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified, sha256_hex
from dogbreed.core.errors import CorruptData
from dogbreed.core.storage import Store


@dataclass(frozen=True)
class DuplicateMember:
    """A duplicate of its group's representative; `kind` is file (equal bytes), pixels (equal pixels) or near."""

    source_id: str
    kind: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a group."""
        return {"source_id": self.source_id, "kind": self.kind}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "DuplicateMember":
        """Return what `to_dict` was made of."""
        return cls(entry["source_id"], entry["kind"])


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are duplicates of one another; a chain is a set of groups that near-duplicates connect."""

    representative: str  # source id
    members: tuple[DuplicateMember, ...]  # the others; none only in a chain of several groups
    chain: str  # first image of the chain's first group
    divided: bool = False  # whether images of the chain may be in different splits

    @property
    def source_ids(self) -> list[str]:
        """All images of the group, the representative first."""
        return [self.representative, *(member.source_id for member in self.members)]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a file of groups."""
        members = [member.to_dict() for member in self.members]
        return {
            "representative": self.representative,
            "members": members,
            "chain": self.chain,
            "divided": self.divided,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "DuplicateGroup":
        """Return what `to_dict` was made of."""
        members = tuple(map(DuplicateMember.from_dict, entry["members"]))
        return cls(entry["representative"], members, entry["chain"], entry["divided"])


@dataclass(frozen=True)
class DuplicatesFile:
    """The object with all groups of a dataset, and its counts."""

    key: str
    sha256: str
    bytes: int
    groups: int
    divided: int  # groups
    members: dict[str, int]  # images without the representatives, by kind

    @classmethod
    def from_groups(cls, groups: Sequence[DuplicateGroup]) -> "DuplicatesFile":
        """Return the entry of the object that `commit_groups` writes."""
        data = _to_json(groups)
        sha256 = sha256_hex(data)
        members = Counter(member.kind for group in groups for member in group.members)
        divided = sum(group.divided for group in groups)
        return cls(f"duplicates/{sha256}.json", sha256, len(data), len(groups), divided, dict(members))

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest."""
        return {
            "key": self.key,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "groups": self.groups,
            "divided": self.divided,
            "members": self.members,
        }

    def metrics(self) -> dict[str, int]:
        """Return the counts by name, for the metrics of a run."""
        members = {f"duplicates_{kind}": count for kind, count in self.members.items()}
        return {"duplicate_groups": self.groups, "duplicate_groups_divided": self.divided, **members}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "DuplicatesFile":
        """Return what `to_dict` was made of."""
        counts = (entry["groups"], entry["divided"], entry["members"])
        return cls(entry["key"], entry["sha256"], entry["bytes"], *counts)


def commit_groups(store: Store, groups: Sequence[DuplicateGroup]) -> None:
    """Write the groups under their own SHA-256; nothing if there are none."""
    if groups:
        store.commit(DuplicatesFile.from_groups(groups).key, _to_json(groups))


def load_groups(store: Store, file: DuplicatesFile | None) -> tuple[DuplicateGroup, ...]:
    """Return the groups that a manifest names.

    Raises:
        NotFound: the object is missing.
        CorruptData: it differs from the manifest.
    """
    if file is None:
        return ()
    data = store.read(file.key)
    if sha256_hex(data) != file.sha256:
        raise CorruptData(
            f"{store.uri_of(file.key)} differs from the manifest; delete it and run jobs.preprocess again"
        )
    return tuple(map(DuplicateGroup.from_dict, loads_verified(data)["groups"]))


def _to_json(groups: Sequence[DuplicateGroup]) -> bytes:
    return dumps_with_digest({"groups": [group.to_dict() for group in groups]})
