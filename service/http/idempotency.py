"""The ``Idempotency-Key`` header (IETF httpapi draft 07) and the digest of the request it names."""

import hashlib
import re
from collections.abc import Sequence

import orjson

from jobs.schema import JobRequest
from jobs.store import Idempotency
from service.http.problem import Refusal

MAX_KEY_CHARS = 255
KEY_PATTERN = r'^("[A-Za-z0-9._~:+/=@-]{1,255}"|[A-Za-z0-9._~:+/=@-]{1,255})$'
"""What the API reference asks for; a quoted key may hold other printable characters too."""

_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # RFC 8941, 3.3.3
_BARE = re.compile(r"[A-Za-z0-9._~:+/=@-]+")  # as clients send it that do not quote


def parse_key(values: Sequence[str]) -> str | None:
    """Return the idempotency key of a request, None if it has none.

    Raises:
        Refusal: it is malformed, empty, too long, or given more than once.
    """
    if not values:
        return None
    if len(values) > 1:
        raise _malformed("the header is given more than once")
    value = values[0].strip()
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(r'\\(["\\])', r"\1", quoted.group(1)) if quoted else value
    if not quoted and not _BARE.fullmatch(value):
        raise _malformed('it must be a quoted string, like "8e03978e-40d5"')
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        raise _malformed(f"it must have 1 to {MAX_KEY_CHARS} characters")
    return key


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "invalid_idempotency_key", detail, field="Idempotency-Key")


def idempotency(key: str | None, request: JobRequest) -> Idempotency | None:
    """Return the key with a digest of the fields that the client set."""
    if key is None:
        return None
    fields = request.model_dump(mode="json", exclude_unset=True)
    body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return Idempotency(key, hashlib.sha256(body).hexdigest())
