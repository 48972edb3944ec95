"""The dataset contract: manifest.json, the shards that it names, and how both are committed.

Every type that is persisted names its keys in `to_dict`; a Python name may change, a key only with FORMAT.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import dumps_with_digest, loads_verified, sha256_hex, short_id
from dogbreed.core.errors import CorruptData, DataError, EnvironmentUnsupported, ManifestNotFound, NotFound, UsageError
from dogbreed.core.log import progress
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data.class_names import wordnet_id
from dogbreed.data.splits import SPLITS

FORMAT = 3  # raised by hand whenever the same configuration gives other bytes
MANIFEST = "manifest.json"
DOWNLOADS = 4  # shards at a time
CACHE_LIMIT = 20 << 30  # bytes: forty times the whole dataset at 224 px, half of a small node's disk


@dataclass(frozen=True)
class Shard:
    """One object: key below the prefix, SHA-256, bytes and number of examples."""

    key: str
    sha256: str
    bytes: int
    num_examples: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest or of a shard result."""
        return {"key": self.key, "sha256": self.sha256, "bytes": self.bytes, "num_examples": self.num_examples}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Shard":
        """Return what `to_dict` was made of."""
        return cls(entry["key"], entry["sha256"], entry["bytes"], entry["num_examples"])


@dataclass(frozen=True, order=True)
class QuarantinedImage:
    """An image that cannot be used, and why."""

    source_id: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest or of a shard result."""
        return {"source_id": self.source_id, "reason": self.reason}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "QuarantinedImage":
        """Return what `to_dict` was made of."""
        return cls(entry["source_id"], entry["reason"])


@dataclass(frozen=True, order=True)
class DuplicatePair:
    """Two images that are duplicates; `kind` is file (equal bytes), pixels (equal pixels) or near."""

    source_id: str
    other: str
    kind: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest or of duplicates.json."""
        return {"source_id": self.source_id, "other": self.other, "kind": self.kind}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "DuplicatePair":
        """Return what `to_dict` was made of."""
        return cls(entry["source_id"], entry["other"], entry["kind"])


