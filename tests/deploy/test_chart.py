"""What the rendered manifests say, where a schema cannot judge them."""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from service.settings import ServiceSettings
from tests.deploy.tools import (
    CHART,
    Document,
    documents,
    environment,
    only,
    pod_of,
    pods,
    rendered,
    run,
    templates,
)
from tests.needs import path_of
from tests.scaling.kubernetes.hpa import desired
from tests.scaling.kubernetes.scaled_object import scaled_object
from workers.settings import WorkerSettings

pytestmark = pytest.mark.needs("helm")
PRODUCTION = CHART / "ci" / "gpu-production.yaml"
TRIAL = CHART / "ci" / "trial-uvicorn.yaml"
ACL = CHART / "ci" / "restored-acl.yaml"
PART = "app.kubernetes.io/component"
SECRET = "s" * 64
SECRETS = {"SFUMATO_REDIS_URL": "redis://redis:6379/0"}
DRAIN_S = 2.0
"""The longest drain that was measured."""


@cache
def manifest(*values: Path) -> str:
    return rendered(*values)


@cache
def parsed(*values: Path) -> list[Document]:
    return documents(manifest(*values))


def worker(name: str, *values: Path) -> Document:
    return only(parsed(*values), "Deployment", f"sfumato-worker-{name}")


@pytest.mark.parametrize("values", [(), (PRODUCTION,), (TRIAL,), (ACL,)])
def test_no_container_runs_as_root_or_writes_to_its_image(values: tuple[Path, ...]) -> None:
    for pod in pods(parsed(*values)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False, "a Service's name would become a setting"
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("values", [(), (PRODUCTION,), (TRIAL,)])
def test_every_setting_exists_and_is_valid(values: tuple[Path, ...]) -> None:
    known = {
        f"SFUMATO_{n.upper()}"
        for n in (*ServiceSettings.model_fields, *WorkerSettings.model_fields)
    }
    for pod in pods(parsed(*values)):
        for container in pod["containers"]:
            if "env" not in container:
                continue
            given = environment(container)
            names = {name for name in given if name.startswith("SFUMATO_")}
            assert names <= known
            kind = WorkerSettings if container["name"] == "worker" else ServiceSettings
            plain = {
                name.removeprefix("SFUMATO_").lower(): value
                if isinstance(value, str)
                else SECRETS.get(name, SECRET)
                for name, value in given.items()
                if name in names and "_FILE" not in name
            }
            kind.model_validate(plain)


def test_a_worker_is_probed_where_it_answers() -> None:
    (container,) = pod_of(worker("emoji"))["containers"]
    port = environment(container)["SFUMATO_METRICS_PORT"]
    assert {"name": "metrics", "containerPort": int(port)} in container["ports"]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_the_grace_period_is_many_drains() -> None:
    for name in ("emoji", "sdxl", "sd15"):
        pod = pod_of(worker(name, PRODUCTION))
        assert pod["terminationGracePeriodSeconds"] >= 10 * DRAIN_S


def test_a_gpu_worker_takes_its_gpu_and_its_own_image() -> None:
    pod = pod_of(worker("sdxl", PRODUCTION))
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert environment(container)["SFUMATO_DEVICE"] == "cuda:0"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]
    assert pod["runtimeClassName"] == "nvidia"
    (cpu,) = pod_of(worker("emoji", PRODUCTION))["containers"]
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]
    assert not cpu["image"].endswith("-gpu")


def test_a_model_overrides_what_workers_share() -> None:
    sets = "models[0].name=a,models[0].podDisruptionBudget.enabled=false,models[0].slots=3"
    found = documents(rendered(sets=sets))
    budgets = {d["metadata"]["name"] for d in found if d["kind"] == "PodDisruptionBudget"}
    assert budgets == {"sfumato-door"}
    (container,) = pod_of(only(found, "Deployment", "sfumato-worker-a"))["containers"]
    assert environment(container)["SFUMATO_SLOTS"] == "3"
    assert container["image"] == "sfumato-worker:0.1.0"


