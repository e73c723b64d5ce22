"""``workers.check`` and a worker refuse a broken model in one line, soon and in little memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from tests.diffusion.bundle.bad_bundles import TYPES, BadBundle, bad_bundles

pytestmark = pytest.mark.timeout(240)
MOST_KIB = 2**20  # 1 GiB, with the libraries
# A process begins with the size of the one that starts it: a small one has to.
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
open(sys.argv[1], "w").write(f"{os.waitstatus_to_exitcode(status)} {used.ru_maxrss}")
"""
COMMANDS = {
    "check": ("-m", "workers.check"),
    "worker": ("-m", "celery", "-A", "workers.app", "worker", "-P", "threads"),
}
SHORT = {
    ("check", "tiny-unet/diffusion_pytorch_model.safetensors-another key"),
    ("worker", "tiny-unet/config.json-garbled"),
}
CASES = [
    pytest.param(command, bad, id=f"{command}-{bad.name}", marks=marks)
    for bad in bad_bundles()
    if bad.base == "tiny" and (bad.file.startswith("unet") or "name" in bad.harm)
    if bad.harm.split()[0] not in TYPES["unet/config.json"]
    for command in COMMANDS
    for marks in [[] if (command, bad.name) in SHORT else [pytest.mark.full]]
]


def ended(words: tuple[str, ...], folder: Path, redis_url: str) -> tuple[int, str, int]:
    """Run Python to its end; return its exit status, what it said, and its most memory in KiB."""
    env = os.environ | {
        "SFUMATO_MODEL": str(folder), "SFUMATO_REDIS_URL": redis_url, "SFUMATO_DEVICE": "cpu",
    }  # fmt: skip
    outcome = folder.with_name("outcome")
    launcher = [sys.executable, "-c", LAUNCHER, str(outcome), sys.executable, *words]
    ran = subprocess.run(launcher, env=env, capture_output=True, text=True, timeout=200)
    status, used_kib = map(int, outcome.read_text().split())
    return status, ran.stdout + ran.stderr, used_kib


@pytest.mark.parametrize(("command", "bad"), CASES)
def test_it_does_not_start(command: str, bad: BadBundle, tmp_path: Path, redis_url: str) -> None:
    folder = tiny_bundle(tmp_path / "m")
    bad.breaks(folder)
    status, said, used_kib = ended(COMMANDS[command], folder, redis_url)
    assert status == 1, said
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert Path(bad.file).name in last, said
    assert used_kib < MOST_KIB, said
