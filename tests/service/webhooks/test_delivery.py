"""Webhooks from submit to receiver: signatures, retries, bounds, several doors."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from httpx import AsyncClient
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.auth.scope import Scope
from service.webhooks.client import NO_RESPONSE, Answer, WebhookClient
from service.webhooks.delivery import pause_s
from service.webhooks.secrets import WebhookSecrets, new_secret
from tests.conftest import Opened
from tests.service.keyed import Keyed
from tests.service.webhooks.conftest import delivering_door
from tests.service.webhooks.receiver import Receiver, receiver
from tests.service.worker import draw

pytestmark = pytest.mark.usefixtures("announced")
# Eight calls at once, and receivers that are given up soon.
HASTY = {"webhooks_at_once": 8, "webhook_timeout_s": 0.3, "webhook_max_attempts": 50}


async def submit(http: AsyncClient, url: str) -> str:
    answer = await http.post("/v1/jobs", json={"prompt": "a", "webhook": {"url": url}})
    assert answer.status_code == 202, answer.text
    assert answer.json()["webhook"]["state"] == "waiting"
    return str(answer.json()["id"])


async def canceled(http: AsyncClient, store: RedisStore, *urls: str) -> list[str]:
    """Submit a job for each URL and then cancel them; return their ids."""
    jobs = [await submit(http, url) for url in urls]
    for job in jobs:
        await store.cancel(job)
    return jobs


async def settled(http: AsyncClient, job_id: str) -> dict[str, Any]:
    """Return the job's webhook once it is no longer under way."""
    async with asyncio.timeout(60):
        while True:
            webhook: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()["webhook"]
            if webhook["state"] not in ("waiting", "pending"):
                return webhook
            await asyncio.sleep(0.02)


async def outcome(http: AsyncClient, job_id: str) -> tuple[str, int, str | None]:
    """Return a webhook's state, attempts and error once it is no longer under way."""
    webhook = await settled(http, job_id)
    return webhook["state"], webhook["attempts"], webhook["error"]


async def test_a_receiver_is_notified_with_a_signature(
    door: Keyed, http: AsyncClient, store: RedisStore, received: Receiver
) -> None:
    job = await submit(http, received.url())
    await draw(store)
    webhook = await settled(http, job)
    assert (webhook["state"], webhook["attempts"]) == ("delivered", 1)
    assert webhook["delivered_at"] is not None
    (secret,) = (await http.get("/v1/webhooks/secret")).json()["secrets"]
    assert secret.startswith("whsec_")
    (message,) = received.messages
    said = message.checked(secret)
    assert (message.path, said["type"]) == ("/hook", "job.succeeded")
    assert message.headers["webhook-id"] == f"msg_{job}"
    assert message.headers["host"] == f"127.0.0.1:{received.port}"
    assert said["data"]["id"] == job
    assert said["timestamp"] == said["data"]["finished_at"]
    async with door.client(None) as anyone:
        assert (await anyone.get(said["data"]["images"][0]["url"])).status_code == 200
    with pytest.raises(WebhookVerificationError):
        message.checked(new_secret())


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([503, 302, 200], ("delivered", 3, None)),  # a redirection is not followed
        ([410], ("failed", 1, "HTTP 410")),
    ],
    ids=["retried", "gone"],
)
async def test_calls_are_repeated_under_one_id_until_the_receiver_has_it_or_is_gone(
    http: AsyncClient,
    store: RedisStore,
    received: Receiver,
    statuses: list[int],
    expected: tuple[str, int, str | None],
) -> None:
    received.statuses = statuses
    (job,) = await canceled(http, store, received.url())
    assert await outcome(http, job) == expected
    assert [message.path for message in received.messages] == ["/hook"] * expected[1]
    assert len({message.headers["webhook-id"] for message in received.messages}) == 1
    (secret,) = (await http.get("/v1/webhooks/secret")).json()["secrets"]
    assert received.messages[0].checked(secret)["type"] == "job.canceled"


async def test_a_delivery_is_given_up_and_can_be_asked_for_again(
    door: Keyed, http: AsyncClient, store: RedisStore
) -> None:
    with receiver() as received:
        received.statuses = [500] * 4
        job = await submit(http, received.url())
        path = f"/v1/jobs/{job}/webhook/redeliver"
        assert (await http.post(path)).status_code == 404  # it has not ended
        await store.cancel(job)
        assert await outcome(http, job) == ("failed", 4, "HTTP 500")
        async with await door.caller("b") as stranger:
            assert (await stranger.post(path)).status_code == 404
        again = await http.post(path)
        assert (again.status_code, again.json()["webhook"]["state"]) == (202, "pending")
        assert (await settled(http, job))["state"] == "delivered"
    (gone,) = await canceled(http, store, received.url())  # nobody listens there now
    state, attempts, error = await outcome(http, gone)
    assert (state, attempts) == ("failed", 4)
    assert error == NO_RESPONSE