@pytest.mark.parametrize(
    ("sets", "most"),
    [
        ("models[0].name=a,models[1].name=b,models[1].scaling.maxReplicas=9", '"9"'),
        ("models[0].name=a,models[1].name=b,models[1].modelName=a", '"8"'),  # two pools of a model
        ("models[0].name=a,models[0].scaling.enabled=false", None),
    ],
)
def test_doors_know_how_many_workers_a_model_may_have(sets: str, most: str | None) -> None:
    lines = [line for line in rendered(sets=sets).splitlines() if "SFUMATO_MAX_WORKERS" in line]
    expected = [] if most is None else [f"- {{name: SFUMATO_MAX_WORKERS, value: {most}}}"] * 2
    assert [line.strip() for line in lines] == expected  # of the door's head and its workers


@pytest.mark.parametrize(
    ("sets", "budget"),
    [
        ("door.replicas=3", {"minAvailable": 2}),
        ("door.replicas=1", None),
        ("door.mode=uvicorn,door.replicas=1", {"maxUnavailable": 1}),
    ],
)
def test_one_door_may_be_evicted_at_a_time(sets: str, budget: dict[str, int] | None) -> None:
    found = [
        {key: value for key, value in d["spec"].items() if key.endswith("vailable")}
        for d in documents(rendered(sets=sets))
        if d["kind"] == "PodDisruptionBudget" and d["metadata"]["name"] == "sfumato-door"
    ]
    assert found == ([] if budget is None else [budget])


def test_each_model_is_scaled_on_the_work_that_the_door_reports() -> None:
    for scaled in (d for d in parsed(PRODUCTION) if d["kind"] == "ScaledObject"):
        target = scaled["spec"]["scaleTargetRef"]["name"]
        (container,) = pod_of(only(parsed(PRODUCTION), "Deployment", target))["containers"]
        name = environment(container)["SFUMATO_MODEL_NAME"]
        (trigger,) = scaled["spec"]["triggers"]
        url = f"http://sfumato-door.sfumato.svc:8000/v1/scaling/{name}"
        assert trigger["metadata"]["url"].partition("?")[0] == url
        assert trigger["metadata"]["authMode"] == "bearer"
        reference = trigger["authenticationRef"]["name"]
        secret = only(parsed(PRODUCTION), "TriggerAuthentication", reference)
        assert secret["spec"]["secretTargetRef"][0]["name"] == "sfumato-metrics-key"
    read = scaled_object(manifest())
    assert (read.min_replica_count, read.trigger.target, read.trigger.activation) == (0, 30, 0)
    assert read.fallback.replicas >= 1, "what runs would go while the door is away"


@pytest.mark.parametrize(
    ("target", "activation", "reported"),
    [(30, 0, 30), (0.5, 0.4, 0.5), (30, 29.9, 30), (100000, 99999, 100000), (30, 45, 46)],
)
def test_an_unannounced_model_is_reported_as_the_work_of_one_worker_and_wakes(
    tmp_path: Path, target: float, activation: float, reported: float
) -> None:
    values = tmp_path / "values.yaml"
    scaling = {"targetBacklogSeconds": target, "activationBacklogSeconds": activation}
    values.write_text(json.dumps({"worker": {"scaling": scaling}}))
    read = scaled_object(rendered(values))
    query = parse_qs(urlsplit(read.trigger.metadata["url"]).query)
    assert [float(value) for value in query["unannounced_s"]] == [reported]
    assert reported > read.trigger.activation
    assert desired(reported, read.trigger.target, 1) == 1 or activation >= target


