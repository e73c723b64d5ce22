"""The C allocator's habits, for a process that asks for the same large blocks again every tick."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # glibc's malloc.h
HALF_A_HEAP = 32 * 2**20  # the largest threshold that glibc takes


def keep_freed_memory() -> bool:
    """Let the allocator keep what is freed; return False where it is not glibc's.

    By default it gives large blocks back to the kernel and has them filled with zeros page by page
    when they are asked for again: measured 360 rows a second instead of 450 on 24 rows, in some
    processes and not in others, as the blocks happen to lie.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = {
        M_ARENA_MAX: 1,
        M_MMAP_THRESHOLD: HALF_A_HEAP,
        M_TRIM_THRESHOLD: 2**31 - 1,
        M_TOP_PAD: HALF_A_HEAP,
    }
    return all([mallopt(name, value) == 1 for name, value in wanted.items()])
