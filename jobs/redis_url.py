"""The URL of a Redis server, as redis-py and as Celery need it.

``redis://user:password@host:6379/0``, ``rediss://`` for TLS, ``unix:///run/redis.sock?db=0`` for a
socket. Both libraries read such URLs, but not alike: Celery knows no ``unix://`` and no ``?db=``.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from jobs.sentinel import SCHEMES, sentinel_url

FORMS = (
    "the URL must be like redis://user:password@host:6379/0, rediss://…, unix:///path?db=0 or "
    "sentinel://host:26379,host2:26379/master/0, with special characters percent-encoded"
)


@dataclass(frozen=True)
class RedisUrl:
    """A parsed URL; a socket has a path, any other server a host and a port."""

    scheme: str
    login: str  # "user:password@", percent-encoded, or empty
    place: str  # "host:port", or the absolute path of a socket, percent-encoded
    db: int

    def client(self) -> str:
        """Return the URL that redis-py reads."""
        if self.scheme == "unix":
            return f"unix://{self.login}{self.place}?db={self.db}"
        return f"{self.scheme}://{self.login}{self.place}/{self.db}"

    def broker(self) -> str:
        """Return the URL that Celery reads."""
        if self.scheme == "unix":
            return f"redis+socket://{self.login}{self.place}?virtual_host={self.db}"
        return self.client()


def redis_url(url: str) -> RedisUrl:
    """Parse the URL of a server.

    Raises:
        ValueError: it has another form; the message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:
        raise ValueError(FORMS) from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket = parts.scheme == "unix"
    db = query.pop("db", "0") if socket or parts.path in ("", "/") else parts.path[1:]
    if query:
        raise ValueError(f"{', '.join(map(repr, query))} cannot be set in the URL: {FORMS}")
    known = parts.scheme in ("redis", "rediss", "unix")
    placed = not parts.netloc.rpartition("@")[2] and len(parts.path) > 1 if socket else True
    if not (known and placed and db.isascii() and db.isdecimal()) or parts.fragment:
        raise ValueError(FORMS)
    if socket:
        place = quote(unquote(parts.path))
    else:
        place = f"[{host}]:{port}" if ":" in host else f"{quote(unquote(host))}:{port}"
    return RedisUrl(parts.scheme, _login(parts.username, parts.password), place, int(db))


def _login(user: str | None, password: str | None) -> str:
    if not user and not password:
        return ""
    name = quote(unquote(user or ""), safe="")
    return f"{name}:{quote(unquote(password or ''), safe='')}@" if password else f"{name}@"


def check_url(url: str) -> None:
    """Check a URL of any form. Raises: ValueError."""
    if urlsplit(url).scheme in SCHEMES:
        sentinel_url(url)
    else:
        redis_url(url)
