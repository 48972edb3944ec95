"""Baselines of an evaluation: the most frequent classes, and the ImageNet classifier of the same architecture."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from dogbreed.core.errors import DataError, ServiceUnavailable
from dogbreed.core.scratch import check_free_scratch
from dogbreed.evaluation.metrics import Labels
from dogbreed.evaluation.score_groups import Scores
from dogbreed.models import common, keras_applications, registry, weights

# WordNet ids of the dogs among ILSVRC's classes; Keras numbers the classes in the order of these ids
DOGS = """
    02085620 02085782 02085936 02086079 02086240 02086646 02086910 02087046 02087394 02088094
    02088238 02088364 02088466 02088632 02089078 02089867 02089973 02090379 02090622 02090721
    02091032 02091134 02091244 02091467 02091635 02091831 02092002 02092339 02093256 02093428
    02093647 02093754 02093859 02093991 02094114 02094258 02094433 02095314 02095570 02095889
    02096051 02096177 02096294 02096437 02096585 02097047 02097130 02097209 02097298 02097474
    02097658 02098105 02098286 02098413 02099267 02099429 02099601 02099712 02099849 02100236
    02100583 02100735 02100877 02101006 02101388 02101556 02102040 02102177 02102318 02102480
    02102973 02104029 02104365 02105056 02105162 02105251 02105412 02105505 02105641 02105855
    02106030 02106166 02106382 02106550 02106662 02107142 02107312 02107574 02107683 02107908
    02108000 02108089 02108422 02108551 02108915 02109047 02109525 02109961 02110063 02110185
    02110627 02110806 02110958 02111129 02111277 02111500 02111889 02112018 02112137 02112350
    02112706 02113023 02113186 02113624 02113712 02113799 02113978 02115641 02115913 02116738
"""
# 251 is the Dalmatian, which is not in Stanford Dogs; 269 to 272 are wolves
DOG_CLASS_INDICES = [index for index in range(151, 276) if index not in (251, *range(269, 273))]
INDEX_BY_WORDNET_ID = dict(zip(DOGS.split(), DOG_CLASS_INDICES, strict=True))


def majority_baseline(labels: Labels, num_classes: int) -> Scores:
    """Return the scores of a constant prediction: the class frequencies as probabilities.

    top1 and top5 are those of the most frequent classes; loss is the entropy of the class frequencies (nats).
    """
    frequencies = np.sort(np.bincount(labels, minlength=num_classes) / len(labels))[::-1]
    nonzero = frequencies[frequencies > 0]
    loss = -(nonzero * np.log(nonzero)).sum()
    return {"top1": float(frequencies[0]), "top5": float(frequencies[:5].sum()), "loss": float(loss)}


def class_indices(classes: Sequence[str]) -> list[int]:
    """Return the index of each class among ImageNet's 1,000; DataError for a class that is not one of its dogs."""
    ids = [name.partition("-")[0].removeprefix("n") for name in classes]
    if unknown := [name for name, wordnet in zip(classes, ids, strict=True) if wordnet not in INDEX_BY_WORDNET_ID]:
        raise DataError(
            f"{len(unknown)} classes are not dogs of ImageNet, for example {unknown[0]}; leave out --imagenet-baseline"
        )
    return [INDEX_BY_WORDNET_ID[wordnet] for wordnet in ids]


def zero_shot_classifier(model: str, size: int, classes: Sequence[str], weights_uri: str, folder: Path) -> keras.Model:
    """Return the ImageNet classifier of an architecture, restricted to some classes: uint8 images to probabilities.

    Args:
        model: name in the registry.
        weights_uri: `imagenet` to download Keras' weights, otherwise the URI of a file of them.
        folder: for the file.

    Raises:
        UsageError: Keras has no ImageNet weights of the model.
        DataError: the file holds weights of another model, or a class is not in ImageNet.
        ServiceUnavailable: the download failed.
    """
    weights.require_published(model)
    builder = registry.get(model).builder.partition(":")[2]
    family, _, name = builder.partition(".")
    whole = keras_applications.application(name, size, top=True)
    if weights_uri == weights.IMAGENET:
        whole.set_weights(_download(model, name).get_weights())
    else:
        _load_file(whole, weights_uri, folder)
    keras_applications.fill_normalization(whole)
    image = common.image_input(size)
    probabilities = whole(keras_applications.RESCALED[family](image))
    kept = keras.ops.take(probabilities, class_indices(classes), axis=-1)
    return keras.Model(image, kept / keras.ops.sum(kept, axis=-1, keepdims=True), name=f"{model}-zero-shot")


def _download(model: str, name: str) -> keras.Model:
    check_free_scratch(weights.keras_file_bytes(model), f"Keras' weights of {model}")
    try:
        return keras_applications.application(name, registry.get(model).size, weights.IMAGENET, top=True)
    except Exception as error:
        if "URL fetch failure" not in str(error):  # a bare Exception in keras.utils.get_file
            raise
        raise ServiceUnavailable(
            f"Keras could not download the weights of {model} ({error}); name a file by --imagenet-baseline"
        ) from error


def _load_file(whole: keras.Model, uri: str, folder: Path) -> None:
    path = weights.copy_file(uri, folder / f"head-{uri.rpartition('/')[2]}")
    with weights.require_all_loaded(whole, f"{whole.name} with 1,000 classes", uri):
        whole.load_weights(path)
