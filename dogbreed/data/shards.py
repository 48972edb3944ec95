"""From planned photos to committed shards: make each shard, finish with the manifest."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import psutil
from PIL import Image

from dogbreed.data import image
from dogbreed.data.annotation import Box, choose_boxes
from dogbreed.data.dataset import (
    FORMAT,
    MANIFEST,
    Manifest,
    Part,
    Rejected,
    Split,
    canonical,
    commit_shard,
    load_manifest,
    read_verified,
)
from dogbreed.data.image import BadPhoto
from dogbreed.data.leakage import pairs_sheet
from dogbreed.data.options import DatasetOptions
from dogbreed.data.plan import Plan
from dogbreed.data.records import Record, read_shard, write_shard
from dogbreed.data.sources import Photo, Source
from dogbreed.data.split import SPLITS, TRAIN
from dogbreed.platform.errors import DamagedData, DataContradiction, MissingManifest, MissingObject
from dogbreed.platform.storage import Store

SAMPLE = 200  # photos that a forecast is made from: a second of work


def is_made(plan: Plan, number: int, out: Store) -> bool:
    """Tell whether some worker has committed this shard and its part."""
    return out.size(plan.part_key(number)) is not None


def make_shard(plan: Plan, number: int, out: Store, pool: ThreadPoolExecutor) -> Part:
    """Read, crop and commit one shard, then its part; a photo that cannot be used is quarantined."""
    split, photos = plan.shards[number]
    records: list[Record] = []
    quarantine = []
    for photo, result in zip(photos, pool.map(lambda photo: _records(plan, photo), photos), strict=True):
        if isinstance(result, BadPhoto):
            quarantine.append(Rejected(photo.key, str(result)))
        else:
            records += result
    shard = commit_shard(out, write_shard(records), len(records)) if records else None
    part = Part(split, shard, len(photos) - len(quarantine), tuple(quarantine))
    out.commit(plan.part_key(number), part.to_json())
    return part


def _records(plan: Plan, photo: Photo) -> list[Record] | BadPhoto:
    options, label = plan.options, plan.classes.index(photo.breed)
    try:
        pixels = image.decode(plan.source.read(photo))
        boxes = choose_boxes(photo.boxes or (Box(0, 0, *pixels.size),), options.objects)
        records = []
        for position, box in enumerate(boxes):
            key = f"{photo.key}#{position}" if len(boxes) > 1 else photo.key
            crop = _crop(pixels, image.visible(box, pixels), options)
            records.append(Record(key, image.encode(crop), label, pixels.size, image.visible(box, pixels)))
    except BadPhoto as error:
        return error
    return records


def _crop(pixels: Image.Image, box: Box, options: DatasetOptions) -> Image.Image:
    """Return the box with its margin, or the whole photo, resized as the options say.

    A deferred crop keeps the whole photo at the scale that the crop would have had, so that cropping
    later costs no detail.
    """
    whole = Box(0, 0, *pixels.size)
    grown = box.grow(options.margin).clip(*pixels.size)
    if options.crop == "box":
        return image.crop(pixels, grown, options.size)
    if options.crop == "none":
        return image.crop(pixels, whole, options.size)
    shorter = options.size * min(whole.width, whole.height) / min(grown.width, grown.height)
    return image.crop(pixels, whole, round(shorter))


def finish(plan: Plan, out: Store, max_quarantined: float) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing.

    Raises DataContradiction when more than `max_quarantined` (a fraction of all photos) cannot be used
    or a breed has no photo left to train on.
    """
    try:
        parts = [_read_part(out, plan.part_key(number)) for number in range(len(plan.shards))]
    except MissingObject:
        return None
    manifest = _manifest(plan, parts)
    _judge_quarantine(plan, manifest, max_quarantined)
    _judge_breeds(plan, manifest)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _read_part(out: Store, key: str) -> Part:
    data = out.read(key)
    try:
        return Part.from_json(data)
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
    """Return the manifest that is already there, None where there is none.

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
    return manifest


def forecast(plan: Plan, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Return shards and photos, and size, time and memory on this machine as the first photos foretell; writes nothing.

    Copies are not looked for, which takes about as long as reading all photos.
    """
    sample = plan.photos[:SAMPLE]
    began = time.perf_counter()
    results = list(pool.map(lambda photo: _records(plan, photo), sample))
    seconds = (time.perf_counter() - began) / len(sample)
    records = [record for result in results if not isinstance(result, BadPhoto) for record in result]
    photo_bytes = len(write_shard(records)) / len(sample)
    largest = max(len(photos) for _, photos in plan.shards)
    splits = Counter(dict.fromkeys(SPLITS, 0))
    for name, photos in plan.shards:
        splits[name] += len(photos)
    return {
        "config_id": plan.config_id,
        "shards": len(plan.shards),
        "splits": dict(splits),
        "quarantined": len(plan.quarantine),
        "dropped": sum(plan.dropped.values()),
        "megabytes": round(photo_bytes * len(plan.photos) / 1e6, 1),
        "seconds": round(seconds * len(plan.photos), 3),
        # a shard's records, and the same once more as the object that is written
        "memory_megabytes": round((psutil.Process().memory_info().rss + 2 * photo_bytes * largest) / 1e6),
    }


def pictures(source: Source, manifest: Manifest, out: Store) -> dict[str, Callable[[], Image.Image]]:
    """Return what a dataset's run shows, by name, each made when it is called: photos and near copies."""
    shown: dict[str, Callable[[], Image.Image]] = {"photos": lambda: contact_sheet(out, manifest)}
    if near := [copy for copy in manifest.copies if copy.kind != "file"]:  # equal files need no look
        shown["copies"] = lambda: pairs_sheet(source, near)
    return shown


def contact_sheet(out: Store, manifest: Manifest, count: int = 60) -> Image.Image:
    """Return the first photos of the first train shard as one picture."""
    records = read_shard(read_verified(out, manifest.split(TRAIN).shards[0]))
    return image.contact_sheet([record.encoded for record in itertools.islice(records, count)], side=128)
