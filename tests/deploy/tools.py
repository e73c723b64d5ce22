"""The chart's manifests, and a function that runs the programs that check them."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.needs import path_of

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "sfumato"
Document = dict[str, Any]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def rendered(*values: Path, sets: str = "") -> str:
    """Return what the chart renders with these files of values."""
    words = [word for path in values for word in ("-f", str(path))]
    words += ["--set", sets] if sets else []
    outcome = run(path_of("helm"), "template", "sfumato", CHART, "--namespace", "sfumato", *words)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def documents(manifest: str) -> list[Document]:
    """Return the documents of a manifest."""
    loaded = yaml.load_all(manifest, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [document for document in loaded if document]


def only(manifest: list[Document], kind: str, name: str) -> Document:
    """Return the one document of this kind and name."""
    found = [d for d in manifest if d["kind"] == kind and d["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} documents are {kind} {name}"
    return found[0]


def pod_of(document: Document) -> Document:
    """Return the specification of a workload's pods."""
    (template,) = templates([document])
    pod: Document = template["spec"]
    return pod


def pods(manifest: list[Document]) -> list[Document]:
    """Return the specification of every pod that the manifest makes."""
    return [template["spec"] for template in templates(manifest)]


def templates(manifest: list[Document]) -> list[Document]:
    """Return the template of every pod that the manifest makes, Ray's among them."""
    found = []
    for document in manifest:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet"):
            found.append(spec["template"])
        elif document["kind"] == "CronJob":
            found.append(spec["jobTemplate"]["spec"]["template"])
        elif document["kind"] == "RayService":
            cluster = spec["rayClusterConfig"]
            groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())]
            found += [group["template"] for group in groups]
    return found


def environment(container: Document) -> dict[str, Any]:
    """Return a container's variables: their values, or where these come from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
