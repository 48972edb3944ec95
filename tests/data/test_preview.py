"""Figures of a dataset."""

from pathlib import Path

import numpy as np

from dogbreed.core.storage import LocalStore
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import load_manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.preview import classes_without_images, draw_classes, images_by_class
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.splits import SPLITS


def test_every_class_is_shown_with_crops_of_its_own_below_its_name(source: StanfordDogs, dataset: Path) -> None:
    out, plan = LocalStore(dataset), plan_dataset(source, DatasetConfig(size=32))
    manifest = load_manifest(out)
    counts = images_by_class(plan, manifest)
    assert [counts[class_name, split] for class_name in manifest.classes for split in SPLITS] == [7, 1, 4] * 4
    assert classes_without_images(manifest, counts) == {"validation": [], "test": []}
    sheet = np.asarray(draw_classes(out, manifest, counts))
    assert sheet.shape == (2 * 80, 3 * 544, 3)
    for label in range(4):
        column, row = divmod(label, 2)
        block = sheet[row * 80 : (row + 1) * 80, column * 544 : (column + 1) * 544]
        assert block[:16].min() < 128  # the name
        assert (block[16:, : 7 * 64] != 255).any(2).mean() > 0.9
        assert (block[16:, 7 * 64 :] == 255).all()
