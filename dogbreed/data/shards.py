"""From a source's photos to committed shards: plan, make each shard, finish with the manifest."""

import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import ceil

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
    config_id,
    load_manifest,
    read_verified,
)
from dogbreed.data.image import BadPhoto
from dogbreed.data.options import DatasetOptions
from dogbreed.data.records import Record, read_shard, write_shard
from dogbreed.data.sources import Photo, Source
from dogbreed.data.split import SPLITS, TRAIN, assign, first_of_each, rank
from dogbreed.platform.errors import DamagedData, DataContradiction, MissingManifest, MissingObject, UnknownName
from dogbreed.platform.storage import Store

PHOTOS_PER_SHARD = 512  # 12 MB at 224 px: one PUT, few requests, and room for shuffling whole shards


@dataclass(frozen=True)
class Plan:
    """Which photos go into which shard: a function of source and options alone."""

    options: DatasetOptions
    source: Source = field(repr=False)
    classes: tuple[str, ...]
    shards: tuple[tuple[str, tuple[Photo, ...]], ...]  # (split, photos)
    quarantine: tuple[Rejected, ...]  # photos that are not even read
    dropped: int  # photos left out by `breeds` and `per_breed`

    @cached_property
    def config_id(self) -> str:
        """Name of this configuration; parts are kept below it."""
        return config_id(FORMAT, asdict(self.options), self.source.digest, image.versions())

    def part_key(self, number: int) -> str:
        """Return the key of the part file of shard `number`."""
        return f"_parts/{self.config_id}/{number}.json"


def make_plan(source: Source, options: DatasetOptions) -> Plan:
    """Select, split and order the photos; DataContradiction when the options do not fit the source."""
    options = replace(options, breeds=tuple(sorted({_bare(breed) for breed in options.breeds})))
    selected = _select(source, options)
    splits = assign([(p.breed, p.key, p.split or TRAIN) for p in selected], options.split, options.seed)
    usable = [photo for photo in selected if photo.problem is None]
    if not usable:
        raise DataContradiction(f"none of the source's {len(source.photos)} photos can be used; check --raw")
    length = ceil(len(usable) / options.shards) if options.shards else PHOTOS_PER_SHARD
    shards = []
    for name in SPLITS:
        photos = sorted((p for p in usable if splits[p.key] == name), key=lambda photo: rank(photo.key))
        for start in range(0, len(photos), length):
            shards.append((name, tuple(photos[start : start + length])))
    return Plan(
        options=options,
        source=source,
        classes=tuple(sorted({photo.breed for photo in selected})),
        shards=tuple(shards),
        quarantine=tuple(Rejected(photo.key, photo.problem) for photo in selected if photo.problem),
        dropped=len(source.photos) - len(selected),
    )


def _select(source: Source, options: DatasetOptions) -> list[Photo]:
    if options.split == "official" and not any(photo.split for photo in source.photos):
        raise DataContradiction("the source has no official split (lists.tar is missing); use --split stratified")
    wanted = set(options.breeds)
    if unknown := wanted - {_bare(photo.breed) for photo in source.photos}:
        raise UnknownName(f"no breed {', '.join(sorted(unknown))} in the source; names are as in Images/")
    photos = [photo for photo in source.photos if not wanted or _bare(photo.breed) in wanted]
    if options.per_breed is not None:
        groups = [(f"{photo.breed}/{photo.split}", photo.key) for photo in photos]
        kept = first_of_each(groups, options.per_breed)
        photos = [photo for photo in photos if photo.key in kept]
    return photos


def _bare(breed: str) -> str:
    """`n02085620-Chihuahua` and `Chihuahua` name the same breed."""
    synset, dash, name = breed.partition("-")
    return (name if dash and synset[1:].isdigit() else breed).lower()


def share(plan: Plan, index: int | None, workers: int) -> list[int]:
    """Return the numbers of the shards that this worker looks after.

    With an `index` the share is fixed; without, it is every shard, from a random one on, so that workers
    who know nothing of each other rarely meet.
    """
    numbers = list(range(len(plan.shards)))
    if index is None:
        start = random.randrange(len(numbers))
        return numbers[start:] + numbers[:start]
    if not 0 <= index < workers:
        raise UnknownName(f"worker index {index} is outside 0 to {workers - 1}; set --workers to their number")
    return numbers[index::workers]


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
        boxes = choose_boxes(photo.boxes, options.objects)
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


def contact_sheet(out: Store, manifest: Manifest, count: int = 60) -> Image.Image:
    """Return the first photos of the first train shard as one picture."""
    records = read_shard(read_verified(out, manifest.split(TRAIN).shards[0]))
    return image.contact_sheet([record.encoded for record in itertools.islice(records, count)], side=128)
