"""What a dataset's run says about its photos."""

from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import QuarantinedImage, load_manifest
from dogbreed.tracking import dataset_run


def test_rejects_are_counted_by_reason_whatever_numbers_are_in_it(dataset: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    reasons = ["no annotation", "box 1,-2,3.5,4 holds no pixel", "box 10,20,1e9,4 holds no pixel", "no annotation"]
    quarantine = tuple(QuarantinedImage(f"a/{n}", reason) for n, reason in enumerate([*reasons, "no annotation"]))
    table = dataset_run.quarantine_reasons(type(manifest)(**{**vars(manifest), "quarantine": quarantine}))
    assert table.to_numpy().tolist() == [["no annotation", 3, "a/0"], ["box n,n,n,n holds no pixel", 2, "a/1"]]


def test_without_rejects_the_table_has_columns_only(dataset: Path) -> None:
    table = dataset_run.quarantine_reasons(load_manifest(LocalStore(dataset)))
    assert list(table.columns) == ["reason", "images", "example"]
    assert table.empty
