"""The note in a worker's pod, on an API server with a certificate of its own."""

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.faults.client import until
from workers import deletion_cost
from workers.deletion_cost import ANNOTATION, Pod, cost, keep_noted


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 as ca.crt; return its path and its key's."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: no certificate can be made")
    key, certificate = folder / "key.pem", folder / "ca.crt"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=api"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class Api:
    """Remembers what it is asked, and refuses as often as it is told."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.refusals = 0
        self.account = folder
        certificate, key = make_certificate(folder)
        (folder / "namespace").write_text("sfumato")
        (folder / "token").write_text("secret\n")
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                api.asked.append((self.path, body, dict(self.headers), self.command))
                api.refusals -= 1
                self.send_response(403 if api.refusals >= 0 else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def notes(self) -> list[str]:
        return [
            json.loads(body)["metadata"]["annotations"][ANNOTATION] for _, body, _, _ in self.asked
        ]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path)
    yield api
    api.server.shutdown()
    api.server.server_close()
    api.thread.join()


def test_the_cost_is_the_quarter_of_the_slots() -> None:
    assert [cost(used, 16) for used in (0, 1, 4, 5, 8, 12, 13, 16)] == [0, 1, 1, 2, 2, 3, 4, 4]
    assert [cost(used, 1) for used in (0, 1)] == [0, 4]


def test_a_pod_is_patched_with_its_accounts_token(api: Api) -> None:
    Pod("worker-1", api.url, api.account).annotate("3")
    ((path, body, headers, _),) = api.asked
    assert path == "/api/v1/namespaces/sfumato/pods/worker-1"
    assert json.loads(body) == {"metadata": {"annotations": {ANNOTATION: "3"}}}
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/merge-patch+json"


def test_an_api_with_another_certificate_hears_no_token(api: Api, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_certificate(other)
    for name in ("namespace", "token"):
        (other / name).write_text("x")
    with pytest.raises(URLError, match="certificate"):
        Pod("worker-1", api.url, other).annotate("3")
    assert api.asked == []


async def test_only_changes_are_written_and_a_refusal_is_tried_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion_cost, "LOOK_S", 0.01)
    monkeypatch.setattr(deletion_cost, "PAUSE_S", 0.01)
    api.refusals, used = 2, [0]
    task = asyncio.create_task(
        keep_noted(Pod("worker-1", api.url, api.account), lambda: used[0], 16)
    )

    async def noted(expected: list[str]) -> bool:
        return api.notes() == expected

    await until("the note at last", lambda: noted(["0", "0", "0"]))
    used[0] = 16
    await until("the new note", lambda: noted(["0", "0", "0", "4"]))
    used[0] = 15  # the same class
    await asyncio.sleep(0.1)
    assert await noted(["0", "0", "0", "4"])
    task.cancel()
