"""How the client reaches a door: addresses, keys, proxies, other servers."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from jobs.host.addresses import is_loopback
from service.client import connection
from service.client.client import Sfumato
from service.client.connection import door_address, shown
from service.client.errors import ConnectionFailed, InvalidArgument, UnexpectedResponse
from service.processes.ports import free_port

MODELS = b'{"models": []}'
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@contextlib.contextmanager
def web_server(body: bytes, content_type: str) -> Iterator[tuple[str, list[str]]]:
    """Run a server that answers everything with this; yield its address and the paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "nonsense://x"])
def test_loopback_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    with web_server(MODELS, "application/json") as (url, asked), Sfumato(url) as client:
        assert client.models().models == ()
    assert asked == ["/v1/models"]


@pytest.mark.usefixtures("no_proxies")
def test_another_host_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(MODELS, "application/json") as (proxy, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with Sfumato("http://door.example:8000/under/a/path") as client:
            assert client.models().models == ()
        monkeypatch.setenv("NO_PROXY", "door.example")
        with Sfumato("http://door.example:1", retry_s=0) as client, pytest.raises(ConnectionFailed):
            client.models()
    assert asked == ["http://door.example:8000/under/a/path/v1/models"]


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1"])
def test_a_socks_proxy_is_used(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    client = Sfumato("http://door.example:8000", retry_s=0)
    with client, pytest.raises(ConnectionFailed) as failed:
        client.models()
    assert "door.example:8000" in str(failed.value)


@pytest.mark.usefixtures("no_proxies")
def test_an_unusable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://x")
    with pytest.raises(InvalidArgument, match="proxy variable in the environment"):
        Sfumato("http://door.example")


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "localhost:8000", "127.0.0.1:8000", "ftp://door", "http://", "http:///v1",
        "http://door:0", "http://door:70000", "http://door:x", "http://[::1", "http://::1:8000",
        "http://a b", "http://door?x=1", "http://door#x", "http://xn--a", "http://door\n.example",
        "https:door", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_a_bad_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Sfumato(url)
    assert repr(url) in str(refused.value)


@pytest.mark.parametrize("key", ["", " ", "ключ", "sfu_a b", "sfu_\r\nx: y", "sfu_\x00", "sfu_é"])
def test_a_bad_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgument, match="API key") as refused:
        Sfumato(api_key=key)
    assert not key.strip() or key not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("LOCALHOST.", True), ("door.localhost", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("localhost.example", False), ("::2", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert connection._is_loopback(host) is expected


def test_a_password_in_an_address_is_not_shown() -> None:
    assert shown(door_address("https://me:secret@door.example/x/")) == "https://door.example/x"
    client = Sfumato(f"http://me:secret@127.0.0.1:{free_port()}", retry_s=0)
    with client, pytest.raises(ConnectionFailed) as failed:
        client.models()
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<h1>It works!</h1>", "text/html"),
        (b"[]", "application/json"),
        (b"event: status\ndata: nonsense\n\n", "text/event-stream"),
        (b"event: status\ndata: {}\n\n", "text/event-stream"),
    ],
)
def test_another_server_is_told_from_a_door(body: bytes, content_type: str) -> None:
    with web_server(body, content_type) as (url, _), Sfumato(url) as client:
        with pytest.raises(UnexpectedResponse, match="not Sfumato"):
            client.models()
        with pytest.raises(UnexpectedResponse, match="not Sfumato"):
            next(client.follow("x"))


@pytest.mark.parametrize("job_id", ["../models", "a/b", "a?b=c", "a#b", "..", "%2e%2e", "é\u2028"])
def test_an_id_stays_one_part_of_the_path(job_id: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(404)

    asked: list[httpx.URL] = []
    with Sfumato(transport=httpx.MockTransport(answer)) as client:
        for call in (client.get, client.image, client.delete, client.cancel):
            with pytest.raises(Exception, match="404"):
                call(job_id)
    for url in asked:
        assert url.raw_path.startswith(b"/v1/jobs/")
        assert url.raw_path.split(b"/")[3].count(b"?") == 0
        assert not url.query


@pytest.mark.parametrize(
    "fields",
    [{"guidance_scale": float("nan")}, {"eta": float("inf")}, {"metadata": {"x": object()}}],
)
def test_a_value_that_json_has_not_is_refused(fields: dict[str, Any]) -> None:
    with Sfumato() as client, pytest.raises(InvalidArgument, match="cannot be sent"):
        client.submit("a", **fields)
    with Sfumato() as client, pytest.raises(InvalidArgument, match="cannot be sent"):
        client.submit("half a pair: \ud83d")
