"""The dataset contract: manifest.json, the shards that it names, and how both are committed."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dogbreed.data.sealed import canonical, sealed, sha256, unsealed
from dogbreed.data.split import SPLITS
from dogbreed.platform.errors import (
    DamagedData,
    DataContradiction,
    ImpossibleHere,
    MissingManifest,
    MissingObject,
    UnknownName,
)
from dogbreed.platform.log import progress
from dogbreed.platform.storage import FolderStore, Store

FORMAT = 2  # raised by hand whenever the same options give other bytes
MANIFEST = "manifest.json"
DOWNLOADS = 4  # shards at a time
CACHE_LIMIT = 20 << 30  # bytes: forty times the whole dataset at 224 px, half of a small node's disk


@dataclass(frozen=True)
class Shard:
    """One object: key below the prefix, SHA-256, bytes and number of records."""

    key: str
    sha256: str
    bytes: int
    records: int


@dataclass(frozen=True, order=True)
class Rejected:
    """A photo that cannot be used, and why."""

    key: str
    reason: str


@dataclass(frozen=True, order=True)
class Copy:
    """Two photos that are copies; `kind` is file, pixels or near."""

    key: str
    other: str
    kind: str


@dataclass(frozen=True)
class Part:
    """What became of one planned shard: the object, or None when no photo was usable."""

    split: str
    shard: Shard | None
    photos: int
    quarantine: tuple[Rejected, ...] = ()

    def to_json(self) -> bytes:
        """Return the file's content; equal objects give the same bytes."""
        return sealed(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> "Part":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = unsealed(data)
        shard = content["shard"] and Shard(**content["shard"])
        quarantine = tuple(Rejected(**entry) for entry in content["quarantine"])
        return cls(content["split"], shard, content["photos"], quarantine)


@dataclass(frozen=True)
class Split:
    """The shards and the number of photos of train, validation or test."""

    photos: int
    shards: tuple[Shard, ...]

    @property
    def records(self) -> int:
        """Number of records: more than photos when each box became one."""
        return sum(shard.records for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """Everything that determines the dataset's bytes, and nothing else."""

    format: int | str
    options: dict[str, Any]
    source: str  # digest of the raw archives
    versions: dict[str, str]  # of decoder and resizer
    classes: tuple[str, ...]  # a label is a position in here
    splits: dict[str, Split]
    quarantine: tuple[Rejected, ...]
    dropped: dict[str, int]  # photos that were left out, by reason
    copies: tuple[Copy, ...]  # pairs of photos that are copies of one another

    def to_json(self) -> bytes:
        """Return the file's content, `digest` included; equal objects give the same bytes."""
        return sealed(asdict(self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return sha256(canonical(asdict(self)))

    @property
    def config_id(self) -> str:
        """Hash of what was asked for, known before any photo is read."""
        return config_id(self.format, self.options, self.source, self.versions)

    def summary(self) -> dict[str, Any]:
        """Return digest, photos written, quarantined and dropped, and photos by split."""
        splits = {name: self.splits[name].photos for name in SPLITS if name in self.splits}
        return {
            "digest": self.digest,
            "written": sum(splits.values()),
            "quarantined": len(self.quarantine),
            "dropped": sum(self.dropped.values()),
            "splits": splits,
        }

    def counts(self) -> dict[str, float]:
        """Return what became of all photos as numbers by name, for a run's metrics."""
        photos = {f"photos_{name}": split.photos for name, split in self.splits.items()}
        sizes = {f"bytes_{name}": sum(s.bytes for s in split.shards) for name, split in self.splits.items()}
        dropped = {f"dropped_{reason.replace(' ', '_')}": count for reason, count in self.dropped.items()}
        copies = Counter(f"copies_{copy.kind}" for copy in self.copies)
        shards = sum(len(split.shards) for split in self.splits.values())
        per_photo = sum(sizes.values()) / max(1, sum(photos.values()))
        single = {"quarantined": len(self.quarantine), "shards": shards, "bytes_per_photo": per_photo}
        counts = {**photos, **sizes, **dropped, **copies, **single}
        return {name: float(count) for name, count in counts.items()}

    def split(self, name: str) -> Split:
        """Return the named split; UnknownName when the dataset has none of that name."""
        if name not in self.splits:
            raise UnknownName(f"no split {name!r} in the dataset; it has {', '.join(self.splits)}")
        return self.splits[name]

    def filled(self, name: str) -> Split:
        """Return the named split; DataContradiction when it has no photo."""
        split = self.split(name)
        if not split.records:
            raise DataContradiction(f"the dataset has no {name} photos; preprocess more photos of each breed")
        return split

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = unsealed(data)
        splits = {
            name: Split(split["photos"], tuple(Shard(**shard) for shard in split["shards"]))
            for name, split in content.pop("splits").items()
        }
        quarantine = tuple(Rejected(**entry) for entry in content.pop("quarantine"))
        copies = tuple(Copy(**entry) for entry in content.pop("copies"))
        content["classes"] = tuple(content["classes"])
        return cls(**content, splits=splits, quarantine=quarantine, copies=copies)


def config_id(format: int | str, options: dict[str, Any], source: str, versions: dict[str, str]) -> str:
    """Return 16 hexadecimal digits that name one configuration over one source."""
    return sha256(canonical([format, options, source, versions]))[:16]


def load_manifest(store: Store, format: int | str = FORMAT) -> Manifest:
    """Read manifest.json; MissingManifest when there is none, DamagedData when it cannot be read.

    DataContradiction when it is of another format.
    """
    try:
        data = store.read(MANIFEST)
    except MissingObject as error:
        raise MissingManifest(
            f"{store.uri} holds no {MANIFEST}; run jobs.preprocess --out {store.uri} first, or wait for it"
        ) from error
    try:
        content = json.loads(data)
        if content["format"] != format:  # before a field that another format names otherwise
            raise DataContradiction(
                f"{store.at(MANIFEST)} has format {content['format']}, this version reads {format} there; "
                "name another prefix, or preprocess to one"
            )
        return Manifest.from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedData(f"{store.at(MANIFEST)} is damaged ({error!r}); write to another --out") from error


def commit_shard(store: Store, data: bytes, records: int, suffix: str = "tfrecord") -> Shard:
    """Put a shard under its own hash and return its entry."""
    digest = sha256(data)
    shard = Shard(f"shards/{digest}.{suffix}", digest, len(data), records)
    store.commit(shard.key, data)
    return shard


def read_verified(store: Store, shard: Shard) -> bytes:
    """Return a shard's bytes; DamagedData when they are not what the manifest says."""
    data = store.read(shard.key)
    _verify(store.at(shard.key), shard, data)
    return data


def local_shards(store: Store, shards: Sequence[Shard], cache: Path, limit: int = CACHE_LIMIT) -> list[Path]:
    """Return a verified local file for each shard: a folder's own, or a copy in `cache`.

    `limit` bounds the copies in bytes; ImpossibleHere when they would not fit, DamagedData when a shard
    is not what the manifest says.
    """
    needed = 0 if store.local_path("") else sum(shard.bytes for shard in shards)
    if needed > limit:
        raise ImpossibleHere(
            f"the shards at {store.uri} have {needed >> 20} MiB, the local cache may take {limit >> 20} MiB; "
            "preprocess at a smaller --size or with fewer photos"
        )
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = pool.map(lambda shard: _local_shard(store, shard, cache), shards)
        return list(progress(paths, "verify", len(shards), unit="shard"))


def _local_shard(store: Store, shard: Shard, cache: Path) -> Path:
    own = store.local_path(shard.key)
    path = own or cache / f"{shard.sha256}.tfrecord"
    if own is None and not path.exists():
        FolderStore(cache).commit(path.name, read_verified(store, shard))
    else:
        _verify(str(path), shard, path.read_bytes() if path.is_file() else b"")
    return path


def _verify(where: str, shard: Shard, data: bytes) -> None:
    if len(data) != shard.bytes or sha256(data) != shard.sha256:
        raise DamagedData(f"{where} is not what {MANIFEST} says; delete it and run jobs.preprocess again")