def test_keys_need_no_keda_where_no_model_scales() -> None:
    keys = "door.auth=keys,door.urlSecrets.secret=s"
    fixed = documents(rendered(sets=f"models[0].name=a,{keys},worker.scaling.enabled=false"))
    assert not any(document["apiVersion"].startswith("keda.sh/") for document in fixed)
    one = f"{keys},models[0].name=a,worker.scaling.enabled=false,models[0].scaling.enabled=true"
    scaled = documents(rendered(sets=f"{one},door.metricsKey.secret=m"))
    only(scaled, "TriggerAuthentication", "sfumato-metrics-key")


def test_a_scaled_deployment_has_no_number_of_replicas() -> None:
    assert "replicas" not in worker("emoji")["spec"]
    assert worker("emoji", TRIAL)["spec"]["replicas"] == 1
    assert not any(d["kind"] == "ScaledObject" for d in parsed(TRIAL))


def test_roles_log_in_to_redis_as_themselves() -> None:
    door, acl_worker = (
        next(c for p in pods(parsed(ACL)) for c in p["containers"] if c["name"] == name)
        for name in ("ray-head", "worker")
    )
    for container, role in ((door, "door"), (acl_worker, "worker")):
        given = environment(container)
        assert given["SFUMATO_REDIS_URL"] == (
            f"redis://{role}:$(REDIS_PASSWORD)@sfumato-redis:6379/0"
        )
        assert given["REDIS_PASSWORD"]["secretKeyRef"]["name"] == f"redis-{role}"
        names = [entry["name"] for entry in container["env"]]
        assert names.index("REDIS_PASSWORD") < names.index("SFUMATO_REDIS_URL")


def test_certificates_are_mounted_where_the_settings_look() -> None:
    (container,) = pod_of(worker("emoji", PRODUCTION))["containers"]
    files = [v for k, v in environment(container).items() if re.fullmatch(r"SFUMATO_.*_FILE", k)]
    assert len(files) == 3
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(Path(file).parent) for file in files} <= mounts


def test_weights_are_checked_before_a_worker_reads_them() -> None:
    fetched, kept = (pod_of(worker(name, PRODUCTION)) for name in ("sdxl", "sd15"))
    for pod, verb in ((fetched, "add"), (kept, "check")):
        (init,) = pod["initContainers"]
        assert init["command"][:4] == ["python", "-m", "workers.models", verb]
        assert re.fullmatch("[0-9a-f]{64}", init["command"][-1])
        (container,) = pod["containers"]
        (mount,) = (m for m in container["volumeMounts"] if m["name"] == "model")
        assert mount["readOnly"] is True
        assert environment(container)["SFUMATO_MODEL"].startswith(mount["mountPath"])


def test_weights_come_from_the_hub_with_a_token_and_memory_of_their_own() -> None:
    source = "weights.url=hf:owner/name@main,models[0].weights.size=9Gi"
    token = "weights.extraEnv[0].name=HF_TOKEN,models[0].weights.extraEnv[0].value=hf"
    memory = "weights.resources.limits.memory=16Gi"
    given = ",models[0].".join([source, f"weights.sha256={'0' * 64}", token, memory])
    pod = pod_of(only(documents(rendered(sets=f"models[0].name=a,models[0].{given}")),
                      "Deployment", "sfumato-worker-a"))  # fmt: skip
    (init,) = pod["initContainers"]
    assert init["command"][4:6] == ["hf:owner/name@main", "--name"]
    variables = environment(init)
    assert variables["SFUMATO_MODELS"] == "/models"
    assert (variables["HF_HUB_OFFLINE"], variables["HF_TOKEN"]) == ("0", "hf")
    assert init["resources"] == {"limits": {"memory": "16Gi"}}
    assert environment(pod["containers"][0])["SFUMATO_MODEL"] == "/models/model"


def test_only_what_needs_redis_may_reach_it() -> None:
    policy = only(parsed(ACL), "NetworkPolicy", "sfumato-redis")
    (rule,) = policy["spec"]["ingress"]
    parts = [peer["podSelector"]["matchLabels"][PART] for peer in rule["from"]]
    assert parts == ["door", "worker", "backup"]
    assert policy["spec"]["egress"] == []
    workers = only(parsed(), "NetworkPolicy", "sfumato-worker")["spec"]
    assert [rule["ports"] for rule in workers["ingress"]] == [[{"port": "metrics"}]]
    reached = [port["port"] for rule in workers["egress"] for port in rule["ports"]]
    assert reached == [53, 53, "redis"]