@dataclass(frozen=True)
class ShardResult:
    """What became of one planned shard: the object, or None when no image was usable."""

    split: str
    shard: Shard | None
    num_images: int
    quarantine: tuple[QuarantinedImage, ...] = ()

    def to_json(self) -> bytes:
        """Return the file's content; equal objects give the same bytes."""
        return dumps_with_digest(
            {
                "split": self.split,
                "shard": self.shard and self.shard.to_dict(),
                "num_images": self.num_images,
                "quarantine": [entry.to_dict() for entry in self.quarantine],
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "ShardResult":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = loads_verified(data)
        shard = content["shard"] and Shard.from_dict(content["shard"])
        quarantine = tuple(map(QuarantinedImage.from_dict, content["quarantine"]))
        return cls(content["split"], shard, content["num_images"], quarantine)


@dataclass(frozen=True)
class Split:
    """The shards and the number of images of train, validation or test."""

    num_images: int
    shards: tuple[Shard, ...]

    @property
    def num_examples(self) -> int:
        """Number of examples: more than images when each box became one."""
        return sum(shard.num_examples for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a manifest."""
        return {
            "num_images": self.num_images,
            "num_examples": self.num_examples,
            "shards": [shard.to_dict() for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Split":
        """Return what `to_dict` was made of."""
        return cls(entry["num_images"], tuple(map(Shard.from_dict, entry["shards"])))


@dataclass(frozen=True)
class Manifest:
    """Everything that determines the dataset's bytes, and nothing else."""

    format: int | str
    config: dict[str, Any]
    source_digest: str  # of the raw images
    versions: dict[str, str]  # of decoder and resizer
    classes: tuple[str, ...]  # a label is a position in here
    splits: dict[str, Split]
    quarantine: tuple[QuarantinedImage, ...]
    excluded: dict[str, int]  # images that were left out, by reason
    duplicates: tuple[DuplicatePair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of manifest.json without its digest."""
        return {
            "format": self.format,
            "config": self.config,
            "source_digest": self.source_digest,
            "versions": self.versions,
            "classes": classes_to_list(self.classes),
            "splits": {name: split.to_dict() for name, split in self.splits.items()},
            "quarantine": [entry.to_dict() for entry in self.quarantine],
            "excluded": self.excluded,
            "duplicates": [pair.to_dict() for pair in self.duplicates],
        }

    def to_json(self) -> bytes:
        """Return the file's content, `digest` included; equal objects give the same bytes."""
        return dumps_with_digest(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return canonical_json.digest(self.to_dict())

    @property
    def config_id(self) -> str:
        """Hash of what was asked for, known before any image is read."""
        return config_id(self.format, self.config, self.source_digest, self.versions)

    def summary(self) -> dict[str, Any]:
        """Return digest, images written, quarantined and excluded, and images by split."""
        splits = {name: self.splits[name].num_images for name in SPLITS if name in self.splits}
        return {
            "digest": self.digest,
            "written": sum(splits.values()),
            "quarantined": len(self.quarantine),
            "excluded": sum(self.excluded.values()),
            "splits": splits,
        }

    def metrics(self) -> dict[str, float]:
        """Return what became of all images as numbers by name, for a run's metrics."""
        images = {f"images_{name}": split.num_images for name, split in self.splits.items()}
        sizes = {f"bytes_{name}": sum(s.bytes for s in split.shards) for name, split in self.splits.items()}
        excluded = {f"excluded_{reason.replace(' ', '_')}": count for reason, count in self.excluded.items()}
        duplicates = Counter(f"duplicate_pairs_{pair.kind}" for pair in self.duplicates)
        shards = sum(len(split.shards) for split in self.splits.values())
        per_image = sum(sizes.values()) / max(1, sum(images.values()))
        single = {"quarantined": len(self.quarantine), "shards": shards, "bytes_per_image": per_image}
        counts = {**images, **sizes, **excluded, **duplicates, **single}
        return {name: float(count) for name, count in counts.items()}

    def split(self, name: str) -> Split:
        """Return the named split; UsageError when the dataset has none of that name."""
        if name not in self.splits:
            raise UsageError(f"no split {name!r} in the dataset; it has {', '.join(self.splits)}")
        return self.splits[name]

    def require_nonempty(self, name: str) -> Split:
        """Return the named split; DataError when it has no example."""
        split = self.split(name)
        if not split.num_examples:
            raise DataError(f"the dataset has no {name} images; preprocess more images of each class")
        return split

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = loads_verified(data)
        return cls(
            format=content["format"],
            config=content["config"],
            source_digest=content["source_digest"],
            versions=content["versions"],
            classes=classes_from_list(content["classes"]),
            splits={name: Split.from_dict(split) for name, split in content["splits"].items()},
            quarantine=tuple(map(QuarantinedImage.from_dict, content["quarantine"])),
            excluded=content["excluded"],
            duplicates=tuple(map(DuplicatePair.from_dict, content["duplicates"])),
        )


def classes_to_list(classes: Iterable[str]) -> list[dict[str, str | None]]:
    """Return the entries of a file, in label order: name and, where the name has one, WordNet id."""
    return [{"name": name, "wordnet_id": wordnet_id(name)} for name in classes]


def classes_from_list(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what `classes_to_list` was given."""
    return tuple(entry["name"] for entry in entries)


def config_id(format: int | str, config: dict[str, Any], source_digest: str, versions: dict[str, str]) -> str:
    """Return 16 hexadecimal digits that name one configuration over one source."""
    return short_id([format, config, source_digest, versions])


def load_manifest(store: Store, format: int | str = FORMAT) -> Manifest:
    """Read manifest.json; ManifestNotFound when there is none, CorruptData when it cannot be read.

    DataError when it is of another format.
    """
    try:
        data = store.read(MANIFEST)
    except NotFound as error:
        raise ManifestNotFound(
            f"{store.uri} holds no {MANIFEST}; run jobs.preprocess --out {store.uri} first, or wait for it"
        ) from error
    try:
        content = json.loads(data)
        if content["format"] != format:  # before a key that another format names otherwise
            raise DataError(
                f"{store.uri_of(MANIFEST)} has format {content['format']}, this version reads {format}; "
                "write it again to another prefix with jobs.preprocess --out URI (predictions: jobs.predict --out URI)"
            )
        return Manifest.from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptData(f"{store.uri_of(MANIFEST)} is damaged ({error!r}); write to another --out") from error


def commit_shard(store: Store, data: bytes, num_examples: int, suffix: str = "tfrecord") -> Shard:
    """Put a shard under its own hash and return its entry."""
    digest = sha256_hex(data)
    shard = Shard(f"shards/{digest}.{suffix}", digest, len(data), num_examples)
    store.commit(shard.key, data)
    return shard


def read_verified(store: Store, shard: Shard) -> bytes:
    """Return a shard's bytes; CorruptData when they are not what the manifest says."""
    data = store.read(shard.key)
    _verify(store.uri_of(shard.key), shard, data)
    return data


def cache_shards(store: Store, shards: Sequence[Shard], cache: Path, limit: int = CACHE_LIMIT) -> list[Path]:
    """Return a verified local file for each shard: a folder's own, or a copy in `cache`.

    `limit` bounds the copies in bytes; EnvironmentUnsupported when they would not fit, CorruptData when a shard
    is not what the manifest says.
    """
    needed = 0 if store.local_path("") else sum(shard.bytes for shard in shards)
    if needed > limit:
        raise EnvironmentUnsupported(
            f"the shards at {store.uri} have {needed >> 20} MiB, the local cache may take {limit >> 20} MiB; "
            "preprocess at a smaller --size or with fewer images"
        )
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = pool.map(lambda shard: _cache_shard(store, shard, cache), shards)
        return list(progress(paths, "verify", len(shards), unit="shard"))


def _cache_shard(store: Store, shard: Shard, cache: Path) -> Path:
    own = store.local_path(shard.key)
    path = own or cache / f"{shard.sha256}.tfrecord"
    if own is None and not path.exists():
        LocalStore(cache).commit(path.name, read_verified(store, shard))
    else:
        _verify(str(path), shard, path.read_bytes() if path.is_file() else b"")
    return path


def _verify(where: str, shard: Shard, data: bytes) -> None:
    if len(data) != shard.bytes or sha256_hex(data) != shard.sha256:
        raise CorruptData(f"{where} is not what {MANIFEST} says; delete it and run jobs.preprocess again")
