"""Webhooks from submit to receiver: signatures, retries, bounds, several doors."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from httpx import AsyncClient
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.auth.scope import Scope
from service.settings import ServiceSettings
from service.webhooks.client import WebhookClient
from service.webhooks.delivery import pause_s
from service.webhooks.guarded_network import SystemResolver
from service.webhooks.secrets import WebhookSecrets, new_secret
from tests.conftest import Opened
from tests.jobs.examples import MODEL
from tests.service.keyed import Keyed, keyed_door
from tests.service.webhooks.receiver import receiver
from tests.service.worker import draw

LOCAL: dict[str, Any] = {
    "webhook_allow_http": True,
    "webhook_networks": ("127.0.0.0/8",),
    "webhook_poll_s": 0.02,
    "webhook_retry_s": 0.02,
    "webhook_timeout_s": 30.0,
    "webhook_max_attempts": 4,
}


@contextlib.asynccontextmanager
async def a_door(shared: JobsSettings, store: RedisStore, **changes: Any) -> AsyncIterator[Keyed]:
    await store.announce_model(MODEL)
    async with keyed_door(shared, **(LOCAL | changes)) as door:
        yield door


async def submit(http: AsyncClient, url: str, **fields: Any) -> str:
    body = {"prompt": "a", "webhook": {"url": url} | fields}
    answer = await http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["webhook"]["state"] == "waiting"
    return str(answer.json()["id"])


async def settled(http: AsyncClient, job_id: str) -> dict[str, Any]:
    """Return the job's webhook once it is no longer under way."""
    async with asyncio.timeout(60):
        while True:
            webhook: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()["webhook"]
            if webhook["state"] not in ("waiting", "pending"):
                return webhook
            await asyncio.sleep(0.02)


async def tried(http: AsyncClient, job_id: str) -> bool:
    """Return whether a call for the job has failed."""
    return (await http.get(f"/v1/jobs/{job_id}")).json()["webhook"]["error"] is not None


