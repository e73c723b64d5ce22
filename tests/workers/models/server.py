"""A web server of files and a hub of repositories, on loopback; both can break off and refuse."""

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.processes import PATIENCE_S

COMMIT = "c0ffee" + "0" * 34
LARGE = 600  # bytes from which a file is kept outside git


@dataclass
class Repo:
    """A repository of the hub."""

    files: dict[str, bytes]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    token: str | None = None  # that is let in; others get ``refusal``
    refusal: tuple[int, str] = (401, "GatedRepo")


@dataclass
class Site:
    """What the server has, does and has seen."""

    files: dict[str, bytes] = field(default_factory=dict)  # by path
    repos: dict[str, Repo] = field(default_factory=dict)  # by OWNER/NAME
    redirects: dict[str, str] = field(default_factory=dict)  # by path
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path → bytes until the next cut
    statuses: dict[str, list[int]] = field(default_factory=dict)  # path → the next answers
    holds: dict[str, int] = field(default_factory=dict)  # path → bytes until nothing more comes
    released: threading.Event = field(default_factory=threading.Event)  # ends the holds
    tags: bool = True  # whether files have an ETag
    ranges: bool = True  # whether parts are served
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def requests(self, path: str) -> list[dict[str, str]]:
        """Return the headers of what was asked of a path with GET."""
        return [headers for verb, asked, headers in self.asked if (verb, asked) == ("GET", path)]


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.site.asked.append((self.command, path, headers))
        if codes := self.site.statuses.get(path):
            return self._send(codes.pop(0), b"", {})
        if (target := self.site.redirects.get(path)) is not None:
            return self._send(302, b"", {"Location": target})
        if path in self.site.files:
            return self._file(path, self.site.files[path], {}, body=body)
        words = [unquote(word) for word in urlsplit(self.path).path.strip("/").split("/")]
        return self._hub(words, path, body=body)

    def _hub(self, words: list[str], path: str, *, body: bool) -> None:
        api = words[:2] == ["api", "models"]
        owner_name = "/".join(words[2:4] if api else words[:2])
        repo = self.site.repos.get(owner_name)
        if repo is None:
            return self._refuse(404, "RepoNotFound")
        if repo.token is not None and self.headers.get("authorization") != f"Bearer {repo.token}":
            return self._refuse(*repo.refusal)
        rest = words[4:] if api else words[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in (*repo.revisions, repo.commit):
            return self._refuse(404, "RevisionNotFound")
        if api and rest[:1] == ["tree"]:
            return self._send(200, json.dumps(self._tree(repo)).encode(), {})
        if api:
            return self._send(200, json.dumps({"id": owner_name, "sha": repo.commit}).encode(), {})
        content = repo.files.get("/".join(rest[2:]))
        if content is None:
            return self._refuse(404, "EntryNotFound")
        linked = {"X-Repo-Commit": repo.commit, "X-Linked-Size": str(len(content))}
        return self._file(path, content, linked, body=body)

    @staticmethod
    def _tree(repo: Repo) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path, content in repo.files.items():
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
            if len(content) >= LARGE:
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            found.append(entry)
        return found

    def _file(self, path: str, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers |= {"ETag": tag} if self.site.tags else {}
        wanted = self.headers.get("range", "")
        same = self.headers.get("if-range", tag) == tag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and self.site.ranges and same:
            if start >= len(content):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._send(206, content[start:], headers, path=path, body=body)
        return self._send(200, content, headers, path=path, body=body)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], *, path: str = "",
        body: bool = True,
    ) -> None:  # fmt: skip
        cuts = self.site.cuts.get(path, [])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body or self.command == "HEAD":
            return
        if cuts and len(content) > cuts[0]:
            self.wfile.write(content[: cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if path in self.site.holds:
            self.wfile.write(content[: self.site.holds.pop(path)])
            self.wfile.flush()
            self.site.released.wait(PATIENCE_S)
            self.close_connection = True
            return
        self.wfile.write(content)


@contextmanager
def site_running(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Run the server; yield what it serves."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
    site.url = f"{scheme}://{host}:{server.server_address[1]}"
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
