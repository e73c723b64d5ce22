"""The URL of Redis, as redis-py and as Celery need it.

``redis://user:password@host:6379/0``, ``rediss://`` for TLS, ``unix:///run/redis.sock?db=0`` for a
socket. Both libraries read such URLs, but not alike: Celery knows no ``unix://`` and no ``?db=``.

``sentinel://user:password@host:26379,host2:26379/master/0`` for a server behind sentinels,
``sentinels://`` with TLS to the servers and to the sentinels. User and password are for the
servers; the sentinels are queried without.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SENTINEL_SCHEMES = ("sentinel", "sentinels")
SENTINEL_PORT = 26379
SENTINEL_FORM = "the URL must be like sentinel://host:26379,host2:26379/master/0"
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


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed URL of a server behind sentinels."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    tls: bool
    login: dict[str, str]

    def broker(self) -> str:
        """Return the URL in Celery's form: one per sentinel, each with the login."""
        names = (quote(self.login.get(name, ""), safe="") for name in ("username", "password"))
        login = ":".join(names) + "@" if self.login else ""
        places = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        return ";".join(f"sentinel://{login}{place}/{self.db}" for place in places)


def sentinel_url(url: str) -> SentinelUrl | None:
    """Parse a URL; return None if its scheme is another.

    Raises:
        ValueError: it lacks a sentinel or a master.
    """
    parts = urlsplit(url)
    if parts.scheme not in SENTINEL_SCHEMES:
        return None
    if parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the database: {SENTINEL_FORM}")
    login, _, places = parts.netloc.rpartition("@")
    master, _, db = parts.path.strip("/").partition("/")
    if not places or not master or not (db or "0").isdecimal():
        raise ValueError(SENTINEL_FORM)
    user, _, password = login.partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    return SentinelUrl(
        tuple(_place(place) for place in places.split(",")),
        master,
        int(db or 0),
        parts.scheme == "sentinels",
        {name: value for name, value in named.items() if value},
    )


def _place(place: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port or SENTINEL_PORT
    except ValueError:
        host, port = None, SENTINEL_PORT
    if not host:
        raise ValueError(SENTINEL_FORM)
    return host, port


def check_url(url: str) -> None:
    """Check a URL of any form. Raises: ValueError."""
    if urlsplit(url).scheme in SENTINEL_SCHEMES:
        sentinel_url(url)
    else:
        redis_url(url)
