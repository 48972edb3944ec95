"""From planned photos to committed shards: make each shard, finish with the manifest."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dogbreed.core.errors import DataError
from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.crops import make_examples
from dogbreed.data.examples import Example, write_shard
from dogbreed.data.images import InvalidImage
from dogbreed.data.manifest import FORMAT, MANIFEST, Manifest, QuarantinedImage, ShardResult
from dogbreed.data.plan import ShardPlan
from dogbreed.data.sharded_work import ShardOutput, group_by_split, load_results, process_shards
from dogbreed.data.splits import SPLITS, TRAIN


def write_shards(plan: ShardPlan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Read, crop and commit those shards that are not there yet; yields the photos read for each (`process_shards`).

    A photo that cannot be used is quarantined.
    """

    def start(number: int) -> Iterator[list[Example] | InvalidImage]:
        return pool.map(partial(make_examples, plan), plan.shards[number][1])

    return process_shards(plan, numbers, out, start, partial(_shard_output, plan))


def _shard_output(plan: ShardPlan, number: int, cropped: Iterator[list[Example] | InvalidImage]) -> ShardOutput:
    _, photos = plan.shards[number]
    examples: list[Example] = []
    quarantine = []
    for image, result in zip(photos, cropped, strict=True):
        if isinstance(result, InvalidImage):
            quarantine.append(QuarantinedImage(image.key, str(result)))
        else:
            examples += result
    data = write_shard(examples) if examples else b""
    return ShardOutput(data, len(examples), len(photos) - len(quarantine), tuple(quarantine))


def finalize(plan: ShardPlan, out: Store, max_quarantined: float) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing.

    Raises DataError when more than `max_quarantined` (a fraction of all photos) cannot be used
    or a breed has no photo left to train on.
    """
    parts = load_results(plan, out)
    if parts is None:
        return None
    manifest = _manifest(plan, parts)
    _check_quarantine(plan, manifest, max_quarantined)
    _check_classes(plan, manifest)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _manifest(plan: ShardPlan, parts: list[ShardResult]) -> Manifest:
    quarantine = sorted([*plan.quarantine, *(entry for part in parts for entry in part.quarantine)])
    return Manifest(
        format=FORMAT,
        config=plan.config.to_dict(),
        source_digest=plan.source.digest,
        versions=images.versions(),
        classes=plan.classes,
        splits=group_by_split(parts, SPLITS),
        quarantine=tuple(quarantine),
        excluded=plan.excluded,
        duplicates=plan.duplicates,
    )


def _check_quarantine(plan: ShardPlan, manifest: Manifest, max_quarantined: float) -> None:
    images = sum(split.num_images for split in manifest.splits.values())
    bad = len(manifest.quarantine)
    if bad > max_quarantined * (images + bad):
        shown = "; ".join(f"{entry.source_id}: {entry.reason}" for entry in manifest.quarantine[:5])
        raise DataError(
            f"{bad} of {images + bad} images cannot be used, --max-quarantined allows {max_quarantined:.1%} "
            f"({shown}{'; ...' if bad > 5 else ''}); mend the archive or raise the limit"
        )


def _check_classes(plan: ShardPlan, manifest: Manifest) -> None:
    bad = {entry.source_id for entry in manifest.quarantine}
    usable = {
        photo.breed for split, photos in plan.shards if split == TRAIN for photo in photos if photo.key not in bad
    }
    if empty := set(plan.classes) - usable:
        raise DataError(
            f"no image to train on for {', '.join(sorted(empty))}; mend the archive or select the others with --classes"
        )
