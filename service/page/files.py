"""The page's files over HTTP, as they lie in this folder."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from service.http.entity_tag import entity_tag, matches
from service.http.problem import Refusal

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent
NAME = re.compile(r"(?:[a-z0-9_]+/)*[a-z0-9_]+\.(css|html|js|svg)")
"""A path below the folder; it has no dot but the one before its suffix."""
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:",
        "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "cache-control": "no-cache",  # kept, but asked about each time: all files are of one version
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    data: bytes
    zipped: bytes
    media_type: str
    sha256: str


@router.get("/")
async def index(
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the page."""
    return _response("index.html", accept_encoding, if_none_match)


@router.get("/page/{name:path}")
async def page_file(
    name: str,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a file of the page. Raises: Refusal, 404, there is none of this name."""
    return _response(name, accept_encoding, if_none_match)


def _response(name: str, accept_encoding: str, if_none_match: str | None) -> Response:
    file = read(name)
    zipped = takes_gzip(accept_encoding)
    tag = entity_tag(("z" if zipped else "p") + file.sha256)
    headers = HEADERS | {"etag": tag}
    if if_none_match is not None and matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["content-encoding"] = "gzip"
    data = file.zipped if zipped else file.data
    return Response(data, headers=headers, media_type=file.media_type)


def read(name: str) -> PageFile:
    """Return a file of the page. Raises: Refusal, 404, there is none of this name."""
    path = FOLDER / name
    if NAME.fullmatch(name) is None or not path.is_file():
        raise Refusal(404, "not_found", f"the page has no file {name[:100]!r}")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=128)
def _read(path: Path, _changed_ns: int) -> PageFile:
    """Return a file; it is read again once it has changed."""
    data = path.read_bytes()
    media_type, sha256 = TYPES[path.suffix[1:]], hashlib.sha256(data).hexdigest()
    return PageFile(data, gzip.compress(data, mtime=0), media_type, sha256)


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether a client takes gzip (RFC 9110, 12.5.3)."""
    weights = {
        name.strip().lower(): weight.replace(" ", "")
        for name, _, weight in (each.partition(";") for each in accept_encoding.split(","))
    }
    return re.fullmatch(r"q=0(\.0*)?", weights.get("gzip", "q=0")) is None
