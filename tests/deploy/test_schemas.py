"""Every manifest against the schemas of Kubernetes, KEDA, the Prometheus Operator and Ray Serve."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as monitoring
from cloudcoil.models.prometheus_operator import v1alpha1 as scraping

from tests.deploy.tools import CHART, ROOT, Document, documents, rendered, run
from tests.needs import path_of

pytestmark = pytest.mark.needs("helm")
KUBERNETES = "1.34"
VALUES = [*sorted((CHART / "ci").glob("*.yaml")), ROOT / "deploy" / "kustomize" / "values.yaml"]
CUSTOM = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
    "PodMonitor": monitoring.PodMonitor,
    "PrometheusRule": monitoring.PrometheusRule,
    "ScrapeConfig": scraping.ScrapeConfig,
}
NEWER = {".spec.fallback.behavior"}
"""Fields of KEDA 2.17, one version after the schema at hand."""
# The fields of KubeRay's API that the chart uses; there is no package that has its schema.
RAY_SERVICE = {"serveConfigV2", "serveService", "rayClusterConfig"}
RAY_CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
HEAD_GROUP = {"rayStartParams", "template"}
WORKER_GROUP = HEAD_GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def unknown(given: Any, understood: Any, path: str = "") -> Iterator[str]:
    """Yield the fields of a document that its model does not know."""
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            if key not in understood:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, understood[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(understood, list):
        for i, (one, other) in enumerate(zip(given, understood, strict=True)):
            yield from unknown(one, other, f"{path}[{i}]")


def check(document: Document) -> None:
    """Check one document. Raises: kubernetes_validate.ValidationError, AssertionError, …"""
    kind = document["kind"]
    if kind == "RayService":
        check_ray_service(document)
    elif kind in CUSTOM:
        model = CUSTOM[kind].model_validate(document)
        dumped = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert not set(unknown(document, dumped)) - NEWER
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def check_ray_service(document: Document) -> None:
    """Check the fields around the pods against our list, and the rest against its own schemas."""
    spec = document["spec"]
    cluster = spec["rayClusterConfig"]
    head, workers = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", [])
    assert document["apiVersion"] == "ray.io/v1"
    assert set(spec) == RAY_SERVICE
    assert set(cluster) <= RAY_CLUSTER
    assert set(head) == HEAD_GROUP
    assert all(set(group) == WORKER_GROUP for group in workers)
    for group in (head, *workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)
    service = {"apiVersion": "v1", "kind": "Service"} | spec["serveService"]
    kubernetes_validate.validate(service, KUBERNETES, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, as it is imported
        from ray.serve.schema import ServeDeploySchema
    deployed = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (application,) = deployed.applications
    assert application.import_path == "service.ray_serve.deployment:app"
    (door,) = application.deployments
    pods = 1 + sum(group["replicas"] for group in workers)
    assert door.num_replicas == pods, "a pod without a replica is never ready"


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_chart_renders_what_its_kinds_allow(values: Path) -> None:
    manifest = documents(rendered(values))
    assert {document["kind"] for document in manifest} >= {"Deployment", "NetworkPolicy"}
    for document in manifest:
        check(document)
    names = [(document["kind"], document["metadata"]["name"]) for document in manifest]
    assert len(names) == len(set(names))


def test_a_wrong_field_is_found() -> None:
    manifest = documents(rendered(CHART / "ci" / "gpu-production.yaml"))
    wrong = {"ScaledObject": "pollingIntervall", "Deployment": "replica", "RayService": "serve"}
    for document in manifest:
        if (field := wrong.get(document["kind"])) is None:
            continue
        document["spec"][field] = 5
        with pytest.raises((kubernetes_validate.ValidationError, AssertionError)):
            check(document)


def test_helm_lint_passes() -> None:
    words = [word for path in VALUES for word in ("-f", str(path))]
    outcome = run(path_of("helm"), "lint", "--strict", CHART, *words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        ("door.repliccas=2", "repliccas"),
        ("models[0].name=Emoji", "models/0/name"),
        ("models[0].weights.url=https://x/y.tar", "sha256"),
        ("worker.scaling.maxReplicas=0", "maxReplicas"),
        ("redis.external.url=redis://user:secret@host:6379", "external/url"),
        ("redis.external.url=redis://host:6379", "redis.bundled.enabled=false"),
        ("redis.bundled.enabled=false", "redis.external.url"),
        ("redis.users.door.urlSecret=a", "redis.users.door.urlSecret"),
        ("redis.users.worker.urlSecret=a", "redis.users.worker.urlSecret"),
        ("door.auth=keys,door.urlSecrets.secret=a", "door.metricsKey.secret"),
        ("door.auth=keys,door.metricsKey.secret=a", "door.urlSecrets.secret"),
        (
            "door.auth=keys,door.urlSecrets.secret=a,worker.scaling.enabled=false,"
            "monitoring.enabled=true",
            "door.metricsKey.secret",
        ),
        ("settings.SFUMATO_SLOTS=5", "settings"),
        ("redis.backup.enabled=true,redis.backup.storage.size=50Gi", "storage.size=50Gi"),
        ("redis.backup.enabled=true,redis.bundled.maxmemoryMiB=2048", "maxmemoryMiB=2048"),
        ("redis.backup.storage.size=8K", "storage/size"),
    ],
)
def test_wrong_values_are_refused_by_name(sets: str, named: str) -> None:
    outcome = run(
        path_of("helm"), "template", "sfumato", CHART, "--set", f"models[0].name=emoji,{sets}"
    )
    assert outcome.returncode != 0
    assert named in outcome.stderr
