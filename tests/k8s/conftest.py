"""The manifests, rendered once for all tests."""

import pytest

from tests.support.kubernetes.manifests import Manifests


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return Manifests(tmp_path_factory.mktemp("manifests"))
