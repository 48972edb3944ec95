"""In which precision a recipe computes on a machine, whether XLA compiles it, and what no longer fits into memory."""

from pathlib import Path

import keras
import pytest
import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.models import common
from dogbreed.serving import model_files
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.training import loop, memory_estimate, trainer
from dogbreed.training.build import build_and_compile, build_model, resolve_precision, resolve_xla
from dogbreed.training.out_of_memory import smaller_batch, translating_out_of_memory
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import RECIPES, get_recipe
from tests.support.gpus import fake_gpus
from tests.support.listener import Listener

SHORT = apply_overrides(get_recipe("simple-64"), ["size=32", "batch_size=4", "epochs=1"])
GPU_MEMORY = 40e9  # bytes, of an A100


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([], "float32"),
        ([(7, 5)], "mixed_float16"),
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "mixed_float16"),
    ],
)
def test_auto_precision_is_what_the_oldest_gpu_computes_fast(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], precision: str
) -> None:
    fake_gpus(monkeypatch, *capabilities)
    assert resolve_precision("auto") == precision
    assert resolve_precision("float32") == "float32"


def test_xla_compiles_beside_a_gpu_and_where_a_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [resolve_xla(setting) for setting in ("auto", "on", "off")] == [False, True, False]
    fake_gpus(monkeypatch, (9, 0))
    assert [resolve_xla(setting) for setting in ("auto", "on", "off")] == [True, True, False]
    assert build_and_compile(SHORT, 4, 1).jit_compile
    assert not build_and_compile(apply_overrides(SHORT, ["xla=off"]), 4, 1).jit_compile


def test_a_model_that_only_predicts_is_not_compiled_by_xla_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = build_model(SHORT, 4)
    saved = model_files.save(model, ModelMetadata(tuple("abcd"), 32, "squash", "n", "d"), tmp_path)
    fake_gpus(monkeypatch, (9, 0))
    assert keras.models.load_model(saved[0]).jit_compile, "what Keras chooses"
    loaded, _ = model_files.load_files(*saved)
    assert [made.jit_compile for made in (loaded, build_model(SHORT, 4), common.backbone(loaded))] == [False] * 3


def small_pipeline(dataset: Path, recipe: Recipe) -> InputPipeline:
    store = open_store(str(dataset))
    return InputPipeline(load_manifest(store), store, recipe.view, recipe.batch_size, Path("unused"))


def train(dataset: Path, recipe: Recipe) -> trainer.TrainResult:
    manifest = load_manifest(open_store(str(dataset)))
    return trainer.train(recipe, manifest, small_pipeline(dataset, recipe), 0, Listener())


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,224,224,64]"),
        tf.errors.InternalError(None, None, "Failed to allocate 12345 bytes for new constant"),
        tf.errors.UnknownError(None, None, "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes"),
    ],
)
def test_exhausted_memory_of_a_device_is_78_with_half_the_batch_size(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(loop.Evaluator, "evaluate", fail)
    with pytest.raises(EnvironmentUnsupported, match=r"--batch-size 2,.*--find-batch-size") as caught:
        train(dataset, SHORT)
    assert caught.value.exit_code == 78


def test_half_a_batch_is_a_multiple_of_what_the_replicas_need() -> None:
    assert smaller_batch(36, 6) == "use --batch-size 18"
    assert smaller_batch(18, 6) == "use --batch-size 6"
    assert smaller_batch(6, 6) == "use --batch-size 6"


def test_another_error_of_tensorflow_stays_what_it_is() -> None:
    with pytest.raises(tf.errors.InternalError), translating_out_of_memory(4, "use less"):
        raise tf.errors.InternalError(None, None, "a fault")


def test_the_estimate_beside_a_gpu_counts_cuda_and_copies_of_the_weights_on_the_host(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pipeline = build_model(SHORT, 4), small_pipeline(dataset, SHORT)
    alone = memory_estimate.estimate(model, SHORT, pipeline)
    fake_gpus(monkeypatch, (9, 0))
    beside = memory_estimate.estimate(model, SHORT, pipeline)
    assert beside["weights"] == 8 * sum(weight.nbytes for weight in model.get_weights())
    assert beside["CUDA"] > 1e9
    assert "activations" in alone
    assert "activations" not in beside


@pytest.mark.parametrize("name", sorted(name for name in RECIPES if name.endswith("-224")))
def test_the_batches_of_the_recipes_at_224_px_fit_a_gpu_of_40_gb(name: str, dataset: Path) -> None:
    recipe = apply_overrides(get_recipe(name), ["precision=mixed_bfloat16"])
    model = build_model(recipe, 120)
    pipeline = small_pipeline(dataset, SHORT)
    parts = memory_estimate.estimate(model, recipe, pipeline)
    assert parts["weights"] + parts["activations"] < 0.8 * GPU_MEMORY
