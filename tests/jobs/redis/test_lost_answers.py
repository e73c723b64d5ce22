"""Answers that are lost, and restarts of Redis in mid-call: a retry makes good what they broke."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.errors import StaleFence, StoreUnavailable
from jobs.redis.store import RedisStore
from jobs.store import Claim
from tests.jobs.conftest import RunOut
from tests.jobs.examples import checkpoint, claim, picture, submit

Ends = Callable[[str], list[int]]
NO_END = -1  # what Redis says of a key that stays


async def claimed(store: RedisStore) -> Claim:
    await submit(store, "job")
    return await claim(store)


def losing(store: RedisStore, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have Redis' next answer to a worker's call lost; the call itself is made."""
    claims = vars(store)["_claims"]
    call, lost = getattr(claims, name), [name]

    async def made(*arguments: Any) -> Any:
        answer = await call(*arguments)
        if lost:
            raise StoreUnavailable(f"the answer to {lost.pop()} is lost")
        return answer

    monkeypatch.setattr(claims, name, made)
    return lost


@pytest.fixture
def ends(redis: Any, prefix: str) -> Ends:
    """Return the seconds that each of the job's blobs of a kind has left."""
    return lambda kind: [redis.ttl(key) for key in redis.scan_iter(f"{prefix}:{kind}:*")]


@pytest.mark.parametrize("call", ["_claim", "_checkpoints"])
async def test_a_claim_whose_answer_was_lost_is_made_good(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for job_id in ("first", "second"):
        await submit(store, job_id)
    losing(store, call, monkeypatch)
    with pytest.raises(StoreUnavailable):
        await store.claim("toy", "w", idle=True)
    other = await claim(store, "other")
    claims = [await store.claim("toy", "w", idle=True) for _ in range(2)]
    assert claims[0] is not None
    assert (claims[0].record.id, other.record.id, claims[1]) == ("first", "second", None)
    assert claims[0].record.attempts == 1
    await store.finish(claims[0].lease, 1)


async def test_a_claim_that_was_lost_before_it_was_made_is_a_new_one(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(store, "_claim", monkeypatch)
    with pytest.raises(StoreUnavailable):
        await store.claim("toy", "w", idle=True)
    assert (await claimed(store)).record.attempts == 1


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return what breaks the connection as the next answer about a job comes, once."""

    def prepare(job_id: str) -> list[str]:
        read, lost = AbstractConnection.read_response, list[str]()

        async def reading(self: AbstractConnection, *given: Any, **named: Any) -> Any:
            answer = await read(self, *given, **named)
            if not lost and isinstance(answer, list) and answer[:1] == [job_id.encode()]:
                lost.append(job_id)
                raise RedisConnectionError("cut off")
            return answer

        monkeypatch.setattr(AbstractConnection, "read_response", reading)
        return lost

    return prepare


async def test_a_claim_that_the_client_sends_again_by_itself_is_made_once(
    store: RedisStore, cut_off: Callable[[str], list[str]]
) -> None:
    for job_id in ("first", "second"):
        await submit(store, job_id)
    lost = cut_off("first")
    held = await claim(store)
    assert lost == ["first"]
    assert (held.record.id, held.record.attempts) == ("first", 1)
    assert (await claim(store)).record.id == "second"


async def test_help_that_the_client_asks_for_again_by_itself_is_given_once(
    store: RedisStore, cut_off: Callable[[str], list[str]]
) -> None:
    await submit(store, "job", num_images=5)
    held = await claim(store, "owner")
    await store.offer(held.lease, [1, 2, 3, 4], 2)
    lost = cut_off("job")
    shares = [await store.help("toy", "helper", most=9, busy=()) for _ in range(3)]
    assert lost == ["job"]
    assert [each and each.finished for each in shares] == [(0, 3, 4), (0, 1, 2), None]


async def test_an_image_sent_again_stays(store: RedisStore, ends: Ends) -> None:
    held = await claimed(store)
    for _ in range(2):
        await store.add_image(held.lease, picture())
    assert ends("image") == [NO_END]


async def test_what_comes_again_after_the_lease_takes_nothing_away(
    store: RedisStore, run_out: RunOut, ends: Ends
) -> None:
    held = await claimed(store)
    await store.checkpoint(held.lease, [checkpoint(3, image=1)])
    await store.add_image(held.lease, picture())
    run_out()
    assert (await store.sweep()).requeued == (("job", "toy"),)
    with pytest.raises(StaleFence):
        await store.add_image(held.lease, picture())
    with pytest.raises(StaleFence):
        await store.checkpoint(held.lease, [checkpoint(3, image=1)])
    assert ends("image") == [NO_END]
    assert ends("checkpoint") == [NO_END]
    again = await claim(store, "other")
    assert (again.finished, again.checkpoints) == ((0,), (checkpoint(3, image=1),))


async def test_an_image_of_a_cancelled_job_does_not_come_back(
    store: RedisStore, ends: Ends
) -> None:
    held = await claimed(store)
    await store.add_image(held.lease, picture())
    await store.cancel("job")
    with pytest.raises(StaleFence):
        await store.add_image(held.lease, picture())
    assert ends("image") == []


async def test_a_replay_that_has_to_be_safe_writes_first(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    """A wait covers the writes of its own connection: without one it would prove nothing."""
    arguments = {"id": "job"}
    await submit(store, "job")
    field = f"{prefix}:job:job", "confirmed_at"
    await store._scripts("create", arguments)
    assert redis.hget(*field) is None
    await store._scripts("create", arguments | {"durable": True})
    assert redis.hget(*field) is not None


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


async def test_scripts_lost_twice_are_an_outage_and_are_given_again(
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
