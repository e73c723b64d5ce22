"""Signed links, which give access to one part of one job for a while without an API key:
``<img>`` and EventSource cannot send one.
"""

import base64
import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode


class LinkScope(StrEnum):
    """The part of a job that a link gives access to."""

    IMAGES = "images"  # all finished images of the job
    PREVIEW = "preview"
    EVENTS = "events"


class SignatureStatus(StrEnum):
    """Whether a link's signature is valid."""

    VALID = "valid"
    EXPIRED = "expired"
    INVALID = "invalid"


@dataclass(frozen=True)
class Signer:
    """Signs with the first secret and accepts signatures of all, so that secrets can be rotated."""

    secrets: Sequence[bytes]
    ttl_s: float

    def query(self, job_id: str, scope: LinkScope, now: float, latest: int | None = None) -> str:
        """Return the query of a link that is valid for ``ttl_s`` and up to a quarter longer.

        The expiry is rounded so that a job fetched again has the same links, which browsers find in
        their caches. ``latest`` is an upper bound on it (seconds since 1970).
        """
        step = max(1, int(self.ttl_s / 4))
        expires = math.ceil((now + self.ttl_s) / step) * step
        if latest is not None:
            expires = min(expires, latest)
        signature = _signature(self.secrets[0], job_id, scope, expires)
        return urlencode({"expires": expires, "signature": signature})

    def alias(self, worker: str) -> str:
        """Return a name for a worker that does not tell its host and process."""
        text = f"sfumato worker 1\n{worker}"
        return f"worker-{hmac.new(self.secrets[0], text.encode(), hashlib.sha256).hexdigest()[:12]}"

    def check(
        self, job_id: str, scope: LinkScope, expires: str | None, signature: str, now: float
    ) -> SignatureStatus:
        """Return whether a link's query gives access to this part of the job."""
        if expires is None or not (expires.isascii() and expires.isdecimal()) or len(expires) > 12:
            return SignatureStatus.INVALID
        given, until = signature.encode("utf-8", "replace"), int(expires)
        valid = False
        for secret in self.secrets:  # always all of them, so that timing does not show which one
            valid |= hmac.compare_digest(_signature(secret, job_id, scope, until).encode(), given)
        if not valid:
            return SignatureStatus.INVALID
        return SignatureStatus.VALID if now < until else SignatureStatus.EXPIRED


def _signature(secret: bytes, job_id: str, scope: LinkScope, expires: int) -> str:
    text = f"sfumato link 1\n{scope}\n{job_id}\n{expires}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")
