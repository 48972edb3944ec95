"""Fine-tuning of a pretrained body: features of all images once, a new head on them, then the body's upper part."""

import io
import json
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import dumps
from dogbreed.core.log import progress
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.data.train_source import do_not_convert
from dogbreed.models import common
from dogbreed.training.build import compile_model, dtype_policy_scope, resolve_precision
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.feature_cache import Features, load_or_extract
from dogbreed.training.optimizer import LayerwiseAdamW
from dogbreed.training.recipe import Recipe
from dogbreed.training.state import Phase, TrainState, sha256_of_arrays

HEAD_TIMEOUT = 24 * 3600.0  # seconds that a chief may take to train its head


def head_phase(recipe: Recipe, pipeline: InputPipeline, model: keras.Model, seed: int) -> Phase:
    """Return the phase that trains the head alone, on features that the body computes once (a linear probe)."""
    train, validation = cached_features(common.backbone(model), recipe, pipeline.without_shard(), seed)
    classes, head_recipe = model.output.shape[-1], recipe.head
    with dtype_policy_scope(resolve_precision(recipe.precision)):  # Keras scales the loss of a model of 16 bits only
        head = common.head(model)
    steps = -(-len(train.labels) // head_recipe.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(head_recipe.learning_rate, head_recipe.epochs * steps)
    compile_model(head, recipe, LayerwiseAdamW(rate, decay=recipe.weight_decay, scales={}), is_head=True)
    size, epochs = head_recipe.batch_size, head_recipe.epochs
    return Phase(
        kind="head",
        full_model=model,
        model=head,
        epochs=epochs,
        steps=steps,
        batch_size=size,
        patience=epochs,
        make_batches=partial(feature_batches, train, classes, size, epochs, seed),
        validation=feature_batches(validation, classes, size, 1, seed),
        distribution=DistributedContext(),
    )


def cached_features(body: keras.Model, recipe: Recipe, pipeline: InputPipeline, seed: int) -> tuple[Features, Features]:
    """Return the features of `head.augmentations` random views of the train images, and of the validation images.

    They are kept in the scratch folder for other trainings on the same images, views and weights.
    """
    views = recipe.head.augmentations
    common_parts = {
        "body": sha256_of_arrays(body.get_weights()),
        "layers": body.name,
        "dataset": pipeline.dataset_digest,
        "view": recipe.view.to_dict(),
        "precision": resolve_precision(recipe.precision),
        "versions": [tf.__version__, keras.__version__],
    }
    random_parts = {"augment": recipe.augment.to_dict(), "seed": seed, "views": views, "batch": recipe.batch_size}

    def extract_train() -> Features:
        batches = pipeline.train_batches(recipe.augment, seed, views)
        return extract_features(body, batches, views * pipeline.num_examples(TRAIN), "train images")

    def extract_validation() -> Features:
        batches, count = pipeline.eval_batches(VALIDATION), pipeline.num_examples(VALIDATION)
        return extract_features(body, batches, count, "validation images")

    return (
        load_or_extract(canonical_json.digest(common_parts | random_parts), extract_train),
        load_or_extract(canonical_json.digest(common_parts), extract_validation),
    )


def extract_features(body: keras.Model, batches: tf.data.Dataset, count: int, what: str) -> Features:
    """Return the features of all batches (images, labels), about `count` images."""
    shown = progress(batches, f"{what} through the body", count, "images", size=lambda batch: len(batch[1]))
    found = [(body.predict_on_batch(images), labels.numpy()) for images, labels in shown]
    values, labels = zip(*found, strict=True)
    return Features(np.concatenate(values).astype("float32"), np.concatenate(labels))


def feature_batches(
    found: Features, classes: int, size: int, epochs: int, seed: int, start: tuple[int, int] = (0, 0)
) -> tf.data.Dataset:
    """Return `epochs` passes of features [n, width] and float32 labels [n, classes], shuffled by (seed, epoch).

    The last batch of an epoch may be smaller than `size`.
    start: (epoch, step) of the first batch.
    """
    with tf.device("CPU"):  # a GPU's memory is for the model
        values, labels = tf.constant(found.values), tf.one_hot(found.labels, classes)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(found.labels)), epoch_seed)
        skipped = tf.where(epoch == start[0], start[1] * size, 0)
        indices = tf.data.Dataset.from_tensor_slices(order[skipped:]).batch(size)
        return indices.map(lambda chosen: (tf.gather(values, chosen), tf.gather(labels, chosen)))

    steps = -(-len(found.labels) // size)
    left = tf.data.experimental.assert_cardinality((epochs - start[0]) * steps - start[1])
    return tf.data.Dataset.range(start[0], epochs).flat_map(do_not_convert(epoch_batches)).apply(left).prefetch(2)


def share_head(model: keras.Model, state: TrainState, distribution: DistributedContext) -> TrainState:
    """Broadcast the chief's head and training state to all workers, and return the state."""
    variables = common.head(model).variables  # with the seed of its dropout
    file = io.BytesIO()
    if distribution.is_chief:
        arrays = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        np.savez(file, *arrays, state=np.frombuffer(dumps(state.to_dict()), np.uint8))
    with np.load(io.BytesIO(distribution.broadcast_bytes(file.getvalue(), HEAD_TIMEOUT)), allow_pickle=False) as head:
        for number, variable in enumerate(variables):
            variable.assign(head[f"arr_{number}"])
        return TrainState.from_dict(json.loads(head["state"].tobytes()))


def freeze_below(model: keras.Model, trainable: float) -> None:
    """Leave the last `trainable` fraction of the body's layers to be trained, but no BatchNormalization.

    The statistics of BatchNormalization belong to the weights that came with them; a small batch would spoil them.
    """
    layers = _trainable_layers(model)
    for layer in layers[: round(len(layers) * (1 - trainable))]:
        layer.trainable = False
    for layer in common.leaf_layers(common.backbone(model)):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def layer_lr_scales(model: keras.Model, decay: float) -> dict[str, float]:
    """Return path -> what a variable's rate is multiplied by: `decay` in the first trained layer, 1 at the head."""
    layers = _trainable_layers(model)
    return {
        variable.path: decay ** (1 - place / len(layers))
        for place, layer in enumerate(layers)
        for variable in layer.trainable_variables
    }


def _trainable_layers(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in common.leaf_layers(common.backbone(model)) if layer.trainable_variables]
