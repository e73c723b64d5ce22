"""Requests that are sent again: which, how long, and under which key."""

import json
import time
from collections.abc import Callable

import httpx
import pytest

from service.client.client import Sfumato
from service.client.errors import ClientError, ConnectionFailed, NotFound, TooBusy

Script = list[httpx.Response | Exception]
REFUSED = httpx.ConnectError("refused")


def busy(status: int = 503, retry_after: str | None = "0") -> httpx.Response:
    return httpx.Response(
        status, headers={} if retry_after is None else {"retry-after": retry_after}
    )


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let pauses pass at once, on a clock that they advance; return them."""
    slept: list[float] = []
    began = time.monotonic()
    monkeypatch.setattr("service.client.retries.time.sleep", slept.append)
    monkeypatch.setattr("service.client.retries.time.monotonic", lambda: began + sum(slept))
    return slept


def scripted(script: Script, retry_s: float = 10.0) -> tuple[Sfumato, list[httpx.Request]]:
    """Return a client whose requests get these responses in turn, and what it sent."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        reply = script[min(len(sent), len(script)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    return Sfumato(transport=httpx.MockTransport(answer), retry_s=retry_s), sent


def test_one_key_is_kept_over_the_attempts_of_a_submission(pauses: list[float]) -> None:
    script: Script = [REFUSED, httpx.ReadError("cut"), busy(503), busy(429), httpx.Response(409)]
    client, sent = scripted(script)
    with client, pytest.raises(ClientError):
        client.submit("a red apple")
    keys = {request.headers["idempotency-key"] for request in sent}
    assert (len(sent), len(keys)) == (5, 1)
    assert {json.loads(request.content)["prompt"] for request in sent} == {"a red apple"}
    other, more = scripted([httpx.Response(409)])
    with other, pytest.raises(ClientError):
        other.submit("a red apple")
    assert more[0].headers["idempotency-key"] not in keys  # each call has its own


CALLS: tuple[Callable[[Sfumato], object], ...] = (
    lambda client: client.get("x"),
    lambda client: client.image("x"),
    lambda client: client.cancel("x"),
    lambda client: client.delete("x"),
    lambda client: client.models(),
)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_tried_again(call: Callable[[Sfumato], object], pauses: list[float]) -> None:
    client, sent = scripted([REFUSED, busy(), httpx.Response(404)])
    with client, pytest.raises(NotFound):
        call(client)
    assert len(sent) == 3
    assert pauses == [0.2, 0.5]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422])
def test_what_would_be_refused_again_is_sent_once(status: int, pauses: list[float]) -> None:
    client, sent = scripted([busy(status)])
    with client, pytest.raises(ClientError):
        client.models()
    assert (len(sent), pauses) == (1, [])


def test_attempts_end_in_time_and_wait_as_long_as_asked(pauses: list[float]) -> None:
    client, sent = scripted([busy(429, "3")], retry_s=10)
    with client, pytest.raises(TooBusy):
        client.models()
    assert pauses == [3, 3, 3]
    pauses.clear()
    client, sent = scripted([busy(429, "3600")], retry_s=10)
    with client, pytest.raises(TooBusy) as refused:
        client.models()
    assert (len(sent), pauses, refused.value.retry_after_s) == (1, [], 3600)
    client, sent = scripted([REFUSED], retry_s=0)
    with client, pytest.raises(ConnectionFailed):
        client.models()
    assert len(sent) == 1


def test_a_door_that_is_not_ready_is_asked_once(pauses: list[float]) -> None:
    client, sent = scripted([busy()])
    with client:
        assert not client.ready()
    assert (len(sent), pauses) == (1, [])


def test_a_pause_without_end_is_not_taken(pauses: list[float]) -> None:
    client, _ = scripted([busy(429, "9" * 400), busy(429, "-1")], retry_s=10)
    with client, pytest.raises(TooBusy) as refused:
        client.models()
    assert refused.value.retry_after_s is None
    assert max(pauses) <= 8
