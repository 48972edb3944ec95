"""What a submitter may do in the namespace: what the manual's commands need and nothing else."""

from tests.support.kubernetes.manifests import Manifests, one
from tests.support.kubernetes.rights import ALLOWED


def test_a_submitter_may_do_what_the_manual_says_and_nothing_else(manifests: Manifests) -> None:
    role = one(manifests.once["rbac"], "Role", "submitter")
    pairs = [(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]]
    assert sorted(pairs) == sorted(ALLOWED)
    assert all("resourceNames" not in rule for rule in role["rules"])


def test_the_role_is_given_in_the_namespace_only(manifests: Manifests) -> None:
    binding = one(manifests.once["rbac"], "RoleBinding", "submitter")
    assert binding["metadata"]["namespace"] == "dogbreed"
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", "submitter")
    accounts = [subject for subject in binding["subjects"] if subject["kind"] == "ServiceAccount"]
    assert accounts == [{"kind": "ServiceAccount", "name": "submitter", "namespace": "dogbreed"}]