async def test_a_receiver_is_told_of_the_end_with_a_signature(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
        with receiver() as told:
            job = await submit(http, told.url())
            await draw(store)
            webhook = await settled(http, job)
        assert (webhook["state"], webhook["attempts"]) == ("delivered", 1)
        assert webhook["delivered_at"] is not None
        (secret,) = (await http.get("/v1/webhooks/secret")).json()["secrets"]
        assert secret.startswith("whsec_")
        (message,) = told.messages
        said = message.checked(secret)
        assert (message.path, said["type"]) == ("/hook", "job.succeeded")
        assert message.headers["webhook-id"] == f"msg_{job}"
        assert message.headers["host"] == f"127.0.0.1:{told.port}"
        assert said["data"]["id"] == job
        assert said["timestamp"] == said["data"]["finished_at"]
        async with door.client(None) as anyone:
            assert (await anyone.get(said["data"]["images"][0]["url"])).status_code == 200
        with pytest.raises(WebhookVerificationError):
            message.checked(new_secret())


async def test_a_receiver_that_fails_is_told_again_under_the_same_id(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
        with receiver() as told:
            told.statuses = [503, 302, 200]
            job = await submit(http, told.url())
            await store.cancel(job)
            webhook = await settled(http, job)
        assert (webhook["state"], webhook["attempts"]) == ("delivered", 3)
        assert [m.path for m in told.messages] == ["/hook"] * 3  # a redirection is not followed
        assert len({m.headers["webhook-id"] for m in told.messages}) == 1
        assert told.messages[0].checked(
            (await http.get("/v1/webhooks/secret")).json()["secrets"][0]
        )["type"] == ("job.canceled")


async def test_a_delivery_is_given_up_and_can_be_asked_for_again(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with (
        a_door(jobs_settings, store) as door,
        await door.caller("a") as http,
        await door.caller("b") as stranger,
    ):
        with receiver() as told:
            told.statuses = [500] * 4
            job = await submit(http, told.url())
            early = await http.post(f"/v1/jobs/{job}/webhook/redeliver")
            assert early.status_code == 404
            await store.cancel(job)
            webhook = await settled(http, job)
            assert (webhook["state"], webhook["attempts"]) == ("failed", 4)
            assert webhook["error"] == "HTTP 500"
            path = f"/v1/jobs/{job}/webhook/redeliver"
            assert (await stranger.post(path)).status_code == 404
            again = await http.post(path)
            assert (again.status_code, again.json()["webhook"]["state"]) == (202, "pending")
            assert (await settled(http, job))["state"] == "delivered"
        gone = await submit(http, told.url())  # nobody listens there now
        await store.cancel(gone)
        failed = await settled(http, gone)
        assert (failed["state"], failed["attempts"]) == ("failed", 4)
        assert "cannot connect" in failed["error"]


async def test_gone_ends_a_delivery_at_once(jobs_settings: JobsSettings, store: RedisStore) -> None:
    async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
        with receiver() as told:
            told.statuses = [410]
            job = await submit(http, told.url())
            await store.cancel(job)
            webhook = await settled(http, job)
    assert (webhook["state"], webhook["attempts"], len(told.messages)) == ("failed", 1, 1)


async def test_two_doors_deliver_each_end_once(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with (
        a_door(jobs_settings, store) as door,
        a_door(jobs_settings, store),
        await door.caller("a") as http,
    ):
        with receiver() as told:
            jobs = [await submit(http, told.url()) for _ in range(40)]
            for job in jobs:
                await store.cancel(job)
            for job in jobs:
                assert (await settled(http, job))["state"] == "delivered"
    ids = [message.headers["webhook-id"] for message in told.messages]
    assert sorted(ids) == sorted(f"msg_{job}" for job in jobs)


async def test_what_ended_while_no_door_was_open_is_told_by_the_next(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    with receiver() as told:
        async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
            job = await submit(http, told.url())
        await store.cancel(job)
        async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
            assert (await settled(http, job))["state"] == "delivered"


async def test_what_waits_and_for_how_long_is_shown(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with a_door(jobs_settings, store, webhooks_at_once=0) as door:
        async with await door.caller("a") as http:
            await store.cancel(await submit(http, "http://127.0.0.1:9/hook"))
        await asyncio.sleep(0.05)
        async with await door.caller("operator", Scope.METRICS) as http:
            lines = (await http.get("/metrics")).text.splitlines()
    shown = dict(line.split() for line in lines if line.startswith("sfumato_webhooks_"))
    late_s = float(shown.pop("sfumato_webhooks_oldest_due_seconds"))
    assert 0.05 <= late_s < 10
    assert shown == {"sfumato_webhooks_pending": "1.0", "sfumato_webhooks_undelivered": "0.0"}


class Hanging:
    """Answers nothing until its caller gives up; keeps how many callers it has had at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        with contextlib.suppress(OSError):
            handler.connection.recv(1)
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("receivers", [1, 8])
async def test_receivers_that_hang_leave_places_to_the_others(
    jobs_settings: JobsSettings, store: RedisStore, receivers: int
) -> None:
    places = {"webhooks_at_once": 8, "webhook_timeout_s": 0.3, "webhook_max_attempts": 50}
    hanging = Hanging()
    async with a_door(jobs_settings, store, **places) as door:
        with contextlib.ExitStack() as served:
            hung = [served.enter_context(receiver()) for _ in range(receivers)]
            for each in hung:
                each.answering = hanging
            quick = served.enter_context(receiver())
            async with contextlib.AsyncExitStack() as tenants:
                jobs = []
                for number in range(8):
                    http = await tenants.enter_async_context(await door.caller(f"hung-{number}"))
                    url = hung[number % receivers].url()
                    jobs += [(http, await submit(http, url)) for _ in range(4)]
                for _, job in jobs:
                    await store.cancel(job)
                async with asyncio.timeout(20):
                    while not all([await tried(http, job) for http, job in jobs[::4]]):
                        await asyncio.sleep(0.02)
                    while hanging.now > 2:  # their circuits are open
                        await asyncio.sleep(0.02)
            hanging.most = hanging.now
            async with await door.caller("quick") as http:
                mine = [await submit(http, quick.url()) for _ in range(10)]
                for job in mine:
                    await store.cancel(job)
                for job in mine:
                    assert (await settled(http, job))["state"] == "delivered"
    assert hanging.most <= 6


async def test_a_tenants_own_dead_receiver_leaves_its_good_one_alone(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    places = {"webhooks_at_once": 8, "webhook_timeout_s": 0.3, "webhook_max_attempts": 50}
    async with a_door(jobs_settings, store, **places) as door, await door.caller("a") as http:
        with receiver() as hung, receiver() as quick:
            hung.answering = hanging = Hanging()
            urls = [hung.url()] * 30 + [quick.url()] * 5
            jobs = [await submit(http, url) for url in urls]
            for job in jobs:
                await store.cancel(job)
            for job in jobs[30:]:
                assert (await settled(http, job))["state"] == "delivered"
            waiting = [(await http.get(f"/v1/jobs/{job}")).json()["webhook"] for job in jobs[:30]]
    assert hanging.most <= 2
    assert {webhook["state"] for webhook in waiting} == {"pending"}
    assert sum(webhook["attempts"] for webhook in waiting) < 10  # most have spent none


async def test_private_addresses_are_refused_at_submit_and_at_delivery(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    strict = {"webhook_networks": (), "webhook_max_attempts": 1}
    async with a_door(jobs_settings, store, **strict) as door, await door.caller("a") as http:
        with receiver() as told:
            body = {"prompt": "a", "webhook": {"url": told.url()}}
            refused = await http.post("/v1/jobs", json=body)
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["field"] == "webhook.url"
            for host in ("localhost", "2130706433", "0x7f.1", "127.1"):
                job = await submit(http, told.url(host))
                await store.cancel(job)
                webhook = await settled(http, job)
                assert webhook["state"] == "failed"
                assert webhook["error"] == "its name leads to an address that is not public"
        assert told.messages == []


class Names:
    """A name server that gives its answers in turn."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


@contextlib.asynccontextmanager
async def calling(
    shared: JobsSettings, names: Names | None = None, **changes: Any
) -> AsyncIterator[WebhookClient]:
    fields = shared.model_dump() | LOCAL | changes
    client = WebhookClient(ServiceSettings.model_validate(fields), names)
    try:
        yield client
    finally:
        await client.close()


async def test_the_checked_address_is_the_one_that_is_called(jobs_settings: JobsSettings) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    with receiver() as told:
        async with calling(jobs_settings, names) as client:
            first = await client.post(told.url("hooks.example"), {}, b"{}")
            second = await client.post(told.url("hooks.example"), {}, b"{}")
    assert first.delivered
    assert told.messages[0].headers["host"] == f"hooks.example:{told.port}"
    assert (second.delivered, second.note) == (
        False, "its name leads to an address that is not public"
    )  # fmt: skip
    assert names.asked == 2  # once a call: a kept connection or a second look would be a way round


async def test_a_name_with_one_private_address_is_not_called(jobs_settings: JobsSettings) -> None:
    with receiver() as told:
        async with calling(jobs_settings, Names(["127.0.0.1", "192.168.0.1"])) as client:
            assert not (await client.post(told.url("hooks.example"), {}, b"{}")).delivered
    assert told.messages == []


async def test_tls_is_spoken_with_the_urls_name(
    jobs_settings: JobsSettings, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example").configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiver(context) as told:
        names = Names(*[["127.0.0.1"]] * 3)
        async with calling(
            jobs_settings, names, webhook_ca_file=tmp_path / "ca.pem", webhook_allow_http=False
        ) as client:
            good = await client.post(told.url("hooks.example", "https"), {}, b"{}")
            other = await client.post(told.url("other.example", "https"), {}, b"{}")
        async with calling(jobs_settings, names) as client:
            unknown = await client.post(told.url("hooks.example", "https"), {}, b"{}")
    assert good.delivered, good
    assert not other.delivered
    assert not unknown.delivered
    assert asked == ["hooks.example", "other.example", "hooks.example"]
    assert len(told.messages) == 1


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(b"x-%d: 1\r\n" % number)
        handler.wfile.flush()
        time.sleep(0.05)


def flood_of_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(5000):
        handler.wfile.write(b"x: " + b"a" * 1000 + b"\r\n")


def nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize(
    ("answering", "timeout_s", "note"),
    [
        (drip, 0.5, "it did not answer in time"),
        (flood_of_headers, 30.0, "its answer is not HTTP"),
        (nonsense, 30.0, "its answer is not HTTP"),
    ],
)
async def test_a_hostile_answer_is_bounded(
    jobs_settings: JobsSettings, answering: Any, timeout_s: float, note: str
) -> None:
    with receiver() as told:
        told.answering = answering
        async with calling(jobs_settings, webhook_timeout_s=timeout_s) as client:
            answer = await client.post(told.url(), {}, b"{}")
    assert (answer.delivered, answer.note) == (False, note)


def flood_of_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"a" * 65536)


async def test_the_body_of_an_answer_is_not_read(jobs_settings: JobsSettings) -> None:
    with receiver() as told:
        told.answering = flood_of_body
        async with calling(jobs_settings) as client:
            assert (await client.post(told.url(), {}, b"{}")).delivered


async def test_a_secret_is_rotated_with_both_signing(
    jobs_settings: JobsSettings, store: RedisStore, opened: Opened[WebhookSecrets]
) -> None:
    secrets = opened(WebhookSecrets(jobs_settings))
    (old,) = await secrets.of("a")
    assert await secrets.of("b") != (old,)
    new = await secrets.rotate("a", 60)
    assert await secrets.of("a") == (new, old)
    async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
        with receiver() as told:
            job = await submit(http, told.url())
            await store.cancel(job)
            await settled(http, job)
    for secret in (old, new):
        assert told.messages[0].checked(secret)["data"]["id"] == job
    await secrets.rotate("a", 0)
    assert len(await secrets.of("a")) == 1


async def test_the_system_is_asked_for_names(opened: Opened[SystemResolver]) -> None:
    resolver = opened(SystemResolver())
    assert "127.0.0.1" in await resolver("localhost", 80)
    with pytest.raises(OSError):  # noqa: PT011
        await resolver("nowhere.invalid", 80)


def test_pauses_grow_and_are_bounded() -> None:
    for attempt, longest in [(1, 5), (2, 20), (3, 80), (7, 20480), (8, 21600), (40, 21600)]:
        pauses = [pause_s(attempt, 5.0) for _ in range(50)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest


async def test_unknown_webhook_fields_and_events_are_named(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    url = "https://shop.example/"
    async with a_door(jobs_settings, store) as door, await door.caller("a") as http:
        for webhook, field in [
            ({"url": url, "events": []}, "webhook.events"),
            ({"url": url, "events": ["job.started"]}, "webhook.events.0"),
            ({"url": url, "secret": "x"}, "webhook.secret"),
            ({}, "webhook.url"),
            (url, "webhook"),
        ]:
            answer = await http.post("/v1/jobs", json={"prompt": "a", "webhook": webhook})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == field
