"""Building a dataset: the same images and options give the same bytes, wherever and by however many workers."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dogbreed.core.errors import DataError, ManifestNotFound
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.data import builder, sharded_work
from dogbreed.data import plan as plans
from dogbreed.data.boxes import Box
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.sharded_work import assign_shards
from tests.support.memory_source import NOISE, NoiseSource, complete, contents, read_examples, source_image

Preprocess = Callable[..., Manifest | None]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 5)


def test_the_synthetic_images_become_three_splits(dataset: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {
        "train": 28,
        "validation": 4,
        "test": 16,
    }
    assert [name.split("-")[0] for name in manifest.classes] == [f"n9000000{n}" for n in (1, 2, 3, 4)]
    assert manifest.quarantine == ()
    assert manifest.summary() == {
        "name": "dogbreed",
        "digest": manifest.digest,
        "written": 48,
        "quarantined": 0,
        "excluded": 0,
        "splits": {"train": 28, "validation": 4, "test": 16},
    }


def test_every_image_is_written_once_with_its_label(dataset: Path, source: StanfordDogs) -> None:
    out = LocalStore(dataset)
    manifest = load_manifest(out)
    every = [example for split in manifest.splits for example in read_examples(out, manifest, split)]
    assert sorted(example.source_id for example in every) == [image.source_id for image in source.images]
    for example in every:
        assert manifest.classes[example.label] == example.source_id.split("/")[0]
    official = {image.source_id: image.split for image in source.images}
    assert {official[example.source_id] for example in read_examples(out, manifest, "test")} == {"test"}
    assert {official[example.source_id] for example in read_examples(out, manifest, "validation")} == {"train"}


def test_a_second_place_holds_the_same_bytes(
    dataset: Path, source: StanfordDogs, preprocess: Preprocess, store: Store
) -> None:
    manifest = complete(preprocess(source, store))
    assert manifest.digest == load_manifest(LocalStore(dataset)).digest
    assert contents(store) == contents(LocalStore(dataset))


@pytest.mark.usefixtures("small_shards")
def test_two_workers_with_fixed_shares_make_what_one_makes(preprocess: Preprocess, tmp_path: Path) -> None:
    alone, shared = LocalStore(tmp_path / "alone"), LocalStore(tmp_path / "shared")
    assert preprocess(NoiseSource(), shared, index=0, workers=2) is None
    together = complete(preprocess(NoiseSource(), shared, index=1, workers=2))
    assert together == complete(preprocess(NoiseSource(), alone))
    assert contents(alone) == contents(shared)


@pytest.mark.usefixtures("small_shards")
def test_workers_without_shares_finish_what_another_began(
    preprocess: Preprocess, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    out = LocalStore(tmp_path / "out")
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32))
    began = assign_shards(plan, None, 1)[:3]
    assert list(builder.write_shards(plan, began, out, pool)) == [len(plan.shards[number][1]) for number in began]
    assert list(builder.write_shards(plan, began, out, pool)) == [0, 0, 0]
    assert builder.finalize(plan, out, 0) is None
    assert set(out.list("_parts/")) == {plan.part_key(number) for number in began}
    assert complete(preprocess(NoiseSource(), out)) == complete(
        preprocess(NoiseSource(), LocalStore(tmp_path / "alone"))
    )


def test_a_finished_dataset_leaves_nothing_to_do(source: StanfordDogs, dataset: Path) -> None:
    out = LocalStore(dataset)
    plan = plan_dataset(source, DatasetConfig(size=32))
    before = contents(out)
    digest = load_manifest(out).digest
    assert complete(sharded_work.load_if_complete(plan, out)).digest == digest
    assert complete(builder.finalize(plan, out, 0)).digest == digest
    assert contents(out) == before


def test_a_shard_that_is_missing_is_made_again(
    source: StanfordDogs, dataset: Path, preprocess: Preprocess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, plan = LocalStore(tmp_path / "out"), plan_dataset(source, DatasetConfig(size=32))
    manifest = complete(preprocess(source, out))
    assert sharded_work.load_if_complete(plan, out) == manifest
    out.delete(manifest.split("test").shards[0].key)
    assert sharded_work.load_if_complete(plan, out) is None
    assert "that are missing and will be made again: 1" in caplog.text
    assert complete(preprocess(source, out)) == manifest
    assert contents(out) == contents(LocalStore(dataset))


def test_an_empty_prefix_has_no_committed_dataset(source: StanfordDogs, tmp_path: Path) -> None:
    plan = plan_dataset(source, DatasetConfig(size=32))
    assert sharded_work.load_if_complete(plan, LocalStore(tmp_path)) is None


def test_other_options_need_another_prefix(source: StanfordDogs, dataset: Path, preprocess: Preprocess) -> None:
    with pytest.raises(DataError, match=r"other options, .* choose another --out"):
        preprocess(source, LocalStore(dataset), margin=0.2)


def test_a_broken_image_is_quarantined_and_counted(preprocess: Preprocess, store: Store) -> None:
    source = NoiseSource(n00000001_0=NOISE[:500], n00000002_12=b"no image")
    source.images[3] = source_image("n00000001-Red", 3, "train", boxes=(Box(500, 500, 600, 600),))
    source.images[4] = source_image("n00000001-Red", 4, "train", boxes=(), invalid_reason="no annotation")
    manifest = complete(preprocess(source, store, max_quarantined=0.1))
    assert [entry.source_id for entry in manifest.quarantine] == [
        "n00000001-Red/n00000001_0",
        "n00000001-Red/n00000001_3",
        "n00000001-Red/n00000001_4",
        "n00000002-Green_dog/n00000002_12",
    ]
    assert [entry.reason for entry in manifest.quarantine][1:] == [
        "box 500,500,600,600 holds no pixel of the image",
        "no annotation",
        "not an image of a known format",
    ]
    assert manifest.summary()["written"] == 41
    assert sum(len(read_examples(store, manifest, split)) for split in manifest.splits) == 41


def test_above_the_limit_of_bad_images_there_is_no_manifest(preprocess: Preprocess, tmp_path: Path) -> None:
    source, out = NoiseSource(n00000001_0=b"", n00000001_1=b""), LocalStore(tmp_path / "out")
    with pytest.raises(DataError, match=r"2 of 45 .* 4\.00%") as error:
        preprocess(source, out, max_quarantined=0.04)
    assert error.value.exit_code == 65
    with pytest.raises(ManifestNotFound):
        load_manifest(out)
    assert complete(preprocess(source, out, max_quarantined=0.05)).summary()["quarantined"] == 2


def test_a_class_without_a_usable_train_image_is_refused(preprocess: Preprocess, tmp_path: Path) -> None:
    red = {f"n00000001_{number}": b"" for number in range(10)}
    with pytest.raises(DataError, match=r"n00000001-Red; .*--classes"):
        preprocess(NoiseSource(**red), LocalStore(tmp_path), max_quarantined=1)


def test_a_box_that_is_no_number_is_quarantined(preprocess: Preprocess, tmp_path: Path) -> None:
    source = NoiseSource()
    source.images[0] = source_image("n00000001-Red", 0, "train", boxes=(Box(float("nan"), 0, 5, 5),))
    assert complete(preprocess(source, LocalStore(tmp_path), max_quarantined=0.1)).summary()["quarantined"] == 1


def sizes(preprocess: Preprocess, tmp_path: Path, **options: Any) -> set[tuple[int, int]]:
    """Return the sizes of the written images of 80 x 60 pixels, box 60 x 40."""
    out = LocalStore(tmp_path / "out")
    manifest = complete(preprocess(NoiseSource(), out, **options))
    every = read_examples(out, manifest, "train")
    assert {(example.original_width, example.original_height) for example in every} == {(80, 60)}
    assert {example.original_box for example in every} == {Box(10, 5, 70, 45)}
    return {Image.open(io.BytesIO(example.encoded)).size for example in every}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"crop": "box", "margin": 0}, (30, 20)),
        ({"crop": "box", "margin": 0.1}, (30, 20)),  # 72 x 48
        ({"crop": "box", "margin": 1}, (27, 20)),  # the whole image
        ({"crop": "none"}, (27, 20)),
        ({"crop": "defer", "margin": 0}, (40, 30)),  # whole, the box 20 px high
        ({"crop": "defer", "margin": 1}, (27, 20)),
        ({"crop": "box", "margin": 0, "size": 64}, (60, 40)),  # never enlarged
        ({"crop": "defer", "margin": 0, "size": 64}, (80, 60)),
    ],
)
def test_a_image_is_cropped_as_the_options_say(
    preprocess: Preprocess, tmp_path: Path, options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert sizes(preprocess, tmp_path, **{"size": 20, **options}) == {size}


@pytest.mark.parametrize(("objects", "keys"), [("each", ["#0", "#1"]), ("first", [""]), ("largest", [""])])
def test_a_image_of_two_dogs_gives_the_boxes_that_objects_names(
    preprocess: Preprocess, tmp_path: Path, objects: str, keys: list[str]
) -> None:
    small, large = Box(0, 0, 20, 20), Box(10, 10, 60, 60)
    two = [source_image("n00000001-Red", n, "train" if n < 4 else "test", boxes=(small, large)) for n in range(5)]
    out = LocalStore(tmp_path)
    manifest = complete(preprocess(NoiseSource(two), out, objects=objects))
    test = read_examples(out, manifest, "test")
    assert [example.source_id for example in test] == [f"n00000001-Red/n00000001_4{suffix}" for suffix in keys]
    wanted = {"each": [small, large], "first": [small], "largest": [large]}[objects]
    assert [example.original_box for example in test] == wanted
    assert (manifest.split("test").num_images, manifest.split("test").num_examples) == (1, len(keys))


def test_a_shard_of_nothing_but_broken_images_is_no_object(preprocess: Preprocess, tmp_path: Path) -> None:
    broken = {
        f"{prefix}_{number}": b"" for prefix in ("n00000001", "n00000002", "n00000003") for number in range(10, 15)
    }
    manifest = complete(preprocess(NoiseSource(**broken), LocalStore(tmp_path), max_quarantined=0.5))
    assert manifest.split("test").shards == ()
    assert manifest.split("test").num_images == 0


def test_a_damaged_result_file_is_reported(preprocess: Preprocess, tmp_path: Path) -> None:
    out = LocalStore(tmp_path / "out")
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32))
    out.put(plan.part_key(0), b"{")
    with pytest.raises(DataError, match=r"_parts/.*/0\.json"):
        preprocess(NoiseSource(), out)


def test_a_dataset_in_a_bucket_is_read_by_its_uri(preprocess: Preprocess, bucket: str) -> None:
    manifest = complete(preprocess(NoiseSource(), open_store(bucket + "/deep/prefix")))
    assert load_manifest(open_store(bucket + "/deep/prefix/")).digest == manifest.digest
