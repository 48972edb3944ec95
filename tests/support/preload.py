"""What the fork server imports once, so that an attempt starts in 20 ms instead of 7 s (attempt.py).

Imported in the fork server only: nothing here opens a store, starts a thread or runs a TensorFlow operation, all of
which a forked child could not go on with.
"""

import contextlib
import importlib
import io
import os

from jobs._cli import ENVIRONMENT

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy starts its threads at import otherwise
}
HEAVY = (
    "tensorflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "dogbreed.data.raw.stanford_dogs",
    "dogbreed.tracking.dataset_run",
    "dogbreed.serving.batch_predict",
    "dogbreed.workflows.preflight",
    "dogbreed.workflows.preprocess",
    "dogbreed.workflows.predict",
    "dogbreed.workflows.train",
)

LATER = (  # what jobs import in the middle of their work: 0.5 s of a training
    "alembic.command",
    "git",
    "mlflow.pyfunc.scoring_server",
    "mlflow.store.model_registry.sqlalchemy_store",
    "rich.progress",
    "scipy.cluster.hierarchy",
    "scipy.io",
    "sklearn.metrics",
)


def fill_caches() -> None:
    """Do once what libraries keep for the rest of a process: 0.6 s of each training, and the fonts of figures."""
    from matplotlib.figure import Figure
    from mlflow.utils import requirements_utils
    from PIL import Image

    requirements_utils._init_packages_to_modules_map()  # reads the metadata of every installed package
    Image.preinit()
    figure = Figure()
    figure.subplots().set_title("fonts")
    figure.savefig(io.BytesIO(), format="png")


for name, value in {**ENVIRONMENT, **QUIET}.items():
    os.environ.setdefault(name, value)
for module in (*HEAVY, *LATER):
    with contextlib.suppress(ImportError):  # the job says so itself, with its own exit code
        importlib.import_module(module)
with contextlib.suppress(ImportError, AttributeError):  # a cache that a later version of a library does not have
    fill_caches()
