"""A database for each test, made already."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def copied_database(empty_database: Path, tmp_path: Path) -> None:
    """MLflow's tables in mlflow.db, where the tests of this folder look for them."""
    shutil.copy(empty_database, tmp_path)
