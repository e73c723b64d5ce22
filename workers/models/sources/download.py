"""One file over HTTP: resumed where it broke off, refused by its first bytes, checked at its end.

What has arrived lies in ``FILE.part``, and beside it is the ETag that the rest has to have.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx2

from diffusion.errors import BundleError
from workers.models.directory.errors import DiskFull, Interrupted, size
from workers.models.sources.magic import HEAD_BYTES, refuse_by_content

TIMEOUT_S = 60.0  # without a byte
ATTEMPTS = 5  # in a row that bring nothing
WAIT_S = 1.0  # before the second; it doubles
REPORT_S = 10.0
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

Report = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is there."""

    said: str  # its source, for messages
    size: int | None = None
    sha256: str | None = None
    head: bool = True  # whether its first bytes have to be those of a model


def download(
    client: httpx2.Client,
    url: str,
    target: Path,
    wanted: Wanted,
    headers: Mapping[str, str],
    report: Report,
) -> None:
    """Download a file to ``target``; what an earlier attempt left is not downloaded again.

    Raises:
        Interrupted: the connection is gone; the same call resumes.
        DiskFull: it would not fit.
        BundleError: the server refuses, or the file is another one or of a format that is not
            served.
    """
    if target.exists():
        return
    part = _Part(target, wanted)
    waits = 0
    while True:
        before = part.length
        try:
            _receive(client, url, part, dict(headers), report)
            break
        except (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
            raise BundleError(f"{wanted.said}: {error}") from error
        except (httpx2.RequestError, _Busy) as error:
            waits = 0 if part.length > before else waits + 1
            if waits >= ATTEMPTS:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise Interrupted(
                    f"{wanted.said} broke off after {size(part.length)}: {reason}; "
                    "the same command resumes it"
                ) from error
            sleep(WAIT_S * 2 ** max(0, waits - 1))
    part.finish()


class _Busy(Exception):
    """The server asks to come again."""


class _Part:
    """What has arrived of a file."""

    def __init__(self, target: Path, wanted: Wanted) -> None:
        self.target = target
        self.wanted = wanted
        self.path = target.with_name(target.name + ".part")
        self._tag = target.with_name(target.name + ".part.etag")
        target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def range_headers(self) -> dict[str, str]:
        """Return what asks for the rest; nothing if it could be the rest of another file."""
        if self.length == 0:
            return {}
        tag = self._tag.read_text() if self._tag.exists() else ""
        if tag:
            return {"Range": f"bytes={self.length}-", "If-Range": tag}
        if self.wanted.sha256 is not None:
            return {"Range": f"bytes={self.length}-"}
        return {}

    def remember(self, response: httpx2.Response) -> None:
        """Keep the ETag of what arrives from its beginning; a weak one cannot be resumed by."""
        tag = response.headers.get("etag") or response.headers.get("last-modified") or ""
        self._tag.write_text("" if tag.startswith("W/") else tag)

    def restart(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def finish(self) -> None:
        """Check the file and give it its name."""
        wanted = self.wanted
        if wanted.size is not None and self.length != wanted.size:
            found = self.length
            self.restart()
            raise BundleError(f"{wanted.said} has {found} bytes, not {wanted.size}")
        if wanted.sha256 is not None:
            with self.path.open("rb") as file:
                found_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if found_sha256 != wanted.sha256:
                self.restart()
                raise BundleError(f"{wanted.said} has sha256 {found_sha256}, not {wanted.sha256}")
        self.path.rename(self.target)
        self._tag.unlink(missing_ok=True)


def _receive(
    client: httpx2.Client, url: str, part: _Part, headers: dict[str, str], report: Report
) -> None:
    """Append the rest of a file to its part."""
    asked = part.range_headers()
    headers |= asked | {"Accept-Encoding": "identity"}
    with client.stream("GET", url, headers=headers) as response:
        _check_status(response, part, url)
        if response.status_code == 416:
            if part.length != part.wanted.size:
                part.restart()
                raise _Busy("the rest is not there")
            return
        resumed = response.status_code == 206
        if resumed and not _begins_at(response, part.length):
            part.restart()
            raise _Busy("the server sent another part than was asked for")
        if not resumed:
            part.restart()
            part.remember(response)
        _check_space(response, part)
        _append(response, part, report)


def _check_status(response: httpx2.Response, part: _Part, url: str) -> None:
    said, code = part.wanted.said, response.status_code
    plain = [r for r in (*response.history, response) if r.url.scheme == "http"]
    if plain and url.startswith("https:") and part.wanted.sha256 is None:
        raise BundleError(f"{said} leads to http://{plain[0].url.host}; --sha256 would pin it")
    if code in TRANSIENT:
        raise _Busy(f"{code} {response.reason_phrase}")
    if code in (401, 403):
        raise BundleError(f"{said}: {code} {response.reason_phrase}; it needs other rights")
    if code not in (200, 206, 416):
        raise BundleError(f"{said}: {code} {response.reason_phrase}")


def _begins_at(response: httpx2.Response, offset: int) -> bool:
    return str(response.headers.get("content-range", "")).startswith(f"bytes {offset}-")


def _check_space(response: httpx2.Response, part: _Part) -> None:
    length = response.headers.get("content-length", "")
    coming = int(length) if length.isdecimal() else 0
    check_space(part.target.parent, coming, part.wanted.said)


def check_space(folder: Path, needed: int, said: str) -> None:
    """Refuse to begin what would not fit on the disk of a folder.

    Raises:
        DiskFull: it would not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFull(f"{said} needs {size(needed)}, and {folder} has {size(free)} free")


def _append(response: httpx2.Response, part: _Part, report: Report) -> None:
    reported = monotonic()
    head = None if part.length or not part.wanted.head else b""
    with part.path.open("ab") as file:
        for chunk in response.iter_bytes():
            file.write(chunk)
            if head is not None and len(head) < HEAD_BYTES:
                head += chunk[:HEAD_BYTES]
                if len(head) >= HEAD_BYTES:
                    refuse_by_content(head, part.wanted.said)
            if monotonic() - reported > REPORT_S:
                reported = monotonic()
                file.flush()
                report(f"{part.wanted.said}: {size(part.length)}{_of(part.wanted.size)}")
        file.flush()
        os.fsync(file.fileno())


def _of(total: int | None) -> str:
    return "" if total is None else f" of {size(total)}"


def web_client() -> httpx2.Client:
    """Return a client that follows redirects, and takes keys to no other host."""
    return httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S, max_redirects=10)
