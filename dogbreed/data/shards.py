"""From planned photos to committed shards: make each shard, finish with the manifest."""

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from dogbreed.data import image
from dogbreed.data.crops import crops
from dogbreed.data.dataset import FORMAT, MANIFEST, Copy, Manifest, Part, Rejected, Split, commit_shard, load_manifest
from dogbreed.data.image import BadPhoto
from dogbreed.data.leakage import Fingerprint, copies_among, fingerprints
from dogbreed.data.plan import PHOTOS_PER_SHARD, Plan
from dogbreed.data.records import Record, write_shard
from dogbreed.data.sealed import canonical, sealed, unsealed
from dogbreed.data.sources import Photo
from dogbreed.data.split import SPLITS, TRAIN
from dogbreed.platform.errors import DamagedData, DataContradiction, MissingManifest, MissingObject
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store

T = TypeVar("T")

log = logging.getLogger(__name__)


def find_copies_once(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[Copy]:
    """Return the pairs of copies among the plan's photos: what an earlier start has committed, or found now.

    All workers look at the photos together: each begins at another part of them and passes over what others have done.
    """
    key = plan.part_key("copies")
    try:
        return _parsed(out, key, lambda data: [Copy(**entry) for entry in unsealed(data)["copies"]])
    except MissingObject:
        copies = copies_among(plan.source, plan.photos, _fingerprints_of_all(plan, out, pool, index, workers))
        out.commit(key, sealed({"copies": [asdict(copy) for copy in copies]}))
        return copies


def _fingerprints_of_all(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None, workers: int
) -> dict[str, Fingerprint]:
    """Return key -> fingerprint of all photos, from parts that some worker has committed or that are made now."""
    photos = plan.photos
    parts = [photos[start : start + PHOTOS_PER_SHARD] for start in range(0, len(photos), PHOTOS_PER_SHARD)]
    first = random.randrange(len(parts)) if index is None else len(parts) * index // workers
    numbers = [*range(first, len(parts)), *range(first)]
    found = {
        number: _fingerprints(plan, number, parts[number], out, pool)
        for number in progress(numbers, "compare", len(numbers), unit="part")
    }
    return {key: print_ for number in range(len(parts)) for key, print_ in found[number].items()}


def _fingerprints(
    plan: Plan, number: int, photos: list[Photo], out: Store, pool: ThreadPoolExecutor
) -> dict[str, Fingerprint]:
    def parse(data: bytes) -> dict[str, Fingerprint]:
        return {name: Fingerprint(**entry) for name, entry in unsealed(data)["prints"].items()}

    key = plan.part_key(f"prints-{number}")
    try:
        return _parsed(out, key, parse)
    except MissingObject:
        prints = fingerprints(plan.source, photos, pool)
        out.commit(key, sealed({"prints": {key: asdict(found) for key, found in prints.items()}}))
        return prints


def make_shards(plan: Plan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Read, crop and commit those shards that are not there yet, each with its part.

    Yields the number of photos that were read for each shard: 0 for one that was there. While one shard is written the
    next one's photos are being cropped: two shards are in memory at most. A photo that cannot be used is quarantined.
    """
    ahead: tuple[int, Iterator[list[Record] | BadPhoto]] | None = None
    for number in numbers:
        if _is_made(plan, number, out):
            yield 0
            continue
        cropped = pool.map(partial(crops, plan), plan.shards[number][1])  # begins now
        if ahead:
            yield _commit(plan, out, *ahead)
        ahead = number, cropped
    if ahead:
        yield _commit(plan, out, *ahead)


def _is_made(plan: Plan, number: int, out: Store) -> bool:
    """Tell whether some worker has committed this shard's part, and what the part names is there."""
    try:
        part = _parsed(out, plan.part_key(number), Part.from_json)
    except MissingObject:
        return False
    return part.shard is None or out.size(part.shard.key) is not None


def _commit(plan: Plan, out: Store, number: int, cropped: Iterator[list[Record] | BadPhoto]) -> int:
    split, photos = plan.shards[number]
    records: list[Record] = []
    quarantine = []
    for photo, result in zip(photos, cropped, strict=True):
        if isinstance(result, BadPhoto):
            quarantine.append(Rejected(photo.key, str(result)))
        else:
            records += result
    shard = commit_shard(out, write_shard(records), len(records)) if records else None
    part = Part(split, shard, len(photos) - len(quarantine), tuple(quarantine))
    out.commit(plan.part_key(number), part.to_json())
    return len(photos)


def finish(plan: Plan, out: Store, max_quarantined: float) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing.

    Raises DataContradiction when more than `max_quarantined` (a fraction of all photos) cannot be used
    or a breed has no photo left to train on.
    """
    try:
        parts = [_parsed(out, plan.part_key(number), Part.from_json) for number in range(len(plan.shards))]
    except MissingObject:
        return None
    if len(named := [part.shard.key for part in parts if part.shard]) > len(set(named)):
        raise DamagedData(f"two parts of {plan.config_id} at {out.uri} name the same shard; delete _parts/ there")
    manifest = _manifest(plan, parts)
    _judge_quarantine(plan, manifest, max_quarantined)
    _judge_breeds(plan, manifest)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _parsed(out: Store, key: str, parse: Callable[[bytes], T]) -> T:
    data = out.read(key)
    try:
        return parse(data)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{out.at(key)} is damaged ({error!r}); delete it and run the job again") from error


def _manifest(plan: Plan, parts: list[Part]) -> Manifest:
    splits = {}
    for name in SPLITS:
        own = [part for part in parts if part.split == name]
        splits[name] = Split(sum(p.photos for p in own), tuple(p.shard for p in own if p.shard))
    quarantine = sorted([*plan.quarantine, *(entry for part in parts for entry in part.quarantine)])
    return Manifest(
        format=FORMAT,
        options=json.loads(canonical(asdict(plan.options))),  # tuples become lists, as in the file
        source=plan.source.digest,
        versions=image.versions(),
        classes=plan.classes,
        splits=splits,
        quarantine=tuple(quarantine),
        dropped=plan.dropped,
        copies=plan.copies,
    )


def _judge_quarantine(plan: Plan, manifest: Manifest, max_quarantined: float) -> None:
    photos = sum(split.photos for split in manifest.splits.values())
    bad = len(manifest.quarantine)
    if bad > max_quarantined * (photos + bad):
        shown = "; ".join(f"{entry.key}: {entry.reason}" for entry in manifest.quarantine[:5])
        raise DataContradiction(
            f"{bad} of {photos + bad} photos cannot be used, --max-quarantined allows {max_quarantined:.1%} "
            f"({shown}{'; ...' if bad > 5 else ''}); mend the archive or raise the limit"
        )


def _judge_breeds(plan: Plan, manifest: Manifest) -> None:
    bad = {entry.key for entry in manifest.quarantine}
    usable = {
        photo.breed for split, photos in plan.shards if split == TRAIN for photo in photos if photo.key not in bad
    }
    if empty := set(plan.classes) - usable:
        raise DataContradiction(
            f"no photo to train on for {', '.join(sorted(empty))}; mend the archive or leave it out by --breeds"
        )


def committed(plan: Plan, out: Store) -> Manifest | None:
    """Return the manifest that is already there with all its shards, None where it or one of them is not.

    DataContradiction when the prefix holds another configuration or another source's photos.
    """
    try:
        manifest = load_manifest(out)
    except MissingManifest:
        return None
    if manifest.config_id != plan.config_id:
        raise DataContradiction(
            f"{out.uri} holds another dataset (configuration {manifest.config_id}, asked for {plan.config_id}); "
            "choose another --out"
        )
    named = {shard.key for split in manifest.splits.values() for shard in split.shards}
    if lost := named.difference(out.list("shards/")):
        log.warning("%d shards of the manifest at %s are not there; they are made again", len(lost), out.uri)
        return None
    return manifest
