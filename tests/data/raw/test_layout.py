"""Layouts of image folders: recognized, or refused with what to give instead; never one class by accident."""

import unicodedata
from dataclasses import replace

import pytest

from dogbreed.core.errors import DataError
from dogbreed.data.config import DatasetConfig
from dogbreed.data.plan import check_source
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.layout import Place, read_layout

Places = dict[str, Place]


def places(*images: str, others: tuple[str, ...] = ()) -> Places:
    return read_layout(images, others, "/raw")


def each(folders: list[str]) -> list[str]:
    return [f"{folder}/{n}.jpg" for folder in folders for n in range(2)]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("Train", "train"), ("TRAINING", "train"), ("val", "validation"), ("Valid", "validation"),
     ("validation", "validation"), ("dev", "validation"), ("Test", "test"), ("testing", "test")],
)  # fmt: skip
def test_a_split_may_have_any_of_its_names(folder: str, split: str) -> None:
    found = places("train/akita/1.jpg", f"{folder}/akita/2.jpg", f"{folder}/beagle/3.jpg")
    assert found[f"{folder}/akita/2.jpg"] == Place("akita", split)


def test_a_class_may_be_called_train() -> None:
    found = places(*each(["bus", "car", "train"]))
    assert set(found.values()) == {Place("bus", None), Place("car", None), Place("train", None)}


def test_images_outside_the_class_folders_have_no_place() -> None:
    assert places("a/1.jpg", "b/1.jpg", "loose.jpg").keys() == {"a/1.jpg", "b/1.jpg"}
    found = places("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "train/loose.jpg", "extra/1.jpg")
    assert found.keys() == {"train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"}


def test_images_in_a_folder_of_a_class_take_its_class(caplog: pytest.LogCaptureFixture) -> None:
    found = places("akita/1.jpg", "akita/puppies/2.jpg", "beagle/3.jpg")
    assert found["akita/puppies/2.jpg"] == Place("akita", None)
    assert "take its class: 1 (in akita/puppies)" in caplog.text


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (each(["Images/akita", "Images/beagle"]), "name /raw/Images"),
        (each(["Images/train/akita", "Images/test/akita"]), "name /raw/Images"),
        (each(["data/dogs/akita", "data/dogs/beagle"]), "name /raw/data/dogs"),
        (each(["train/dogs/akita", "train/dogs/beagle", "test/dogs/akita"]), "move the folders of dogs up"),
        (each(["hounds/beagle", "hounds/whippet", "terriers/airedale", "terriers/cairn"]), "--labels"),
        (each(["akita", "hounds/beagle", "hounds/whippet"]), "hounds does"),
        (["hounds/1.jpg", *each(["hounds/beagle", "hounds/whippet", "toys/pug", "toys/pekinese"])], "hounds does"),
        (each(["hounds/beagle", "toys/pug"]), "hold folders of images"),
        (["train/cat.1.jpg", "test1/1.jpg"], "parts of a dataset"),
        (each(["seg_train/seg_train/sea", "seg_train/seg_train/city", "seg_pred/seg_pred"]), "seg_train does"),
        (["images/1.jpg", "masks/1.png"], "parts of a dataset"),
        (["1.jpg", "2.jpg"], "no class folder"),
        (["train/1.jpg", "test/2.jpg"], "no class folder"),
        (each(["test/akita", "val/beagle"]), "none to train on"),
    ],
)
def test_another_layout_is_refused_with_what_to_do(images: list[str], word: str) -> None:
    with pytest.raises(DataError, match=word):
        places(*images)


@pytest.mark.parametrize(
    ("images", "others", "name"),
    [
        (["train/images/1.jpg", "valid/images/2.jpg"], ["train/labels/1.txt"], "YOLO"),
        (["images/train/1.jpg", "images/val/2.jpg"], ["labels/train/1.txt"], "YOLO"),
        (each(["coco128/images/train2017", "coco128/images/val2017"]), ["coco128/labels/train2017/0.txt"], "YOLO"),
        (each(["images/street", "images/park"]), ["labels/street/0.txt", "data.yaml"], "YOLO"),
        (["train/1.jpg", "valid/2.jpg"], ["train/_annotations.coco.json"], "COCO"),
        (["train2017/1.jpg"], ["annotations/instances_train2017.json"], "COCO"),
        (each(["coco/train2017", "coco/val2017"]), ["coco/annotations/instances_val2017.json"], "COCO"),
        (each(["images/north", "images/south"]), ["annotations/instances_default.json"], "COCO"),
        (["JPEGImages/1.jpg"], ["Annotations/1.xml"], "Pascal VOC"),
        ([*each(["images", "images/a", "images/b"]), *(f"images/{n}.png" for n in range(5))], ["labels/x.txt"], "YOLO"),
        (each([f"VOCdevkit/VOC2012/{name}" for name in ("JPEGImages", "SegmentationClass", "SegmentationObject")]),
         ["VOCdevkit/VOC2012/Annotations/0.xml", "VOCdevkit/VOC2012/ImageSets/Main/train.txt"], "Pascal VOC"),
    ],
)  # fmt: skip
def test_a_dataset_for_detection_is_named_and_refused(images: list[str], others: list[str], name: str) -> None:
    with pytest.raises(DataError, match=rf"detection \({name}"):
        places(*images, others=(*others,))


