"""What a tenant is not shown: how many jobs others have, and where its own are drawn."""

import pytest
from httpx import AsyncClient

from jobs.errors import InvalidCursor
from jobs.redis.store import RedisStore
from service.auth.scope import Scope
from service.resources.cursors import Cursors
from tests.jobs.examples import claim
from tests.service.api.stream import frames
from tests.service.doors import submit
from tests.service.keyed import Keyed
from tests.service.worker import finish

OLD, NEW = b"o" * 32, b"n" * 32


@pytest.mark.parametrize("position", [0, 1, 12345, 2**53, 10**18 - 1])
def test_cursor_is_opened_by_whom_it_was_sealed_for(position: int) -> None:
    cursors = Cursors((OLD,))
    sealed = cursors.sealed(str(position), "a")
    assert sealed is not None
    assert len(sealed) == 22
    assert not sealed.isdecimal()
    assert cursors.opened(sealed, "a") == str(position)
    assert Cursors((NEW, OLD)).opened(sealed, "a") == str(position)
    for reader in ("b", None, ""):
        with pytest.raises(InvalidCursor):
            cursors.opened(sealed, reader)
    for bad in (sealed[:-1], sealed + "A", sealed[::-1], "12", "", "é", "=" * 22, "A" * 22):
        with pytest.raises(InvalidCursor):
            cursors.opened(bad, "a")
    with pytest.raises(InvalidCursor):
        Cursors((NEW,)).opened(sealed, "a")


def test_without_secrets_cursors_stay_as_they_are() -> None:
    assert Cursors().sealed("7", None) == Cursors().opened("7", None) == "7"
    assert Cursors((OLD,)).sealed(None, "a") is None
    assert Cursors((OLD,)).opened(None, "a") is None


async def pages(http: AsyncClient) -> tuple[list[str], list[str]]:
    """Return the ids of all jobs, two a page, and the cursors between."""
    ids: list[str] = []
    cursors: list[str] = []
    params = {"limit": "2"}
    while True:
        page = (await http.get("/v1/jobs", params=params)).json()
        ids += [job["id"] for job in page["jobs"]]
        if page["cursor"] is None:
            return ids, cursors
        cursors.append(page["cursor"])
        params["cursor"] = page["cursor"]


async def test_a_tenant_s_cursors_do_not_count_the_jobs_of_others(keyed: Keyed) -> None:
    async with (
        await keyed.caller("a") as owner,
        await keyed.caller("b") as other,
        await keyed.caller("ops", Scope.OPERATOR) as operator,
    ):
        mine = [await submit(owner) for _ in range(3)]
        theirs = [await submit(other) for _ in range(2)]
        ids, cursors = await pages(owner)
        assert ids == mine[::-1]
        assert cursors
        assert not any(cursor.isdecimal() for cursor in cursors)
        assert (await pages(operator))[0] == [*theirs[::-1], *mine[::-1]]
        for guess in (cursors[0], "3", "A" * 22):
            answer = await other.get("/v1/jobs", params={"cursor": guess})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_operators_alone_see_the_names_of_workers(keyed: Keyed, store: RedisStore) -> None:
    async with (
        await keyed.caller("a") as owner,
        await keyed.caller("ops", Scope.OPERATOR) as operator,
        keyed.client(None) as anyone,
    ):
        job_id = await submit(owner)
        held = await claim(store, worker="host-17-4321")
        await finish(store, held)
        name = (await store.get(job_id)).worker
        assert name
        url = f"/v1/jobs/{job_id}"
        shown = (await owner.get(url)).json()
        assert shown["worker"].startswith("worker-")
        assert name == "host-17-4321"
        assert "host" not in shown["worker"]
        listed = (await owner.get("/v1/jobs")).json()["jobs"][0]
        canceled = (await owner.post(f"{url}/cancel")).json()
        assert listed["worker"] == canceled["worker"] == shown["worker"]
        for caller, expected in ((owner, shown["worker"]), (operator, name)):
            assert (await caller.get(url)).json()["worker"] == expected
            async with caller.stream("GET", f"{url}/events") as answer:
                seen = [frame.data async for frame in frames(answer)]
            assert {job["worker"] for job in seen if "worker" in job} <= {expected, None}
            assert seen[-1]["worker"] == expected
        async with anyone.stream("GET", shown["events_url"]) as answer:
            linked = [frame.data async for frame in frames(answer)]
        assert linked[-1]["worker"] == shown["worker"]


async def test_without_keys_workers_have_their_names(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    await claim(store)
    named = (await store.get(job_id)).worker
    assert (await http.get(f"/v1/jobs/{job_id}")).json()["worker"] == named