def test_every_pod_is_under_a_policy() -> None:
    for values in ((), (PRODUCTION,), (TRIAL,), (ACL,)):
        found = parsed(*values)
        selected = {
            d["spec"]["podSelector"]["matchLabels"][PART]
            for d in found
            if d["kind"] == "NetworkPolicy"
        }
        made = {template["metadata"]["labels"][PART] for template in templates(found)}
        assert made == selected


def test_the_door_keeps_its_name_in_both_modes() -> None:
    (ray,) = (d for d in parsed() if d["kind"] == "RayService")
    assert ray["spec"]["serveService"]["metadata"]["name"] == "sfumato-door"
    assert only(parsed(TRIAL), "Service", "sfumato-door")["spec"]["ports"][0]["port"] == 8000


def test_an_annotation_starts_doors_and_workers_anew() -> None:
    """So docs/kubernetes.md rotates secrets: none is the chart's own, to take a checksum of."""
    marked = "door.podAnnotations.rotated=today,worker.podAnnotations.rotated=today"
    for mode in ("ray", "uvicorn"):
        found = documents(rendered(sets=f"door.mode={mode},{marked}"))
        assert not any(d["kind"] == "Secret" for d in found)
        annotated = [
            template["metadata"]["annotations"]
            for template in templates(found)
            if template["metadata"]["labels"][PART] in ("door", "worker")
        ]
        assert annotated == [{"rotated": "today"}] * (3 if mode == "ray" else 2)


def test_the_door_can_be_shut_for_a_restore() -> None:
    words = ["--set-json", "networkPolicy.doorFrom=[]", "--set", "networkPolicy.webhooks=false"]
    outcome = run(path_of("helm"), "template", "sfumato", CHART, *words)
    assert outcome.returncode == 0, outcome.stderr
    policy = only(documents(outcome.stdout), "NetworkPolicy", "sfumato-door")["spec"]
    reaching = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in policy["ingress"]
        if {"port": 8000} in rule.get("ports", ())
        for peer in rule["from"]
    ]
    assert reaching == ["keda", "monitoring", "kuberay-operator"]
    assert not any("ipBlock" in peer for rule in policy["egress"] for peer in rule.get("to", ()))


def test_a_pool_s_models_are_mounted_each_on_its_own(tmp_path: Path) -> None:
    given = {
        "name": "a",
        "weights": {"path": "/opt/a"},
        "modelMemory": "9000000000",
        "pool": [
            {"name": "b", "weights": {"path": "/opt/b"}},
            {"name": "c", "weights": {"pvc": {"claim": "models", "path": "c"}}},
            {
                "name": "d",
                "weights": {
                    "url": "https://example.com/d.tar", "sha256": "0" * 64, "size": "9Gi",
                },
            },
        ],
    }  # fmt: skip
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"models": [given]}))
    pod = pod_of(only(documents(rendered(values)), "Deployment", "sfumato-worker-a"))
    (container,) = pod["containers"]
    variables = environment(container)
    assert variables["SFUMATO_MODEL"] == "/opt/a"
    assert variables["SFUMATO_POOL"] == "/opt/b,/pool/c,/pool/d/d"
    assert variables["SFUMATO_MODEL_MEMORY"] == "9000000000"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (mounts["pool-c"], mounts["pool-d"]) == ("/pool/c", "/pool/d")
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {"pool-c", "pool-d"} <= volumes
    assert "pool-b" not in volumes
    (init,) = pod["initContainers"]
    assert init["command"][4:7] == ["https://example.com/d.tar", "--name", "d"]
    assert environment(init)["SFUMATO_MODELS"] == "/pool/d"
