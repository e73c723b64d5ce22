"""Why a model is not added.

BundleError
├── Interrupted   it broke off, and the same command resumes it
├── Unfinished    another option of the same addition would do; what was downloaded is kept
├── DiskFull      no space is left; nothing is kept
└── OutOfMemory   it takes more memory than this machine or its device has free
"""

import errno

from diffusion.errors import BundleError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
GB = 10**9
MOST_CAUSES = 10


class Interrupted(BundleError):
    """A download broke off; the same command resumes it."""


class Unfinished(BundleError):
    """The addition would succeed with another option; its download is kept for that."""


class DiskFull(BundleError):
    """The disk of the models directory is full."""


class OutOfMemory(BundleError):
    """A model takes more memory than there is."""


def is_full(error: BaseException) -> bool:
    """Return whether an error, or what caused it, says that the disk is full."""
    told = f"(os error {errno.ENOSPC})"  # by safetensors' writer
    seen: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if seen is None:
            return False
        if getattr(seen, "errno", None) in FULL or told in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def size(count: float) -> str:
    """Return a number of bytes in words: ``2.13 GB``."""
    for unit, one in (("GB", GB), ("MB", 10**6), ("kB", 10**3)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count:.0f} bytes"
