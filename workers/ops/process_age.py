"""How long this process has existed."""

import os
import time
from pathlib import Path

_START_FIELD = 19  # of /proc/self/stat after the command's name: clock ticks since boot, proc(5)


def process_age_s() -> float:
    """Return the seconds since the kernel started this process; 0.0 if they are unknown."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, AttributeError, ValueError):
        return 0.0
