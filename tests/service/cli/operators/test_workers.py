"""``sfumato workers`` on announcements: what it prints, and what a worker learns."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.jobs.examples import worker
from tests.service.conftest import Command

T = TypeVar("T")


def in_store(settings: JobsSettings, act: Callable[[RedisStore], Awaitable[T]]) -> T:
    async def run() -> T:
        store = RedisStore(settings)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(run())


def announce(
    settings: JobsSettings, *, name: str = "w", draining: bool = False, jobs: int = 0
) -> bool:
    """Announce a worker; return whether it is wanted drained."""
    entry = replace(worker(10.0, name), draining=draining, jobs=jobs)
    return in_store(settings, lambda store: store.announce_worker(entry)).drained


def test_workers_are_listed(command: Command, jobs_settings: JobsSettings) -> None:
    assert json.loads(command("workers", "list", "--json").output) == []
    announce(jobs_settings, jobs=3)
    (listed,) = json.loads(command("workers", "list", "--json").output)
    assert (listed["id"], listed["jobs"], listed["draining"]) == ("w", 3, False)
    assert "ready" in command("workers", "list").output
    announce(jobs_settings, draining=True)
    assert "draining" in command("workers", "list").output


def test_a_worker_learns_that_it_is_wanted_drained_and_resumed(
    command: Command, jobs_settings: JobsSettings
) -> None:
    assert not announce(jobs_settings, jobs=2)
    late = command("workers", "drain", "w", "--timeout", "0", code=1).output
    assert "still holds 2 jobs" in late
    assert announce(jobs_settings, draining=True)
    assert "can be stopped" in command("workers", "drain", "w").output
    command("workers", "resume", "w")
    assert not announce(jobs_settings)


def test_a_stopped_worker_leaves_no_wish(command: Command, jobs_settings: JobsSettings) -> None:
    announce(jobs_settings, draining=True)
    command("workers", "drain", "w")
    in_store(jobs_settings, lambda store: store.retire_worker("w"))
    assert not announce(jobs_settings)


def test_an_unknown_worker_is_named(command: Command) -> None:
    for act in ("drain", "resume"):
        said = command("workers", act, "no\nbody", code=1).output
        assert "no live worker has the id 'no\\nbody'" in said


def test_a_worker_of_several_models_is_drained_as_a_whole_or_by_model(
    command: Command, jobs_settings: JobsSettings
) -> None:
    names = ("w/a", "w/b", "ww/a")
    for name in names:
        announce(jobs_settings, name=name, draining=True)
    command("workers", "drain", "w")
    assert [announce(jobs_settings, name=name) for name in names] == [True, True, False]
    command("workers", "resume", "w/b")
    assert [announce(jobs_settings, name=name) for name in names] == [True, False, False]
