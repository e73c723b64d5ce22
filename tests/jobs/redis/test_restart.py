"""Redis is killed and started again in the middle of a call: it lacks scripts, or a job."""

from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.redis.store import RedisStore
from tests.jobs.examples import checkpoint, claim, submit


@pytest.fixture
def restarting(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have Redis lose its scripts each time that it is given one, while this list has an item."""
    client: Any = vars(store)["_redis"]
    load, left = client.script_load, list[str]()

    async def given(script: str) -> Any:
        answer = await load(script)
        if left:
            await client.script_flush()
        return answer

    monkeypatch.setattr(client, "script_load", given)
    return left


async def test_scripts_that_a_restart_took_again_are_given_again(
    store: RedisStore, restarting: list[str]
) -> None:
    await submit(store, "job")
    held = await claim(store)
    restarting.append("again")
    await vars(store)["_redis"].script_flush()
    with pytest.raises(StoreUnavailable, match="restarted"):
        await store.checkpoint(held.lease, [checkpoint(3)])
    with pytest.raises(StoreUnavailable, match="restarted"):
        await store.renew([held.lease])
    restarting.clear()
    await store.checkpoint(held.lease, [checkpoint(3)])
    assert not (await store.renew([held.lease])).lost


async def test_a_job_that_a_restart_took_was_not_accepted(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    creator, redis = vars(store)["_creator"], vars(store)["_redis"]
    create = creator.create

    async def forgotten(*arguments: Any) -> Any:
        answer = await create(*arguments)
        await redis.delete(f"{vars(store)['_prefix']}:job:job")
        return answer

    monkeypatch.setattr(creator, "create", forgotten)
    with pytest.raises(StoreUnavailable, match="job job has vanished"):
        await submit(store, "job")
