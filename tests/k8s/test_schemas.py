"""Everything renders and is what the API of every served Kubernetes version takes."""

import json

import kubernetes_validate
import pytest
from kubernetes_validate import SchemaNotFoundError

from tests.support.kubernetes.manifests import (
    COMPONENTS,
    JOBS,
    ONCE,
    OVERLAYS,
    ROOT,
    SETS,
    STACK_COMPONENTS,
    Manifests,
    Object,
    of_kind,
)

VERSIONS = [f"1.{minor}" for minor in range(33, 38)]  # from the oldest that is served to the newest


def distinct(manifests: Manifests) -> list[Object]:
    """Each object once, in however many combinations it is."""
    texts = {json.dumps(found) for objects in manifests.combinations.values() for found in objects}
    return [json.loads(text) for text in sorted(texts)]


def test_every_folder_is_in_a_combination(manifests: Manifests) -> None:
    assert JOBS == ["evaluate", "fetch", "predict", "preflight", "preprocess", "search", "train", "train-multiworker"]
    assert OVERLAYS == ["aws", "cluster", "local"]
    folders = {path.parent.name for path in ROOT.glob("k8s/components/*/kustomization.yaml")}
    assert folders == {*COMPONENTS, *STACK_COMPONENTS, "external", "labels"}, (
        "all have `labels`, overlays/aws `external`"
    )
    once = {path.parent.name for path in ROOT.glob("k8s/*/kustomization.yaml")} - {"base", "stack"}
    assert once == set(ONCE)
    assert len(manifests.combinations) == len(OVERLAYS) + 1 + len(ONCE) + len(JOBS) * (len(OVERLAYS) + len(SETS))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_without_an_unknown_field(manifests: Manifests, version: str) -> None:
    for found in distinct(manifests):
        if found["apiVersion"].startswith("kueue."):  # its schema is Kueue's own: test_queues.py
            continue
        kubernetes_validate.validate(found, version, strict=True)


def test_the_validator_knows_the_newest_and_refuses_unknown_fields(manifests: Manifests) -> None:
    assert kubernetes_validate.latest_version() == f"{VERSIONS[-1]}.0"
    job = manifests.component_jobs[()]["train"]
    wrong = {**job, "spec": {**job["spec"], "podFailurePolitics": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_only_kueues_objects_have_no_schema_here(manifests: Manifests) -> None:
    unknown = set()
    for found in distinct(manifests):
        try:
            kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
        except SchemaNotFoundError:
            unknown.add(found["kind"])
    assert unknown == {"ResourceFlavor", "ClusterQueue", "LocalQueue", "WorkloadPriorityClass"}


def test_no_value_of_a_secret_is_in_git(manifests: Manifests) -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "*.secret" in ignored
    for objects in manifests.overlays.values():
        assert of_kind(objects, "Secret"), "they come from ignored files only"
    for path in (ROOT / "k8s").rglob("*.yaml"):
        assert "kind: Secret\n" not in path.read_text(), path
