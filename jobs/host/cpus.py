"""How many CPUs this process may use: its affinity and its container's quota, not the host's."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
PERIOD_US = "100000"  # the kernel's default


def usable_cpus(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return the CPUs that the scheduler gives this process, a part of one counted as one.

    The quota is that of cgroup v2 (``cpu.max``) or v1 (``cpu.cfs_quota_us``), of this process'
    group or of the tightest one above it.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(ceil(quota) for quota in _quotas(root, membership))]))


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of this process' groups."""
    for folder in _groups(root, membership):
        limit, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        if not limit:
            limit = _read(folder / "cpu.cfs_quota_us") or ""
            period = _read(folder / "cpu.cfs_period_us") or ""
        if limit.isdecimal() and (period or PERIOD_US).isdecimal():
            yield int(limit) / (int(period or PERIOD_US) or 1)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of this process' groups that may limit its CPUs, up to the root.

    In a container the membership may be the host's, and the root is its own group.
    """
    for line in (_read(membership) or "").split("\n"):
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for base in {root / controllers, root / "cpu"} if controllers else {root}:
            group = base / path.lstrip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(base))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeError):
        return None
