"""Settings of the C allocator for a process that requests the same large blocks every tick."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
HEAP = 64 * 2**20  # bytes; what arenas other than the main thread's grow by
HALF_A_HEAP = HEAP // 2  # the largest threshold that glibc takes


def keep_freed_memory() -> bool:
    """Let the allocator keep freed memory; return False if it is not glibc's.

    By default it returns large blocks to the kernel, which fills them with zeros page by page when
    they are requested again: 360 rows a second instead of 450 with 24 rows, in some processes and
    not in others, depending on where the blocks lie. A padding as large as a heap keeps empty
    heaps, too. The number of arenas is left alone: with one for all threads, the engine's thread
    waited for its lock five times a tick.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = {M_MMAP_THRESHOLD: HALF_A_HEAP, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: HEAP}
    return all([mallopt(name, value) == 1 for name, value in wanted.items()])


def return_freed_memory() -> None:
    """Return what the allocator has kept to the kernel, after work that is not repeated."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
