"""Room for a thousand clients: a socket is a file, and systems start processes with few."""

import resource

WANTED = 65_536


def raise_file_limit() -> int:
    """Raise how many files this process and its children may open; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
