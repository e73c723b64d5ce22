"""How much memory this process may still take: the machine's, or what its container leaves."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")


def free_memory(cgroups: Path = CGROUPS, machine: Path = MEMORY) -> int | None:
    """Return the bytes that can be taken without swapping or being killed; None if nobody says.

    A container's own group is the root that it sees (cgroup v2), as Kubernetes and Docker mount it.
    """
    found = [each for each in (_of_machine(machine), _of_group(cgroups)) if each is not None]
    return max(0, min(found)) if found else None


def _of_machine(path: Path) -> int | None:
    kib = _fields(path).get("MemAvailable:")
    return None if kib is None else 1024 * kib


def _of_group(folder: Path) -> int | None:
    limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None or used is None:
        return None
    cached = _fields(folder / "memory.stat").get("inactive_file", 0)  # given back when needed
    return limit - used + cached


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Return the first number of each line, by its first word."""
    lines = (line.split() for line in _read(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError):
        return ""