async def test_two_doors_deliver_each_end_once(
    jobs_settings: JobsSettings, http: AsyncClient, store: RedisStore, received: Receiver
) -> None:
    async with delivering_door(jobs_settings):
        jobs = await canceled(http, store, *[received.url()] * 40)
        for job in jobs:
            assert (await settled(http, job))["state"] == "delivered"
    ids = [message.headers["webhook-id"] for message in received.messages]
    assert sorted(ids) == sorted(f"msg_{job}" for job in jobs)


async def test_what_ended_while_no_door_was_open_is_delivered_by_the_next(
    jobs_settings: JobsSettings, store: RedisStore, received: Receiver
) -> None:
    async with delivering_door(jobs_settings) as door, await door.caller("a") as http:
        job = await submit(http, received.url())
    await store.cancel(job)
    async with delivering_door(jobs_settings) as door, await door.caller("a") as http:
        assert (await settled(http, job))["state"] == "delivered"


async def test_metrics_show_what_waits(jobs_settings: JobsSettings, store: RedisStore) -> None:
    began = time.monotonic()
    async with delivering_door(jobs_settings, webhooks_at_once=0) as door:
        async with await door.caller("a") as http:
            await canceled(http, store, "http://127.0.0.1:9/hook")
        await asyncio.sleep(0.05)
        async with await door.caller("operator", Scope.METRICS) as http:
            lines = (await http.get("/metrics")).text.splitlines()
    shown = dict(line.split() for line in lines if line.startswith("sfumato_webhooks_"))
    late_s = float(shown.pop("sfumato_webhooks_oldest_due_seconds"))
    assert 0.05 <= late_s < time.monotonic() - began
    assert shown == {"sfumato_webhooks_pending": "1.0", "sfumato_webhooks_undelivered": "0.0"}


