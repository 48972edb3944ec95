"""The manifest of a dataset: classes, splits, shards, quarantine, duplicates, and the digest that identifies it.

Every type that is persisted names its keys in `to_dict`; a Python name may change, a key only with FORMAT.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import dumps_with_digest, loads_verified, short_id
from dogbreed.core.errors import CorruptData, DataError, ManifestNotFound, NotFound, UsageError
from dogbreed.core.names import require_valid_name
from dogbreed.core.storage import Store, key_problem
from dogbreed.data.class_names import wordnet_id
from dogbreed.data.duplicate_groups import DuplicatesFile
from dogbreed.data.splits import SPLITS, describe_empty

FORMAT = 3  # raised by hand whenever the same configuration gives other bytes
MANIFEST = "manifest.json"


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
        """Return what `to_dict` was made of; ValueError for a key that could leave its folder."""
        _require_names("shard", [entry["key"]])
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


class ManifestSummary(TypedDict):
    """The part of a job's summary that describes a dataset; counts are of images."""

    name: str
    digest: str
    written: int
    quarantined: int
    excluded: int
    splits: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """The dataset's name and everything that determines its bytes, and nothing else."""

    format: int | str
    name: str  # of the dataset; of predictions: of the model's dataset
    config: dict[str, Any]
    source_digest: str  # of the raw images
    versions: dict[str, str]  # of decoder and resizer
    classes: tuple[str, ...]  # a label is a position in here
    splits: dict[str, Split]
    quarantine: tuple[QuarantinedImage, ...]
    excluded: dict[str, int]  # images that were left out, by reason
    duplicates: DuplicatesFile | None  # None if there are none

    def to_dict(self) -> dict[str, Any]:
        """Return the content of manifest.json without its digest."""
        return {
            "format": self.format,
            "name": self.name,
            "config": self.config,
            "source_digest": self.source_digest,
            "versions": self.versions,
            "classes": classes_to_list(self.classes),
            "splits": {name: split.to_dict() for name, split in self.splits.items()},
            "quarantine": [entry.to_dict() for entry in self.quarantine],
            "excluded": self.excluded,
            "duplicates": self.duplicates and self.duplicates.to_dict(),
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
        """Id of name, configuration and source, known before any image is read."""
        return config_id(self.format, self.name, self.config, self.source_digest, self.versions)

    def summary(self) -> ManifestSummary:
        """Return the part of a job's summary that describes the dataset."""
        splits = {name: self.splits[name].num_images for name in SPLITS if name in self.splits}
        return {
            "name": self.name,
            "digest": self.digest,
            "written": sum(splits.values()),
            "quarantined": len(self.quarantine),
            "excluded": sum(self.excluded.values()),
            "splits": splits,
        }

    def params(self) -> dict[str, Any]:
        """Return name and configuration, for the parameters of a run."""
        return {"name": self.name, **self.config}

    def metrics(self) -> dict[str, float]:
        """Return counts and bytes by name, for the metrics of a run."""
        images = {f"images_{name}": split.num_images for name, split in self.splits.items()}
        sizes = {f"bytes_{name}": sum(s.bytes for s in split.shards) for name, split in self.splits.items()}
        excluded = {f"excluded_{reason.replace(' ', '_')}": count for reason, count in self.excluded.items()}
        duplicates = self.duplicates.metrics() if self.duplicates else {}
        shards = sum(len(split.shards) for split in self.splits.values())
        per_image = sum(sizes.values()) / max(1, sum(images.values()))
        single = {"quarantined": len(self.quarantine), "shards": shards, "bytes_per_image": per_image}
        counts = {**images, **sizes, **excluded, **duplicates, **single}
        return {name: float(count) for name, count in counts.items()}

    def split(self, name: str) -> Split:
        """Return the named split; UsageError if the dataset has none of that name."""
        if name not in self.splits:
            raise UsageError(f"no split {name!r} in the dataset; it has {', '.join(self.splits)}")
        return self.splits[name]

    def require_nonempty(self, name: str) -> Split:
        """Return the named split; DataError if it has no example."""
        split = self.split(name)
        if not split.num_examples:
            raise DataError(describe_empty(name, self.config.get("split", "")))
        return split

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = loads_verified(data)
        classes = classes_from_list(content["classes"])
        _require_names("class", classes)
        _require_names("split", content["splits"])
        return cls(
            format=content["format"],
            name=require_valid_name(content["name"]),
            config=content["config"],
            source_digest=content["source_digest"],
            versions=content["versions"],
            classes=classes,
            splits={name: Split.from_dict(split) for name, split in content["splits"].items()},
            quarantine=tuple(map(QuarantinedImage.from_dict, content["quarantine"])),
            excluded=content["excluded"],
            duplicates=content["duplicates"] and DuplicatesFile.from_dict(content["duplicates"]),
        )


def _require_names(kind: str, names: Iterable[str]) -> None:
    """Raise ValueError for a name that could leave a folder once it is part of a path."""
    for name in names:
        if problem := key_problem(name):
            raise ValueError(f"the {kind} {name!r} {problem}")


def classes_to_list(classes: Iterable[str]) -> list[dict[str, str | None]]:
    """Return the entries of a file, in label order: name and, where the name has one, WordNet id."""
    return [{"name": name, "wordnet_id": wordnet_id(name)} for name in classes]


def classes_from_list(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what `classes_to_list` was given."""
    return tuple(entry["name"] for entry in entries)


def config_id(
    format: int | str, name: str, config: dict[str, Any], source_digest: str, versions: dict[str, str]
) -> str:
    """Return 16 hexadecimal digits that identify one configuration over one source, under one name."""
    return short_id([format, name, config, source_digest, versions])


def load_manifest(store: Store, format: int | str = FORMAT) -> Manifest:
    """Read manifest.json.

    Raises:
        ManifestNotFound: there is none (yet).
        CorruptData: it cannot be read.
        DataError: it has another format.
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
