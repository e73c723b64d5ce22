"""Print the chart as plain manifests: ``python -m deploy.kustomize.render HELM``."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HEADER = "# Written by `make manifests` from deploy/helm/sfumato and deploy/kustomize/values.yaml."
HELMS_OWN = ("# Source:", "helm.sh/chart", "managed-by: Helm")
ROOT = Path(__file__).parents[2]


def render(helm: str) -> str:
    """Return what the chart renders with the values of this folder, without Helm's own labels."""
    command = [helm, "template", "sfumato", "deploy/helm/sfumato", "--namespace", "sfumato"]
    command += ["-f", "deploy/kustomize/values.yaml"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return "\n".join([HEADER, *lines(outcome.stdout), ""])


def lines(manifest: str) -> Iterator[str]:
    """Yield the lines to keep."""
    for line in manifest.splitlines():
        if line.strip() and not any(word in line for word in HELMS_OWN):
            yield line.rstrip(" ")


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
