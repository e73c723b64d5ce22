"""A mixed load over HTTP: everything that clients do, at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import httpx

from tests.faults.scenarios.submitter import door_ready
from tests.processes import PATIENCE_S

OUTSTANDING = 12
"""Jobs of this load that have not ended."""


class Load:
    """Clients that submit, repeat, follow, poll, leave and cancel until they are stopped."""

    def __init__(self, url: str, ttl_s: float) -> None:
        self.accepted: list[str] = []
        self.canceled: set[str] = set()
        self.ended: dict[str, str] = {}  # final statuses
        self.late: set[str] = set()  # that ran out before a client came back to them
        self.spreads: list[float] = []  # seconds from a job's first of several images to its end
        self.running: list[float] = []  # seconds that jobs ran
        self.answers: dict[int, int] = {}  # by status
        self._http = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False)
        self._random = random.Random(7)
        self._stopping = False
        self._ttl_s = ttl_s

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopping = True

    async def run(self) -> None:
        """Submit until stopped; return once every job has ended or was left."""
        try:
            await door_ready(self._http)
            async with asyncio.TaskGroup() as clients:
                for number in range(OUTSTANDING):
                    clients.create_task(self._client(number))
        finally:
            await self._http.aclose()

    async def _client(self, number: int) -> None:
        ways: list[Callable[[str, float], Awaitable[None]]]
        ways = [self._follow, self._poll, self._cancel, self._leave]
        while not self._stopping:
            since = monotonic()
            job_id = await self._submit(repeated=number % 3 == 0)
            if job_id is None:
                await asyncio.sleep(0.2)
                continue
            await self._random.choice(ways)(job_id, since)

    async def _submit(self, repeated: bool) -> str | None:
        body: dict[str, Any] = {
            "prompt": self._random.choice(("a red apple", "蓝色的心", "a pear " * 40)),
            "num_images": self._random.choice((1, 1, 5)),
            "num_inference_steps": self._random.choice((4, 20, 60)),
            "preview": self._random.choice((0, 1, 10)),
            "output_format": self._random.choice(("png", "webp")),
            "priority": self._random.choice(("normal", "normal", "low", "high")),
        }
        headers = {"idempotency-key": str(self._random.getrandbits(64))}
        for _ in range(1 + repeated):
            answer = await self._http.post("/v1/jobs", json=body, headers=headers)
            self._count(answer)
        if answer.status_code not in (200, 202):
            return None
        job_id: str = answer.json()["id"]
        self.accepted.append(job_id)
        return job_id

    def _there(self, job_id: str, answer: httpx.Response, since: float) -> bool:
        """Count an answer; return whether it has what is kept from the job's end on.

        ``since`` is a time at which the job had not ended. A client that was held up for longer
        than a result lives finds none.
        """
        if answer.status_code in (404, 410) and monotonic() - since >= self._ttl_s:
            self.late.add(job_id)
            return False
        self._count(answer)
        return answer.status_code == 200

    def _count(self, answer: httpx.Response) -> None:
        self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1

    async def _follow(self, job_id: str, since: float) -> None:
        async with self._http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            async for _ in stream.aiter_bytes():
                pass
        await self._poll(job_id, since)

    async def _poll(self, job_id: str, since: float) -> None:
        began = running_since = first_image_at = 0.0
        while True:
            asked_at = monotonic()
            answer = await self._http.get(f"/v1/jobs/{job_id}")
            if not self._there(job_id, answer, since):
                return
            job, now = answer.json(), monotonic()
            began = began or now
            if job["status"] == "running":
                running_since = running_since or now
            if job["images"]:
                first_image_at = first_image_at or now
            if job["status"] not in ("queued", "running"):
                break
            since = asked_at
            await asyncio.sleep(0.1)
        self.ended[job_id] = job["status"]
        if running_since > began:
            self.running.append(now - running_since)
            if len(job["images"]) > 1:
                self.spreads.append(now - first_image_at)
        for image in job["images"] if job["status"] == "succeeded" else ():
            self._there(job_id, await self._http.get(image["url"]), since)

    async def _cancel(self, job_id: str, since: float) -> None:
        await asyncio.sleep(self._random.random() / 2)
        self.canceled.add(job_id)
        answer = await self._http.post(f"/v1/jobs/{job_id}/cancel")
        if self._there(job_id, answer, since):
            await self._poll(job_id, since)

    async def _leave(self, job_id: str, since: float) -> None:
        async with self._http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            async for _ in stream.aiter_bytes():
                break
        await self._poll(job_id, since)
