"""The GPUs of this machine that ``sfumato up --gpus`` gives a worker each."""

import os
import re
import subprocess

from service.local.errors import StackError

LISTED = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Has CUDA number devices as nvidia-smi does; otherwise the fastest one is 0."""
LIMIT_S = 30.0


def devices_of(wanted: str) -> tuple[int, ...]:
    """Return the devices that ``all`` or numbers with commas between them mean.

    Where ``CUDA_VISIBLE_DEVICES`` is set, the numbers count the devices that it leaves.

    Raises:
        StackError: it is neither, names a device twice, or the machine's devices are not known.
    """
    if wanted == "all":
        return tuple(range(_count()))
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3})*", wanted, re.ASCII):
        raise StackError(f"--gpus {wanted!r} is neither 'all' nor numbers such as 0,2")
    numbers = tuple(int(number) for number in wanted.split(","))
    if len(set(numbers)) < len(numbers):
        raise StackError(f"--gpus {wanted} names a GPU twice; each gets one worker")
    return numbers


def _count() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found = len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
        where = "CUDA_VISIBLE_DEVICES leaves none"
    else:
        found, where = len(_listed()), "nvidia-smi lists none"
    if not found:
        raise StackError(f"--gpus all: {where}")
    return found


def _listed() -> list[str]:
    try:
        listed = subprocess.run(LISTED, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    except FileNotFoundError as error:
        raise StackError(
            "--gpus all: there is no nvidia-smi; name them, as in --gpus 0,1"
        ) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise StackError(f"--gpus all: nvidia-smi fails: {error}") from error
    return listed.stdout.split()
