"""An API key: ``sfu_<id>_<secret>``. The secret is shown once; only its SHA-256 is stored."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from jobs.schema import Priority
from service.auth.retired import Retired, valid
from service.auth.scope import Scope

_KEY = re.compile(r"sfu_([0-9a-f]{12})_([0-9a-f]{48})")


@dataclass(frozen=True)
class ApiKey:
    """A key as it is stored. Times are seconds since 1970."""

    id: str  # public: identifies the key in lists and logs
    tenant: str
    label: str
    scopes: frozenset[Scope]
    sha256: str  # hex, of the secret
    created_at: float
    expires_at: float | None = None
    previous_sha256: str | None = None  # of the secret before the last rotation …
    previous_until: float = 0.0  # … which is valid until then
    rate_limit: int | None = None  # requests a window; None: the service's default
    last_used_at: float | None = None  # accurate to a few minutes
    retired: tuple[Retired, ...] = ()  # hashes of earlier secrets, the previous one's among them
    priorities: frozenset[Priority] = frozenset(Priority)  # classes that its jobs may ask for

    def opens(self, secret: str, now: float) -> bool:
        """Return whether this is the key's secret or its previous one, and still valid."""
        given = digest(secret)
        hashes = (self.sha256, *valid(self.all_retired(), now))
        known = any([hmac.compare_digest(given, each) for each in hashes])
        return known and (self.expires_at is None or now < self.expires_at)

    def all_retired(self) -> tuple[Retired, ...]:
        """Return the hashes of earlier secrets, newest first; earlier versions knew only one."""
        known = {each for each, _ in self.retired}
        if self.previous_sha256 and self.previous_sha256 not in known:
            return ((self.previous_sha256, self.previous_until), *self.retired)
        return self.retired


def digest(secret: str) -> str:
    """Return the hash that is stored: a fast one is enough for 192 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_id() -> str:
    """Return a new key's id."""
    return secrets.token_hex(6)


def new_secret() -> str:
    """Return 192 random bits."""
    return secrets.token_hex(24)


def text_of(key_id: str, secret: str) -> str:
    """Return the key as clients send it."""
    return f"sfu_{key_id}_{secret}"


def parse(text: str) -> tuple[str, str] | None:
    """Return a key's id and secret, None if the text is not a key."""
    match = _KEY.fullmatch(text)
    return None if match is None else (match[1], match[2])
