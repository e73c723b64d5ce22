"""What processes hold, and whether their counters only rise."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]
COUNTING = ("_total", "_count", "_bucket", "_sum")
PAGE_BYTES = 4096


@dataclass(frozen=True)
class Held:
    """What one process holds."""

    rss_bytes: int
    threads: int
    files: int
    sockets: int


def held(pid: int) -> Held:
    """Return what a process holds now."""
    folder = Path("/proc") / str(pid)
    files = [_target(file) for file in (folder / "fd").iterdir()]
    sockets = sum(target.startswith("socket:") for target in files)
    pages = int((folder / "statm").read_text().split()[1])
    threads = len(list((folder / "task").iterdir()))
    return Held(pages * PAGE_BYTES, threads, len(files) - sockets, sockets)


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""


@dataclass
class Watch:
    """Scrapes processes once a second and notes memory and every counter that fell."""

    urls: dict[str, str]  # of metrics, by process
    pids: dict[str, int]
    fallen: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=dict)  # bytes, one a second
    _last: dict[str, dict[Series, float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Look once a second, forever."""
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            while True:
                for name, url in list(self.urls.items()):
                    await self._scrape(http, name, url)
                for name, pid in list(self.pids.items()):
                    try:
                        self.memory.setdefault(name, []).append(held(pid).rss_bytes)
                    except OSError:  # it has ended
                        del self.pids[name]
                await asyncio.sleep(1)

    async def _scrape(self, http: httpx.AsyncClient, name: str, url: str) -> None:
        try:
            page = (await http.get(url)).text
        except httpx.TransportError:
            return
        now = counters(page)
        before = self._last.get(name, {})
        self.fallen += [
            f"{name} {series[0]}{dict(series[1])} from {value:g} to {now.get(series, 0):g}"
            for series, value in before.items()
            if now.get(series, 0) < value
        ]
        self._last[name] = now


def counters(page: str) -> dict[Series, float]:
    """Return every series of a scrape that may only rise."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        if family.type in ("counter", "histogram", "summary")
        for sample in family.samples
        if sample.name.endswith(COUNTING)
    }


def growth(memory: Mapping[str, list[int]]) -> dict[str, tuple[float, float]]:
    """Return each process's memory in MB, over the second and over the last quarter of its life."""
    found = {}
    for name, values in memory.items():
        quarter = max(1, len(values) // 4)
        second, last = values[quarter : 2 * quarter] or values, values[-quarter:]
        found[name] = (sum(second) / len(second) / 1e6, sum(last) / len(last) / 1e6)
    return found


def over_time(memory: Mapping[str, list[int]], moments: int = 10) -> str:
    """Return a line for each process: its memory in MB at evenly spaced moments of its life."""
    lines = []
    for name, values in memory.items():
        picked = [values[place * (len(values) - 1) // (moments - 1)] for place in range(moments)]
        lines.append(f"{name:>8} " + " ".join(f"{value / 1e6:6.1f}" for value in picked))
    return "\n".join(lines)
