"""Clients that submit jobs over HTTP without a break."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.faults.client import until
from tests.faults.processes import Door
from tests.processes import PATIENCE_S

BODY = {"prompt": "a red apple", "seed": 5, "num_inference_steps": 20, "preview": 0}


class Submitter:
    """Submits small jobs from several clients at once and remembers every answer."""

    def __init__(self, http: httpx.AsyncClient, pause_s: float) -> None:
        self.http = http
        self._pause_s = pause_s
        self._stopping = False
        self.accepted: list[str] = []
        self.answers: Counter[int] = Counter()  # by status; 0: no answer
        self.untimed = 0  # 503 without Retry-After

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopping = True

    async def run(self) -> None:
        """Submit until stopped."""
        while not self._stopping:
            try:
                answer = await self.http.post("/v1/jobs", json=BODY)
            except httpx.TransportError:
                self.answers[0] += 1
            else:
                self.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code == 503 and "retry-after" not in answer.headers:
                    self.untimed += 1
            await asyncio.sleep(self._pause_s)


@asynccontextmanager
async def submitting(door: Door, clients: int, pause_s: float) -> AsyncIterator[Submitter]:
    """Submit at a door from several clients for the length of the block."""
    async with httpx.AsyncClient(base_url=door.url, timeout=PATIENCE_S) as http:
        await door_ready(http)
        submitter = Submitter(http, pause_s)
        async with asyncio.TaskGroup() as running:
            for _ in range(clients):
                running.create_task(submitter.run())
            yield submitter
            submitter.stop()


async def door_ready(http: httpx.AsyncClient) -> None:
    """Wait until the door would take a job on."""

    async def ready() -> bool:
        try:
            return (await http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await until("the door", ready)
