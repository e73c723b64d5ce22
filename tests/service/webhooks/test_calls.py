"""Calling a receiver: addresses, TLS, and answers that are hostile."""

import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from jobs.settings import JobsSettings
from service.processes.ports import free_port
from service.settings import ServiceSettings
from service.webhooks.client import NO_RESPONSE, WebhookClient
from service.webhooks.guarded_network import SystemResolver
from tests.conftest import Opened
from tests.service.webhooks.conftest import LOCAL
from tests.service.webhooks.receiver import Receiver, receiver

Answering = Callable[[BaseHTTPRequestHandler], None]


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


async def test_the_checked_address_is_the_one_that_is_called(
    jobs_settings: JobsSettings, received: Receiver
) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with calling(jobs_settings, names) as client:
        first, second = [
            await client.post(received.url("hooks.example"), {}, b"{}") for _ in range(2)
        ]
    assert first.delivered
    assert received.messages[0].headers["host"] == f"hooks.example:{received.port}"
    assert not second.delivered
    assert (
        second.reason == "its name resolves to a refused address: 10.0.0.1 is not a public address"
    )
    assert names.asked == 2  # once a call: a kept connection or a second look would be a way round


async def test_a_name_with_one_private_address_is_not_called(
    jobs_settings: JobsSettings, received: Receiver
) -> None:
    async with calling(jobs_settings, Names(["127.0.0.1", "192.168.0.1"])) as client:
        assert not (await client.post(received.url("hooks.example"), {}, b"{}")).delivered
    assert received.messages == []


async def test_tls_verifies_the_url_s_name(jobs_settings: JobsSettings, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example").configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with receiver(context) as received:
        names = Names(*[["127.0.0.1"]] * 3)
        async with calling(
            jobs_settings, names, webhook_ca_file=tmp_path / "ca.pem", webhook_allow_http=False
        ) as client:
            good = await client.post(received.url("hooks.example", "https"), {}, b"{}")
            other = await client.post(received.url("other.example", "https"), {}, b"{}")
        async with calling(jobs_settings, names) as client:
            unknown = await client.post(received.url("hooks.example", "https"), {}, b"{}")
    assert good.delivered, good
    assert not other.delivered
    assert not unknown.delivered
    assert asked == ["hooks.example", "other.example", "hooks.example"]
    assert len(received.messages) == 1


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
    ("answering", "timeout_s", "reason"),
    [
        (drip, 0.5, "it did not respond in time"),
        (flood_of_headers, 30.0, "its response is not HTTP"),
        (nonsense, 30.0, "its response is not HTTP"),
    ],
)
async def test_a_hostile_answer_is_bounded(
    jobs_settings: JobsSettings,
    received: Receiver,
    answering: Answering,
    timeout_s: float,
    reason: str,
) -> None:
    received.answering = answering
    async with calling(jobs_settings, webhook_timeout_s=timeout_s) as client:
        answer = await client.post(received.url(), {}, b"{}")
    assert (answer.delivered, answer.reason) == (False, reason)


async def test_a_tenant_learns_one_text_whatever_is_inside(
    jobs_settings: JobsSettings, received: Receiver
) -> None:
    """Private addresses, closed ports, bad certificates, other protocols and silence look alike."""
    closed = f"http://hooks.example:{free_port()}/"
    hooks = {"https": received.url("hooks.example", "https"), "http": received.url("hooks.example")}
    with receiver(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)) as tls:
        untrusted = tls.url("hooks.example", "https")
        cases = [
            (["10.0.0.1"], hooks["http"], None),
            (["169.254.169.254"], hooks["http"], None),
            ([], hooks["http"], None),
            (["127.0.0.1"], closed, None),
            (["127.0.0.1"], hooks["https"], None),
            (["127.0.0.1"], untrusted, None),
            (["127.0.0.1"], hooks["http"], nonsense),
            (["127.0.0.1"], hooks["http"], drip),
            ([], "http://10.0.0.1/", None),
        ]
        answers = []
        for addresses, url, answering in cases:
            received.answering = answering
            timeout_s = 0.5 if answering is drip else 30.0
            async with calling(
                jobs_settings, Names(addresses), webhook_timeout_s=timeout_s
            ) as client:
                answers.append(await client.post(url, {}, b"{}"))
    assert {(answer.delivered, answer.note) for answer in answers} == {(False, NO_RESPONSE)}
    assert len({answer.reason for answer in answers}) >= 7


def flood_of_body(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"a" * 65536)


async def test_an_answer_s_body_is_not_read(
    jobs_settings: JobsSettings, received: Receiver
) -> None:
    received.answering = flood_of_body
    async with calling(jobs_settings) as client:
        assert (await client.post(received.url(), {}, b"{}")).delivered


async def test_the_system_is_asked_for_names(opened: Opened[SystemResolver]) -> None:
    resolver = opened(SystemResolver())
    assert "127.0.0.1" in await resolver("localhost", 80)
    with pytest.raises(OSError):  # noqa: PT011
        await resolver("nowhere.invalid", 80)
