"""jobs.preprocess, called in this process where only the dataset matters, or as a process where the job does."""

import contextlib
import io
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.examples import Example, read_shard
from dogbreed.data.manifest import Manifest, load_manifest

ROOT = Path(__file__).parents[3]
NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # MLflow being down is a warning


def dataset(raw: Path, out: Path, *options: str) -> Manifest:
    """Preprocess in this process and return the manifest."""
    os.environ.update(NOWHERE, TF_CPP_MIN_LOG_LEVEL="3")
    from jobs.preprocess import main

    with contextlib.redirect_stdout(io.StringIO()):
        main.main(["--raw", str(raw), "--out", str(out), "--size", "32", *options], standalone_mode=False)
    return load_manifest(LocalStore(out))


def records(out: Path, manifest: Manifest) -> dict[str, Example]:
    """Return every record of a dataset by its key, in the manifest's order."""
    store = LocalStore(out)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return {record.source_id: record for shard in shards for record in read_shard(store.read(shard.key))}


@dataclass(frozen=True)
class Done:
    """How a job ended; `peak_mb` is the largest of all processes that this one has waited for."""

    code: int
    summary: str
    log: str
    peak_mb: float


def job(name: str, *options: str, **environment: str) -> Done:
    """Run a job as a process of its own, with more environment variables."""
    command = [sys.executable, "-m", f"jobs.{name}", *options]
    environment = {**os.environ, **NOWHERE, **environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    lines = done.stdout.splitlines()
    return Done(done.returncode, lines[-1] if lines else "", done.stderr, peak)
