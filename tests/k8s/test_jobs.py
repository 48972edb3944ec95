"""What every Job promises: exit codes, shares, names, GPUs, settings that the jobs know."""

import re

import pytest

from dogbreed.core.errors import DogbreedError
from tests.support.kubernetes.job_options import module, options
from tests.support.kubernetes.manifests import (
    COMPONENTS,
    JOBS,
    OVERLAYS,
    ROOT,
    SETS,
    Manifests,
    Object,
    consequence,
    of_kind,
    one,
    pod,
)

FAIL = {2, 65, 77, 78}  # trying again cannot help
SUFFIX = "-1231-235959-ffff-999"  # what `make submit` appends to a name, and the longest index
GPU_JOBS = {"train", "train-multiworker", "search", "evaluate", "predict", "preflight"}
TRAININGS = {"train", "train-multiworker", "search"}  # those that feed a GPU by many cores
VARIABLE = re.compile(r"DOGBREED_[A-Z0-9_]+")


def container(job: Object) -> Object:
    [only] = pod(job)["spec"]["containers"]
    found: Object = only
    return found


def environment(job: Object) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(job).get("env", [])}


def every_code() -> set[int]:
    """Return the exit codes of all errors, and those in the table of the docs."""
    classes, codes = [DogbreedError], set()
    while classes:
        found = classes.pop()
        codes.add(found.exit_code)
        classes += found.__subclasses__()
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Exit codes")[1]
    rows = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    return codes | {int(code) for row in rows for code in row.split(",")}


@pytest.mark.parametrize("job", JOBS)
def test_every_exit_code_has_its_consequence(manifests: Manifests, job: str) -> None:
    rendered = manifests.component_jobs[()][job]
    assert every_code() == {0, 1, 2, 65, 69, 70, 75, 77, 78, 130, 143}
    decided = {code: consequence(rendered, code) for code in every_code() | {137}}
    assert {code for code, what in decided.items() if what == "FailJob"} == FAIL
    assert {code for code, what in decided.items() if what == "Ignore"} == {143}
    assert rendered["spec"]["podFailurePolicy"]["rules"][0] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }, "first of all: a drained node's pod may end with any code"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_tried_again_by_new_pods_and_not_for_ever(manifests: Manifests, job: str) -> None:
    spec = manifests.component_jobs[()][job]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"
    assert 0 < spec["activeDeadlineSeconds"] <= 7 * 86400
    assert spec["ttlSecondsAfterFinished"] == 86400
    shared = job in ("preprocess", "predict", "train-multiworker", "search")
    assert ("backoffLimitPerIndex" in spec) == ("maxFailedIndexes" in spec) == shared
    assert ("backoffLimit" in spec) != shared


def test_a_lost_worker_costs_the_others_no_pod(manifests: Manifests) -> None:
    job = manifests.component_jobs[()]["train-multiworker"]
    assert job["spec"]["backoffLimitPerIndex"] >= 20
    assert job["spec"]["maxFailedIndexes"] == 0, "none can continue without the others"
    [restarts] = [v for v in pod(job)["spec"]["containers"][0]["env"] if v["name"] == "DOGBREED_TRAIN_MAX_RESTARTS"]
    assert int(restarts["value"]) >= 20


@pytest.mark.parametrize("job", JOBS)
def test_the_number_of_workers_is_the_same_everywhere(manifests: Manifests, job: str) -> None:
    rendered = manifests.component_jobs[()][job]
    spec, counts = rendered["spec"], [v for n, v in environment(rendered).items() if n.endswith("WORKERS")]
    if "completions" in spec:
        assert spec["completionMode"] == "Indexed"
        assert counts == ([] if job == "search" else [str(spec["completions"])]), "trials are shared by a database"
        assert spec["parallelism"] == spec["completions"]
    else:
        assert counts == []


