"""API keys: who gets in, what a tenant sees, rotation, revocation, the command line."""

import asyncio
import json
import re
import time
from typing import Any

import pytest
from redis import Redis

from jobs.redis.store import RedisStore
from jobs.schema import Priority
from jobs.settings import JobsSettings
from service.auth.api_key import ApiKey, digest, new_secret, parse, text_of
from service.auth.key_store import KeyStore, UnknownKey
from service.auth.keyring import Keyring
from service.auth.scope import Scope
from tests.conftest import Opened
from tests.jobs.examples import claim
from tests.service.conftest import Command
from tests.service.doors import submit
from tests.service.keyed import Keyed, keyed_door
from tests.service.worker import advance, finish


@pytest.fixture
async def keys(jobs_settings: JobsSettings, opened: Opened[KeyStore]) -> KeyStore:
    return opened(KeyStore(jobs_settings))


OPEN = {"/healthz", "/readyz"}


@pytest.mark.parametrize(
    "header", [None, "Bearer nonsense", "Basic abc", "Bearer " + text_of("0" * 12, "0" * 48)]
)
async def test_nothing_but_health_opens_without_a_key(keyed: Keyed, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    async with keyed.client(None) as http:
        routes = (await http.get("/openapi.json", headers=headers)).json()["paths"]
        for path in OPEN:
            assert (await http.get(path, headers=headers)).status_code == 200
        for path in routes.keys() - OPEN:
            for method in routes[path]:
                sent = {"prompt": "a"} if (method, path) == ("post", "/v1/jobs") else None
                url = re.sub(r"\{\w+\}", "0", path)
                answer = await http.request(method, url, headers=headers, json=sent)
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                body = answer.json()  # other APIs have errors of their own
                code = body.get("code") or body.get("error_type")
                assert code in ("key_required", "invalid_key") or "error" in body


async def test_a_job_is_its_tenant_s_and_the_operator_s(keyed: Keyed, store: RedisStore) -> None:
    async with (
        await keyed.caller("a") as owner,
        await keyed.caller("a") as colleague,
        await keyed.caller("b") as stranger,
        await keyed.caller("c", Scope.OPERATOR) as operator,
    ):
        job = await submit(owner)
        held = await claim(store)
        await advance(store, held, 3, preview=True)
        await finish(store, held)
        tails = ("", "/images/0", "/preview", "/events", "/manifest")
        for tail in tails:
            hidden = await stranger.get(f"/v1/jobs/{job}{tail}")
            missing = await stranger.get(f"/v1/jobs/nobody{tail}")
            assert (hidden.status_code, missing.status_code) == (404, 404)
            assert hidden.json()["detail"] == missing.json()["detail"].replace("nobody", job)
            for caller in (owner, colleague, operator):
                assert (await caller.get(f"/v1/jobs/{job}{tail}")).status_code == 200
        assert (await stranger.post(f"/v1/jobs/{job}/cancel")).status_code == 404
        assert (await stranger.delete(f"/v1/jobs/{job}")).status_code == 404
        other = await submit(stranger)
        lists = {
            name: [job["id"] for job in (await caller.get("/v1/jobs")).json()["jobs"]]
            for name, caller in [("a", owner), ("b", stranger), ("all", operator)]
        }
        assert lists == {"a": [job], "b": [other], "all": [other, job]}
        assert (await owner.get(f"/v1/jobs/{job}")).json()["request"]["tenant"] == "a"
        assert (await owner.delete(f"/v1/jobs/{job}")).status_code == 204


async def test_two_tenants_may_use_one_idempotency_key(keyed: Keyed) -> None:
    async with await keyed.caller("a") as a, await keyed.caller("b") as b:
        key = {"idempotency-key": '"k"'}
        first = await submit(a, key)
        assert await submit(b, key) != first
        assert await submit(a, key) == first


async def test_a_scope_that_is_missing_is_403(keyed: Keyed) -> None:
    async with (
        await keyed.caller("a") as jobs,
        await keyed.caller("a", Scope.METRICS) as metrics,
        await keyed.caller("a", Scope.OPERATOR) as operator,
    ):
        for path in ("/metrics", "/v1/workers", "/v1/scaling/toy"):
            assert (await jobs.get(path)).status_code == 403
            assert (await metrics.get(path)).status_code == 200
            assert (await operator.get(path)).status_code == 200
        refused = await metrics.get("/v1/jobs")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "'jobs'" in refused.json()["detail"]


async def test_a_rotated_key_has_two_good_secrets_for_a_while(keys: KeyStore) -> None:
    made, old = await keys.create("a", frozenset({Scope.JOBS}))
    _, new = await keys.rotate(made.id, overlap_s=100)
    kept = await keys.find(made.id)
    assert kept is not None
    now = time.time()
    secrets = [parts[1] for text in (old, new) if (parts := parse(text))]
    assert [kept.opens(secret, now) for secret in secrets] == [True, True]
    assert [kept.opens(secret, now + 101) for secret in secrets] == [False, True]
    assert not kept.opens(new_secret(), now)
    with pytest.raises(UnknownKey):
        await keys.rotate("0" * 12, 1)


async def test_rotations_at_once_lose_no_secret(keys: KeyStore) -> None:
    made, first = await keys.create("a", frozenset({Scope.JOBS}))
    rotated = await asyncio.gather(*(keys.rotate(made.id, 100) for _ in range(4)))
    kept, now = await keys.find(made.id), time.time()
    assert kept is not None
    secrets = [
        parts[1] for text in (first, *(text for _, text in rotated)) if (parts := parse(text))
    ]
    assert [kept.opens(secret, now) for secret in secrets] == [True] * 5
    assert sum(kept.opens(secret, now + 101) for secret in secrets) == 1
    await keys.rotate(made.id, 0)
    kept = await keys.find(made.id)
    assert kept is not None
    assert not any(kept.opens(secret, time.time()) for secret in secrets)


async def test_a_class_is_a_right_of_the_key(
    keyed: Keyed, redis: Any, jobs_settings: JobsSettings
) -> None:
    both = frozenset({Priority.HIGH, Priority.LOW})
    made = {
        "default": await keyed.keys.create("a", frozenset({Scope.JOBS})),
        "some": await keyed.keys.create("a", frozenset({Scope.JOBS}), priorities=both),
        "operator": await keyed.keys.create("a", frozenset({Scope.OPERATOR})),
        "former": await keyed.keys.create("a", frozenset({Scope.JOBS})),
    }
    name = f"{{{jobs_settings.key_prefix}}}.door:key:{made['former'][0].id}"
    assert redis.hdel(name, "priorities", "retired", "schema_version") == 3
    allowed: dict[str, set[str]] = {}
    for holder, (_, text) in made.items():
        async with keyed.client(text) as http:
            for priority in Priority:
                body = {"prompt": "a red apple", "priority": priority}
                answer = await http.post("/v1/jobs", json=body)
                if answer.status_code == 403:
                    problem = answer.json()
                    assert problem["code"] == "priority_forbidden"
                    assert problem["errors"][0]["field"] == "priority"
                    assert f"'{priority}'" in problem["detail"]
                else:
                    assert answer.status_code == 202, answer.text
                    allowed.setdefault(holder, set()).add(priority)
    assert allowed == {
        "default": {"normal", "low"}, "some": both,
        "operator": set(Priority), "former": set(Priority),
    }  # fmt: skip


def test_an_expired_key_opens_nothing() -> None:
    secret = new_secret()
    key = ApiKey("0" * 12, "a", "", frozenset(), digest(secret), 0.0, expires_at=100.0)
    assert key.opens(secret, 99.0)
    assert not key.opens(secret, 100.0)


async def test_a_revoked_key_opens_nothing_within_seconds(keyed: Keyed) -> None:
    made, text = await keyed.keys.create("a", frozenset({Scope.JOBS}))
    async with keyed.client(text) as http:
        assert (await http.get("/v1/jobs")).status_code == 200
        await keyed.keys.revoke(made.id)
        async with asyncio.timeout(60):
            while (await http.get("/v1/jobs")).status_code != 401:
                await asyncio.sleep(0.05)
    with pytest.raises(UnknownKey):
        await keyed.keys.revoke(made.id)


async def test_last_use_is_noted(
    keys: KeyStore, jobs_settings: JobsSettings, opened: Opened[Keyring]
) -> None:
    made, text = await keys.create("a", frozenset({Scope.JOBS}))
    assert made.last_used_at is None
    ring = opened(Keyring(KeyStore(jobs_settings)))
    began = time.time()
    assert await ring.find(text) is not None
    (kept,) = await keys.all("a")
    assert kept.last_used_at is not None
    assert began - 1 <= kept.last_used_at <= time.time() + 1
    assert await keys.all("b") == ()


async def test_no_secret_lies_in_redis(keys: KeyStore, redis_url: str) -> None:
    made, text = await keys.create("a", frozenset({Scope.JOBS}))
    _, again = await keys.rotate(made.id, 100)
    with Redis.from_url(redis_url) as redis:
        held = [redis.hgetall(name) for name in redis.scan_iter() if redis.type(name) == b"hash"]
    everything = repr(held)
    assert made.id in everything
    for each in (text, again):
        parts = parse(each)
        assert parts is not None
        assert parts[1] not in everything


async def test_redis_away_is_503_not_401(jobs_settings: JobsSettings) -> None:
    away = jobs_settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with keyed_door(away) as keyed:
        async with keyed.client(text_of("0" * 12, new_secret())) as http:
            assert (await http.get("/v1/jobs")).status_code == 503
        async with keyed.client(None) as http:
            assert (await http.get("/v1/jobs")).status_code == 401


def test_command_line_makes_lists_rotates_and_revokes(command: Command) -> None:
    def run(*words: str, code: int = 0) -> str:
        return command("keys", *words, code=code).stdout.strip()

    first = run("create", "shop", "--label", "web shop", "--expires", "90d", "--scope", "jobs")
    assert parse(first) is not None
    (listed,) = json.loads(run("list", "--json"))
    assert (listed["tenant"], listed["label"], listed["scopes"]) == ("shop", "web shop", ["jobs"])
    assert listed["expires_at"] is not None
    assert listed["priorities"] == ["normal", "low"]
    run("create", "other", "--priority", "low", "--priority", "high")
    (other,) = json.loads(run("list", "--json", "--tenant", "other"))
    assert other["priorities"] == ["high", "low"]
    run("revoke", other["id"])
    second = run("rotate", listed["id"], "--overlap", "1h")
    assert second != first
    assert first.rpartition("_")[2] not in run("list")
    run("revoke", listed["id"])
    assert json.loads(run("list", "--json")) == []
    run("revoke", listed["id"], code=1)
    run("create", "Not A Tenant", code=2)
    run("create", "shop", "--expires", "soon", code=2)
