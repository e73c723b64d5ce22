"""Clients in a process of their own: they submit jobs over HTTP and watch every event of each."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import aiohttp

from jobs.schema import JobRequest


class Audience:
    """The other end of the pipe to the process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def submit(self, requests: list[JobRequest]) -> None:
        """Submit jobs; return when the door has taken the last one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        lines = [request.model_dump(mode="json", exclude_unset=True) for request in requests]
        self._process.stdin.write(json.dumps(lines) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == f"submitted {len(requests)}", answer


@contextlib.contextmanager
def audience(url: str) -> Iterator[Audience]:
    """Run the clients of the door at ``url``."""
    command = [sys.executable, "-m", "tests.benchmarks.doors.audience", url]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield Audience(process)
    finally:
        process.kill()
        process.wait()


async def _watch(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as answer:
        async for _ in answer.content:
            pass


async def _serve(url: str) -> None:
    loop = asyncio.get_running_loop()
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    watching: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            requests = json.loads(line)
            for request in requests:
                async with session.post(f"{url}/v1/jobs", json=request) as answer:
                    assert answer.status == 202, await answer.text()
                    events = f"{url}/v1/jobs/{(await answer.json())['id']}/events"
                task = asyncio.create_task(_watch(session, events))
                watching.add(task)
                task.add_done_callback(watching.discard)
            print(f"submitted {len(requests)}", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
