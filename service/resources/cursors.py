"""Cursors of lists. The store's are positions among the jobs of all tenants, which tell how many
jobs the service has had; with keys on, clients get them sealed.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import InvalidCursor

_BYTES = 8


@dataclass(frozen=True)
class Cursors:
    """Seals with the first secret and opens with all; without secrets cursors stay as they are.

    A sealed cursor is a synthetic initialisation vector (RFC 5297's idea, with HMAC-SHA256): a tag
    of the position and its reader, and the position under a key stream that follows from the tag.
    """

    secrets: Sequence[bytes] = ()

    def sealed(self, cursor: str | None, reader: str | None) -> str | None:
        """Return a cursor of the store's as this reader gets it: a tenant, None for operators."""
        if cursor is None or not self.secrets:
            return cursor
        position = int(cursor).to_bytes(_BYTES, "big")
        tag = _tag(self.secrets[0], position, reader)
        sealed = tag + _masked(self.secrets[0], tag, position)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def opened(self, cursor: str | None, reader: str | None) -> str | None:
        """Return the store's cursor. Raises: InvalidCursor, it is not one of this reader's."""
        if cursor is None or not self.secrets:
            return cursor
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        for secret in self.secrets:
            tag, masked = sealed[:_BYTES], sealed[_BYTES:]
            position = _masked(secret, tag, masked)
            if len(masked) == _BYTES and hmac.compare_digest(_tag(secret, position, reader), tag):
                return str(int.from_bytes(position, "big"))
        raise InvalidCursor(f"{cursor!r} is not a valid cursor")


def _tag(secret: bytes, position: bytes, reader: str | None) -> bytes:
    whose = b"operator" if reader is None else b"tenant " + reader.encode()
    return _mac(secret, b"tag " + position + whose)


def _masked(secret: bytes, tag: bytes, position: bytes) -> bytes:
    stream = _mac(secret, b"stream " + tag)
    return bytes(a ^ b for a, b in zip(position, stream, strict=False))


def _mac(secret: bytes, text: bytes) -> bytes:
    return hmac.new(secret, b"sfumato cursor 1\n" + text, hashlib.sha256).digest()[:_BYTES]
