"""What the C allocator keeps and gives back, in a process of its own."""

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import ctypes, threading
from pathlib import Path
from workers.ops.memory import keep_freed_memory, return_freed_memory

MB = 2**20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MB


def work():
    blocks = [libc.malloc(10 * MB) for _ in range(30)]
    for block in blocks:
        ctypes.memset(block, 1, 10 * MB)
    for block in blocks:
        libc.free(block)


assert keep_freed_memory()
for begin in (work, lambda: threading.Thread(target=work)):
    before = resident()
    thread = begin()
    if thread is not None:
        thread.start()
        thread.join()
    kept = resident() - before
    return_freed_memory()
    print(round(kept), round(resident() - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_kept_until_it_is_returned() -> None:
    found = subprocess.run(
        [sys.executable, "-c", BLOCKS], check=True, capture_output=True, text=True, timeout=60
    )
    for line in found.stdout.splitlines():
        kept, left = map(int, line.split())
        assert kept >= 290
        assert left <= 70  # parts of heaps of 64 MB
    assert found.stdout.count("\n") == 2
