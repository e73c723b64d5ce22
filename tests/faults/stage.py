"""What scenarios play on: servers, workers and clients that are all gone at the end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from redis.asyncio import Redis

from jobs.cancelling import end
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.faults.client import Client, until
from tests.faults.processes import Door, RedisProcess, Worker
from tests.faults.relay import Relay


class Clock:
    """Seconds in which this process could look: a stall of it, or of the machine, counts little."""

    STEP_S = 0.02
    LATE_S = 0.1
    """The most that one step counts."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        self._at = monotonic()

    def __call__(self) -> float:
        """Return the seconds since the start."""
        now = monotonic()
        self._passed_s += min(now - self._at, self.LATE_S)
        self._at = now
        return self._passed_s

    async def run(self) -> None:
        """Look again and again, forever."""
        while True:
            self()
            await asyncio.sleep(self.STEP_S)


class Fleet:
    """Workers that are started again when they die, as a supervisor does; each start a new id."""

    def __init__(self, name: str, start: Callable[[str], Worker], places: int) -> None:
        self._name = name
        self._start = start
        self._starts = 0
        self.workers: list[Worker] = [self._next(place) for place in range(places)]
        self.ever = list(self.workers)
        self._task: asyncio.Task[None] | None = None

    def _next(self, place: int) -> Worker:
        self._starts += 1
        return self._start(f"{self._name}{place}-{self._starts}")

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.workers)

    @property
    def names(self) -> set[str]:
        """The workers' ids."""
        return {worker.name for worker in self.workers}

    def get(self, name: str | None) -> Worker:
        """Return a worker that was ever started, by its id."""
        return next(worker for worker in self.ever if worker.name == name)

    def supervise(self) -> None:
        """Start what has died again from now on."""
        self._task = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while True:
            self.restart()
            await asyncio.sleep(0.1)

    def restart(self) -> None:
        """Start again what has died."""
        for place, worker in enumerate(self.workers):
            if not worker.alive:
                self.workers[place] = self._next(place)
                self.ever.append(self.workers[place])

    async def close(self) -> None:
        """End all workers."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for worker in self.ever:
            worker.end()


class Stage:
    """Starts what a scenario asks for, in a folder of its own."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model
        self.clock = Clock()
        self._closing = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Stage":
        self.folder.mkdir(parents=True, exist_ok=True)
        looking = asyncio.create_task(self.clock.run())
        self._closing.push_async_callback(end, looking)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._closing.aclose()

    def closes(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call this at the end."""
        self._closing.push_async_callback(close)

    def redis(self, *options: str, name: str = "redis", **how: Any) -> RedisProcess:
        """Start a Redis that may be killed."""
        server = RedisProcess(self.folder / name, free_port(), *options, **how)
        self._closing.callback(server.kill)
        server.start()
        return server

    async def fleet(
        self, settings: JobsSettings, places: int, *, name: str = "w", **how: Any
    ) -> Fleet:
        """Start workers; return when all have announced themselves."""

        def start(worker: str) -> Worker:
            return self.worker(settings, worker, **how)

        fleet = Fleet(name, start, places)
        self._closing.push_async_callback(fleet.close)
        try:
            await self.client(settings).workers(fleet.names)
        except AssertionError as error:
            ended = {w.name: code for w in fleet if (code := w.process.poll()) is not None}
            raise AssertionError(f"{error}; exit codes: {ended}") from error
        return fleet

    def worker(self, settings: JobsSettings, name: str, **how: Any) -> Worker:
        """Start a worker."""
        worker = Worker(settings, self.model, name, self.folder / f"{name}.log", **how)
        self._closing.callback(worker.end)
        return worker

    def client(self, settings: JobsSettings) -> Client:
        """Open a client of the store."""
        client = Client(settings)
        self._closing.push_async_callback(client.close)
        return client

    def connect(self, server: RedisProcess) -> Redis:
        """Open a connection to a server, past the store."""
        redis = Redis.from_url(server.url)
        self._closing.push_async_callback(redis.aclose)
        return redis

    async def written(self, server: RedisProcess) -> None:
        """Wait until what a server has acknowledged so far is in its append-only file."""
        redis = self.connect(server)

        async def nothing_held_back() -> bool:
            return int((await redis.info("persistence"))["aof_buffer_length"]) == 0

        await until("the append-only file", nothing_held_back)

    async def relay(self, target: int) -> Relay:
        """Open an address that leads to a port for now."""
        relay = Relay(target)
        await relay.start()
        self._closing.push_async_callback(relay.close)
        return relay

    def door(self, settings: JobsSettings, **how: Any) -> Door:
        """Start a door; it answers a little later."""
        door = Door(settings, free_port(), self.folder / "door.log", **how)
        self._closing.callback(door.kill)
        door.start()
        return door