def test_workers_find_one_another_by_the_service(manifests: Manifests) -> None:
    for overlay in OVERLAYS:
        job = manifests.overlay_jobs[overlay]["train-multiworker"]
        service = one(manifests.overlays[overlay], "Service", pod(job)["spec"]["subdomain"])["spec"]
        assert environment(job)["DOGBREED_WORKER_SERVICE"] == pod(job)["spec"]["subdomain"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        assert service["selector"].items() <= pod(job)["metadata"]["labels"].items()
        assert [p["port"] for p in service["ports"]] == [p["containerPort"] for p in container(job)["ports"]] == [2222]


@pytest.mark.parametrize("job", JOBS)
def test_a_submitted_name_fits_into_a_host_name(job: str) -> None:
    assert len(job + SUFFIX) <= 63


@pytest.mark.parametrize(
    ("job", "variable"),
    [
        ("train", "DOGBREED_TRAIN_NAME"),
        ("train-multiworker", "DOGBREED_TRAIN_NAME"),
        ("search", "DOGBREED_SEARCH_STUDY"),
    ],
)
def test_the_key_of_a_training_or_study_is_the_jobs_name(manifests: Manifests, job: str, variable: str) -> None:
    variables = container(manifests.component_jobs[()][job])["env"]
    [name] = [v["valueFrom"] for v in variables if v["name"] == variable]
    assert name == {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_its_own_module_with_options_that_it_has(manifests: Manifests, job: str) -> None:
    known = options(module(job))
    for chosen in SETS:
        rendered = manifests.component_jobs[chosen][job]
        assert container(rendered)["args"] == [f"jobs.{module(job)}"]
        own = {name for name in environment(rendered) if name.startswith(f"DOGBREED_{module(job).upper()}_")}
        assert own <= known.keys()


def test_every_setting_is_known_to_a_job(manifests: Manifests) -> None:
    known = {variable for job in JOBS for variable in options(module(job))}
    sources = "".join(path.read_text() for folder in ("jobs", "dogbreed") for path in (ROOT / folder).rglob("*.py"))
    for name, objects in manifests.combinations.items():
        for settings in of_kind(objects, "ConfigMap"):
            assert {n for n in settings["data"] if n.startswith("DOGBREED_")} <= known, name
        for job in of_kind(objects, "Job") if name != "restore" else []:
            for variable in environment(job):
                assert variable in known or f'"{variable}"' in sources, f"{variable} in {name} is read by nobody"


def test_every_job_knows_the_limit_of_its_scratch_volume(manifests: Manifests) -> None:
    folder = re.findall(r"TMPDIR=(\S+)", (ROOT / "docker" / "jobs.Dockerfile").read_text())
    for name, objects in manifests.combinations.items():
        for job in of_kind(objects, "Job"):
            if job["metadata"]["labels"]["app.kubernetes.io/component"] not in JOBS:  # the restore of a backup
                continue
            volumes = {volume["name"]: volume for volume in pod(job)["spec"]["volumes"]}
            mounts = container(job)["volumeMounts"]
            scratch = [volumes[mount["name"]] for mount in mounts if mount["mountPath"] in folder]
            limits = [volume["emptyDir"]["sizeLimit"] for volume in scratch]
            assert limits == [environment(job)["DOGBREED_SCRATCH_LIMIT"]], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_jobs_meet_at_the_same_places(manifests: Manifests, overlay: str) -> None:
    settings = one(manifests.overlays[overlay], "ConfigMap", "settings")["data"]
    raw, data = settings["DOGBREED_FETCH_RAW"], settings["DOGBREED_PREPROCESS_OUT"]
    assert settings["DOGBREED_PREPROCESS_RAW"] == settings["DOGBREED_PREFLIGHT_STORE"] == raw
    assert {settings[f"DOGBREED_{job}_DATA"] for job in ("TRAIN", "SEARCH", "EVALUATE")} == {data}
    assert settings["DOGBREED_PREPROCESS_NAME"] == settings["DOGBREED_PREDICT_REGISTERED_MODEL"]
    assert settings["DOGBREED_FETCH_SOURCE"] == settings["DOGBREED_PREPROCESS_SOURCE"] == raw.rpartition("/")[2]
    assert data.endswith(f"-{settings['DOGBREED_PREPROCESS_SIZE']}")
    from dogbreed.training.recipes import get_recipe
    from dogbreed.training.search_spaces import get_space

    recipe = get_recipe(settings["DOGBREED_TRAIN_RECIPE"])
    assert recipe.size <= int(settings["DOGBREED_PREPROCESS_SIZE"])
    assert settings["DOGBREED_SEARCH_RECIPE"] == recipe.name
    get_space(settings["DOGBREED_SEARCH_SPACE"], []).check(recipe)


@pytest.mark.parametrize("chosen", SETS)
def test_components_add_up(manifests: Manifests, chosen: tuple[str, ...]) -> None:
    for name, job in manifests.component_jobs[chosen].items():
        gpu = "gpu" in chosen and name in GPU_JOBS
        spec, limits = pod(job)["spec"], container(job)["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == (1 if gpu else None)
        assert ("-gpu:" in container(job)["image"]) == gpu
        assert ("kueue.x-k8s.io/queue-name" in job["metadata"]["labels"]) == ("kueue" in chosen)
        assert ("nodeAffinity" in spec.get("affinity", {})) == ("spot" in chosen)
        assert ("podAffinity" in spec.get("affinity", {})) == (name == "train-multiworker")
        assert (spec["terminationGracePeriodSeconds"] <= 30) or "spot" not in chosen
        keys = {toleration["key"] for toleration in spec["tolerations"]}
        assert ("nvidia.com/gpu" in keys) == gpu
        assert ("cloud.google.com/gke-spot" in keys) == ("spot" in chosen)
        if gpu:  # each job that may use a GPU insists on it
            assert environment(job)[f"DOGBREED_{module(name).upper()}_GPUS"] == "1"
    assert set(chosen) <= set(COMPONENTS)


def test_a_job_with_a_gpu_has_the_cores_that_feed_it_and_memory_for_cuda(manifests: Manifests) -> None:
    without, found = (
        {name: container(job)["resources"] for name, job in manifests.component_jobs[chosen].items()}
        for chosen in ((), ("gpu",))
    )
    assert {found[name]["requests"]["cpu"] for name in TRAININGS} == {"8"}
    assert found["preflight"]["requests"]["memory"] == found["preflight"]["limits"]["memory"] == "5Gi"
    same = set(found) - TRAININGS - {"preflight"}
    assert {name: found[name]["requests"] for name in same} == {name: without[name]["requests"] for name in same}


def test_a_gpu_needs_the_train_image_and_every_job_with_it_can_get_one(manifests: Manifests) -> None:
    images = {name: container(job)["image"] for name, job in manifests.component_jobs[()].items()}
    assert {name for name, image in images.items() if image.startswith("dogbreed/train:")} == GPU_JOBS


def test_the_queue_takes_what_the_jobs_ask_for(manifests: Manifests) -> None:
    objects = manifests.once["queue"]
    queue, flavor = one(objects, "ClusterQueue", "dogbreed"), one(objects, "ResourceFlavor", "dogbreed")
    local = one(objects, "LocalQueue", "dogbreed")
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    assert local["metadata"]["namespace"] == "dogbreed"
    [group] = queue["spec"]["resourceGroups"]
    assert [f["name"] for f in group["flavors"]] == [flavor["metadata"]["name"]]
    assert group["coveredResources"] == [resource["name"] for resource in group["flavors"][0]["resources"]]
    for job in manifests.component_jobs["gpu", "kueue"].values():
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
        asked = container(job)["resources"]
        assert {*asked["requests"], *asked["limits"]} <= set(group["coveredResources"]), "it would never be admitted"


def test_each_priority_is_one_of_pods_and_one_of_the_queue(manifests: Manifests) -> None:
    objects = manifests.once["queue"]
    pods, queued = (
        {found["metadata"]["name"]: found["value"] for found in of_kind(objects, kind)}
        for kind in ("PriorityClass", "WorkloadPriorityClass")
    )
    assert pods == queued
    assert -10 < pods["dogbreed-low"] < 0 < pods["dogbreed-high"]
    assert one(objects, "PriorityClass", "dogbreed-high")["preemptionPolicy"] == "Never", "servers have priority 0"


def test_workers_of_one_training_prefer_one_zone(manifests: Manifests) -> None:
    job = manifests.component_jobs[()]["train-multiworker"]
    [preferred] = pod(job)["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    term = preferred["podAffinityTerm"]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    assert term["labelSelector"]["matchLabels"].items() <= pod(job)["metadata"]["labels"].items()
    assert term["matchLabelKeys"] == ["batch.kubernetes.io/job-name"], "other trainings attract nobody"
