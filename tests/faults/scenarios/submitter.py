"""Clients that submit over HTTP all the while."""

import asyncio
from collections import Counter

import httpx

from tests.faults.client import until

BODY = {"prompt": "a red apple", "seed": 5, "num_inference_steps": 20, "preview": 0}


class Submitter:
    """Submits small jobs from several clients at once and remembers every answer."""

    def __init__(self, http: httpx.AsyncClient, pause_s: float) -> None:
        self._http = http
        self._pause_s = pause_s
        self._stopping = False
        self.accepted: list[str] = []
        self.answers: Counter[int] = Counter()  # by status; 0: no answer
        self.untimed = 0  # 503 without Retry-After

    @property
    def accepted_count(self) -> int:
        """Jobs acknowledged so far."""
        return len(self.accepted)

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopping = True

    async def run(self, clients: int) -> None:
        """Submit until stopped."""
        await asyncio.gather(*(self._submit() for _ in range(clients)))

    async def _submit(self) -> None:
        while not self._stopping:
            try:
                answer = await self._http.post("/v1/jobs", json=BODY)
            except httpx.TransportError:
                self.answers[0] += 1
            else:
                self.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code == 503 and "retry-after" not in answer.headers:
                    self.untimed += 1
            await asyncio.sleep(self._pause_s)


async def door_ready(http: httpx.AsyncClient) -> None:
    """Wait until the door would take a job on."""

    async def ready() -> bool:
        try:
            return (await http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await until("the door", ready)
