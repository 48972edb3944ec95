"""From planned photos to committed shards: make each shard, finish with the manifest."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dogbreed.data import image
from dogbreed.data.crops import crops
from dogbreed.data.dataset import FORMAT, MANIFEST, Manifest, QuarantinedImage, ShardResult
from dogbreed.data.image import BadPhoto
from dogbreed.data.parts import Content, all_parts, make_parts, splits
from dogbreed.data.plan import Plan
from dogbreed.data.records import Example, write_shard
from dogbreed.data.split import SPLITS, TRAIN
from dogbreed.platform.errors import DataContradiction
from dogbreed.platform.storage import Store


def make_shards(plan: Plan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Read, crop and commit those shards that are not there yet; yields the photos read for each (`make_parts`).

    A photo that cannot be used is quarantined.
    """

    def begin(number: int) -> Iterator[list[Example] | BadPhoto]:
        return pool.map(partial(crops, plan), plan.shards[number][1])

    return make_parts(plan, numbers, out, begin, partial(_content, plan))


def _content(plan: Plan, number: int, cropped: Iterator[list[Example] | BadPhoto]) -> Content:
    _, photos = plan.shards[number]
    examples: list[Example] = []
    quarantine = []
    for photo, result in zip(photos, cropped, strict=True):
        if isinstance(result, BadPhoto):
            quarantine.append(QuarantinedImage(photo.key, str(result)))
        else:
            examples += result
    data = write_shard(examples) if examples else b""
    return Content(data, len(examples), len(photos) - len(quarantine), tuple(quarantine))


def finish(plan: Plan, out: Store, max_quarantined: float) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing.

    Raises DataContradiction when more than `max_quarantined` (a fraction of all photos) cannot be used
    or a breed has no photo left to train on.
    """
    parts = all_parts(plan, out)
    if parts is None:
        return None
    manifest = _manifest(plan, parts)
    _judge_quarantine(plan, manifest, max_quarantined)
    _judge_breeds(plan, manifest)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _manifest(plan: Plan, parts: list[ShardResult]) -> Manifest:
    quarantine = sorted([*plan.quarantine, *(entry for part in parts for entry in part.quarantine)])
    return Manifest(
        format=FORMAT,
        config=plan.config.to_dict(),
        source_digest=plan.source.digest,
        versions=image.versions(),
        classes=plan.classes,
        splits=splits(parts, SPLITS),
        quarantine=tuple(quarantine),
        excluded=plan.excluded,
        duplicates=plan.duplicates,
    )


def _judge_quarantine(plan: Plan, manifest: Manifest, max_quarantined: float) -> None:
    images = sum(split.num_images for split in manifest.splits.values())
    bad = len(manifest.quarantine)
    if bad > max_quarantined * (images + bad):
        shown = "; ".join(f"{entry.source_id}: {entry.reason}" for entry in manifest.quarantine[:5])
        raise DataContradiction(
            f"{bad} of {images + bad} images cannot be used, --max-quarantined allows {max_quarantined:.1%} "
            f"({shown}{'; ...' if bad > 5 else ''}); mend the archive or raise the limit"
        )


def _judge_breeds(plan: Plan, manifest: Manifest) -> None:
    bad = {entry.source_id for entry in manifest.quarantine}
    usable = {
        photo.breed for split, photos in plan.shards if split == TRAIN for photo in photos if photo.key not in bad
    }
    if empty := set(plan.classes) - usable:
        raise DataContradiction(
            f"no image to train on for {', '.join(sorted(empty))}; mend the archive or select the others with --classes"
        )