class Hanging:
    """How many calls of receivers that hang are under way, and have been at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._urls: set[str] = set()

    def hang(self, receiver: Receiver) -> None:
        """Have a receiver answer nothing until its caller gives up."""
        receiver.answering = _silent
        self._urls.add(receiver.url())

    @contextlib.contextmanager
    def called(self, url: str) -> Iterator[None]:
        """Count a call for the length of the block, where its receiver hangs."""
        self.now += url in self._urls
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= url in self._urls


def _silent(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.connection.recv(1)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    """Return what counts the calls of receivers that hang, where they are made."""
    counts, post = Hanging(), WebhookClient.post

    async def counted(
        client: WebhookClient, address: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        with counts.called(address):
            return await post(client, address, headers, body)

    monkeypatch.setattr(WebhookClient, "post", counted)
    return counts


@pytest.mark.parametrize("receivers", [1, 8])
async def test_receivers_that_hang_leave_places_to_the_others(
    jobs_settings: JobsSettings,
    store: RedisStore,
    received: Receiver,
    hanging: Hanging,
    receivers: int,
) -> None:
    async with delivering_door(jobs_settings, **HASTY) as door:
        with contextlib.ExitStack() as running:
            hung = [running.enter_context(receiver()) for _ in range(receivers)]
            for each in hung:
                hanging.hang(each)
            async with contextlib.AsyncExitStack() as tenants:
                tried = []
                for number in range(8):
                    http = await tenants.enter_async_context(await door.caller(f"hung-{number}"))
                    urls = [hung[number % receivers].url()] * 4
                    tried.append((http, await canceled(http, store, *urls)))
                async with asyncio.timeout(60):
                    while not all([await failed_once(http, jobs[0]) for http, jobs in tried]):
                        await asyncio.sleep(0.02)
                    while hanging.now > 2:  # their circuits are open
                        await asyncio.sleep(0.02)
            hanging.most = hanging.now
            async with await door.caller("quick") as http:
                for job in await canceled(http, store, *[received.url()] * 10):
                    assert (await settled(http, job))["state"] == "delivered"
    assert hanging.most <= 6


async def failed_once(http: AsyncClient, job_id: str) -> bool:
    """Return whether a call for the job has failed."""
    return (await http.get(f"/v1/jobs/{job_id}")).json()["webhook"]["error"] is not None


async def test_a_tenants_own_dead_receiver_leaves_its_good_one_alone(
    jobs_settings: JobsSettings, store: RedisStore, received: Receiver, hanging: Hanging
) -> None:
    async with delivering_door(jobs_settings, **HASTY) as door, await door.caller("a") as http:
        with receiver() as hung:
            hanging.hang(hung)
            jobs = await canceled(http, store, *[hung.url()] * 30, *[received.url()] * 5)
            for job in jobs[30:]:
                assert (await settled(http, job))["state"] == "delivered"
            waiting = [(await http.get(f"/v1/jobs/{job}")).json()["webhook"] for job in jobs[:30]]
    assert hanging.most <= 2
    assert {webhook["state"] for webhook in waiting} == {"pending"}
    assert sum(webhook["attempts"] for webhook in waiting) < 10  # most have spent none


async def test_private_addresses_are_refused_at_submit_and_at_delivery(
    jobs_settings: JobsSettings, store: RedisStore, received: Receiver
) -> None:
    strict = {"webhook_networks": (), "webhook_max_attempts": 1}
    async with delivering_door(jobs_settings, **strict) as door, await door.caller("a") as http:
        body = {"prompt": "a", "webhook": {"url": received.url()}}
        refused = await http.post("/v1/jobs", json=body)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "webhook.url"
        hosts = ("localhost", "2130706433", "0x7f.1", "127.1")
        for job in await canceled(http, store, *map(received.url, hosts)):
            assert await outcome(http, job) == ("failed", 1, NO_RESPONSE)
    assert received.messages == []


async def test_a_secret_is_rotated_with_both_signing(
    jobs_settings: JobsSettings,
    http: AsyncClient,
    store: RedisStore,
    received: Receiver,
    opened: Opened[WebhookSecrets],
) -> None:
    secrets = opened(WebhookSecrets(jobs_settings))
    (old,) = await secrets.of("a")
    assert await secrets.of("b") != (old,)
    new = await secrets.rotate("a", 60)
    assert await secrets.of("a") == (new, old)
    (job,) = await canceled(http, store, received.url())
    await settled(http, job)
    for secret in (old, new):
        assert received.messages[0].checked(secret)["data"]["id"] == job
    await secrets.rotate("a", 0)
    assert len(await secrets.of("a")) == 1


async def test_rotations_at_once_lose_no_secret(
    jobs_settings: JobsSettings, opened: Opened[WebhookSecrets]
) -> None:
    doors = [opened(WebhookSecrets(jobs_settings)) for _ in range(4)]
    firsts = await asyncio.gather(*(door.of("a") for door in doors))
    assert len(set(firsts)) == 1  # made at once too
    made = await asyncio.gather(*(door.rotate("a", 60) for door in doors))
    valid = await doors[0].of("a")
    assert set(valid) == {*made, *firsts[0]}
    assert valid[0] in made
    last = await doors[0].rotate("a", 0)
    assert await doors[1].of("a") == (last,)


@pytest.mark.parametrize("text", ["", "{", "7", '{"secret": 1}'])
async def test_damaged_secrets_are_replaced(
    jobs_settings: JobsSettings, opened: Opened[WebhookSecrets], redis: Any, prefix: str, text: str
) -> None:
    secrets = opened(WebhookSecrets(jobs_settings))
    redis.hset(f"{prefix}.door:webhook_secrets", "a", text)
    (made,) = await secrets.of("a")
    assert await secrets.of("a") == (made,)


async def test_an_earlier_versions_secrets_are_read(
    jobs_settings: JobsSettings, opened: Opened[WebhookSecrets], redis: Any, prefix: str
) -> None:
    secrets = opened(WebhookSecrets(jobs_settings))
    former = {"secret": "whsec_b", "previous": "whsec_a", "previous_until": time.time() + 60}
    redis.hset(f"{prefix}.door:webhook_secrets", "a", json.dumps(former))
    assert await secrets.of("a") == ("whsec_b", "whsec_a")
    new = await secrets.rotate("a", 60)
    assert await secrets.of("a") == (new, "whsec_b", "whsec_a")
    stored = json.loads(redis.hget(f"{prefix}.door:webhook_secrets", "a"))
    assert (stored["secret"], stored["previous"]) == (new, "whsec_b")  # as that version reads it


def test_pauses_grow_and_are_bounded() -> None:
    for attempt, longest in [(1, 5), (2, 20), (3, 80), (7, 20480), (8, 21600), (40, 21600)]:
        pauses = [pause_s(attempt, 5.0) for _ in range(50)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "https://shop.example/", "events": []}, "webhook.events"),
        ({"url": "https://shop.example/", "events": ["job.started"]}, "webhook.events.0"),
        ({"url": "https://shop.example/", "secret": "x"}, "webhook.secret"),
        ({}, "webhook.url"),
        ("https://shop.example/", "webhook"),
    ],
)
async def test_unknown_webhook_fields_and_events_are_named(
    http: AsyncClient, webhook: object, field: str
) -> None:
    answer = await http.post("/v1/jobs", json={"prompt": "a", "webhook": webhook})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
