"""Manifests that run where there is IPv6 alone, and health checks that ask no proxy."""

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.host.addresses import family_of, reachable
from service.webhooks.special_addresses import CLOUDS, SPECIAL
from tests.deploy.tools import CHART, ROOT, Document, documents, environment, pods, rendered

TRIAL = CHART / "ci" / "trial-uvicorn.yaml"
PRODUCTION = CHART / "ci" / "gpu-production.yaml"
TRANSLATED = {"64:ff9b::/96", "::ffff:0:0/96"}  # receivers of webhooks may be reached only so


@cache
def parsed(*values: Path) -> list[Document]:
    return documents(rendered(*values))


@pytest.mark.needs("helm")
@pytest.mark.parametrize("values", [(), (TRIAL,), (PRODUCTION,)])
def test_every_server_listens_on_the_families_that_its_pod_has(values: tuple[Path, ...]) -> None:
    hosts = []
    for pod in pods(parsed(*values)):
        for container in pod["containers"]:
            command = container.get("command", [])
            hosts += [command[n + 1] for n, word in enumerate(command) if word == "--host"]
            given = environment(container) if "env" in container else {}
            hosts += [value for name, value in given.items() if name.endswith("_HOST")]
    assert set(hosts) == {"*"}
    assert family_of("*")
    assert reachable("*") == "127.0.0.1"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("host", ["0.0.0.0", "::0"])
def test_serve_listens_on_the_family_that_is_chosen(host: str) -> None:
    (service,) = [
        document
        for document in documents(rendered(sets=f"door.ray.host={host}"))
        if document["kind"] == "RayService"
    ]
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["http_options"]["host"] == host


@pytest.mark.needs("helm")
def test_no_address_of_one_family_is_left_in_the_manifests() -> None:
    text = "\n".join(line.partition("#")[0] for line in rendered().split("\n"))
    found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+(?:/\d+)?", text))
    blocks = {str(each) for each in public_blocks(parsed())[0]}
    assert found - blocks <= {"0.0.0.0", "0.0.0.0/0"}  # Serve's default, and every address


def public_blocks(found: list[Document]) -> tuple[set[Any], set[Any]]:
    """Return what the door's policy excepts from the public addresses, by family."""
    (policy,) = [
        each
        for each in found
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"].endswith("-door")
    ]
    blocks = [
        to["ipBlock"]
        for rule in policy["spec"]["egress"]
        for to in rule.get("to", ())
        if "ipBlock" in to
    ]
    by_cidr = {block["cidr"]: set(map(ipaddress.ip_network, block["except"])) for block in blocks}
    return by_cidr["0.0.0.0/0"], by_cidr["::/0"]


@pytest.mark.needs("helm")
def test_the_policy_excepts_what_webhooks_are_refused() -> None:
    excepted = public_blocks(parsed())
    special = [ipaddress.ip_network(text) for text in (SPECIAL | CLOUDS).keys() - TRANSLATED]
    for version, given in zip((4, 6), excepted, strict=True):
        listed: Any = [network for network in special if network.version == version]
        assert given == set(ipaddress.collapse_addresses(listed))


def test_health_checks_of_containers_ask_no_proxy() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    checks = [part["healthcheck"]["test"] for part in compose["services"].values()]
    assert len(checks) >= 4
    for check in checks:
        words = " ".join(check)
        if "wget" in check:
            assert "--no-proxy" in check
        elif "python" in check:
            compile(check[-1], "healthcheck", "exec")
            assert "http.client" in words
        else:
            assert "-cli" in words
        assert "urllib" not in words
