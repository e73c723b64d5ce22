"""The plain manifests: written from the chart, and what kubectl makes of them."""

import pytest

from deploy.kustomize.render import render
from tests.deploy.tools import ROOT, documents, run
from tests.needs import path_of

BASE = ROOT / "deploy" / "kustomize" / "base"


@pytest.mark.needs("helm")
def test_the_manifests_are_the_charts_of_today() -> None:
    assert render(path_of("helm")) == (BASE / "sfumato.yaml").read_text(), "run `make manifests`"


@pytest.mark.needs("kubectl")
def test_kubectl_builds_the_base_in_the_namespace_that_its_urls_name() -> None:
    built = run(path_of("kubectl"), "kustomize", BASE)
    assert built.returncode == 0, built.stderr
    names = [
        sorted((d["kind"], d["metadata"]["name"]) for d in documents(text))
        for text in (built.stdout, (BASE / "sfumato.yaml").read_text())
    ]
    assert names[0] == names[1]
    assert {d["metadata"]["namespace"] for d in documents(built.stdout)} == {"sfumato"}