@pytest.mark.parametrize(
    ("images", "others", "advice"),
    [
        (each(["images/banded", "images/dotted"]), ["labels/train1.txt", "imdb/imdb.mat"], "name /raw/images"),
        (each(["dtd/images/banded", "dtd/images/dotted"]), ["dtd/labels/train1.txt"], "name /raw/dtd/images"),
        ([*each([f"ILSVRC/Data/CLS-LOC/train/n0{n}" for n in range(3)]), "ILSVRC/Data/CLS-LOC/val/1.JPEG"],
         ["ILSVRC/Annotations/CLS-LOC/train/n00/0.xml", "ILSVRC/ImageSets/CLS-LOC/val.txt"],
         "name /raw/ILSVRC/Data/CLS-LOC"),
        (each(["images/train/akita", "images/val/akita", "images/val/pug"]), ["labels/classes.txt"],
         "name /raw/images"),
        (each(["Images/n1-akita", "Images/n2-pug"]), ["Annotations/n1-akita/0.xml"], "name /raw/Images"),
        (each(["CUB/images/001.Gull", "CUB/images/002.Tern"]), ["CUB/labels/list.txt"], "name /raw/CUB/images"),
        (each(["train/images/akita", "train/images/pug", "test/images/akita"]), ["train/labels/list.txt"],
         "move the folders of images up, .*"),
    ],
)  # fmt: skip
def test_class_folders_one_level_lower_are_named_whatever_lies_beside_them(
    images: list[str], others: list[str], advice: str
) -> None:
    with pytest.raises(DataError, match=f"the only folder with images in /raw.*{advice}$"):
        places(*images, others=(*others,))


def test_annotations_beside_class_folders_do_not_matter() -> None:
    assert len(places(*each(["akita", "beagle"]), others=("labels/notes.txt", "annotations/1.xml"))) == 4


def test_the_layout_of_kaggle_names_the_option() -> None:
    with pytest.raises(DataError, match=r"add --labels labels\.csv"):
        places("train/1.jpg", "test/2.jpg", others=("labels.csv",))


def test_composed_and_decomposed_letters_are_one_name() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Épagneul") for form in ("NFC", "NFD"))
    found = places(f"train/{composed}/1.jpg", f"test/{decomposed}/2.jpg", "train/b/1.jpg")
    assert found[f"test/{decomposed}/2.jpg"] == Place(composed, "test")


class Named:
    """A source of one image in each class and split."""

    digest = ""

    def __init__(self, classes: list[str], splits: list[str | None]) -> None:
        self.images = [SourceImage(f"{name}/{split}", name, split) for name in classes for split in splits]


@pytest.mark.parametrize(
    ("classes", "splits", "config", "word"),
    [
        (["akita"], [None], DatasetConfig(split="stratified"), "one class, akita"),
        (["n00000001-pug", "n00000002-pug"], [None], DatasetConfig(split="stratified"), "displayed alike"),
        (["a b", "a_b"], [None], DatasetConfig(split="stratified"), "displayed alike"),
        (["pug", "pug "], [None], DatasetConfig(split="stratified"), "displayed alike"),
        (["Pug", "pug"], [None], DatasetConfig(split="stratified"), "displayed alike"),
        (["my\u00a0dog", "my dog"], [None], DatasetConfig(split="stratified"), "displayed alike"),
        (["a", "b"], ["train"], DatasetConfig(), "only images to train on"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(
    classes: list[str], splits: list[str | None], config: DatasetConfig, word: str
) -> None:
    with pytest.raises(DataError, match=word):
        check_source(Named(classes, splits), config)  # type: ignore[arg-type]


def test_a_class_without_an_image_to_train_on_is_named_before_anything_is_read() -> None:
    source = Named(["a", "b"], ["train", "test"])
    source.images.append(SourceImage("test/c/1", "c", "test"))
    with pytest.raises(DataError, match="no image to train on for 1 of 3 classes: c"):
        check_source(source, DatasetConfig())  # type: ignore[arg-type]
    check_source(source, DatasetConfig(classes=("a", "b")))  # type: ignore[arg-type]
    check_source(Named(["a"], ["train", "test"]), DatasetConfig(classes=("a",)))  # type: ignore[arg-type]


def test_a_class_that_only_a_test_folder_has_is_named_where_all_splits_are_sampled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, stratified = Named(["a", "b"], ["train", "test", None]), DatasetConfig(split="stratified")
    source.images += [SourceImage(f"test/{name}/1", name, "test") for name in ("unknown", *"cdefg")]
    check_source(source, stratified)  # type: ignore[arg-type]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "6 of 8 classes have images in published test or validation folders only: c, d, e, f, g and 1" in warning
    assert "delete or move those folders, or select the others with --classes" in warning
    caplog.clear()
    check_source(source, replace(stratified, classes=("a", "unknown")))  # type: ignore[arg-type]
    for splits in ([None, "test"], ["test"]):
        check_source(Named(["a", "b"], splits), stratified)  # type: ignore[arg-type]
    assert not caplog.records
