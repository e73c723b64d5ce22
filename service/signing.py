"""Links that open one thing of one job without a key, for a while: ``<img>`` and EventSource
cannot send one.
"""

import base64
import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode


class Thing(StrEnum):
    """What a link opens."""

    IMAGES = "images"  # all finished pictures of the job
    PREVIEW = "preview"
    EVENTS = "events"


class Verdict(StrEnum):
    """What a signature is worth."""

    GOOD = "good"
    EXPIRED = "expired"
    BAD = "bad"


@dataclass(frozen=True)
class Signer:
    """Signs with the first secret and knows the signatures of all: that is how they are rotated."""

    secrets: Sequence[bytes]
    ttl_s: float

    def query(self, job_id: str, thing: Thing, now: float, latest: int | None = None) -> str:
        """Return the query of a link that is good for ``ttl_s``, and up to a quarter longer.

        ``latest`` bounds its end (seconds since 1970). Else it is rounded, so that looking at a
        job again gives the same link and a browser's copy of the picture is found.
        """
        step = max(1, int(self.ttl_s / 4))
        expires = math.ceil((now + self.ttl_s) / step) * step
        if latest is not None:
            expires = min(expires, latest)
        signature = _signature(self.secrets[0], job_id, thing, expires)
        return urlencode({"expires": expires, "signature": signature})

    def verdict(
        self, job_id: str, thing: Thing, expires: str | None, signature: str, now: float
    ) -> Verdict:
        """Return whether a link's query opens this."""
        if expires is None or not (expires.isascii() and expires.isdecimal()) or len(expires) > 12:
            return Verdict.BAD
        given, until = signature.encode("utf-8", "replace"), int(expires)
        good = False
        for secret in self.secrets:  # all of them, whichever it is
            good |= hmac.compare_digest(_signature(secret, job_id, thing, until).encode(), given)
        if not good:
            return Verdict.BAD
        return Verdict.GOOD if now < until else Verdict.EXPIRED


def _signature(secret: bytes, job_id: str, thing: Thing, expires: int) -> str:
    text = f"sfumato link 1\n{thing}\n{job_id}\n{expires}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")
