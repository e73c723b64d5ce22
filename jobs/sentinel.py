"""Redis behind sentinels: ``sentinel://user:password@host:26379,host2:26379/master/0``.

``sentinels://`` uses TLS to the servers and to the sentinels. User and password are for the
servers; the sentinels are queried without.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.sentinel import Sentinel as BlockingSentinel

SCHEMES = ("sentinel", "sentinels")
PORT = 26379
FORM = "the URL must be like sentinel://host:26379,host2:26379/master/0"
TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 3}


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed URL."""

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
    if parts.scheme not in SCHEMES:
        return None
    if parts.query or parts.fragment:
        raise ValueError(f"nothing may follow the database: {FORM}")
    login, _, places = parts.netloc.rpartition("@")
    master, _, db = parts.path.strip("/").partition("/")
    if not places or not master or not (db or "0").isdecimal():
        raise ValueError(FORM)
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
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host, port = None, PORT
    if not host:
        raise ValueError(f"{place!r} is not a sentinel's host and port")
    return host, port


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the current master; a burst of calls waits for a free one."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, including those to sentinels."""
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def master_pool(url: SentinelUrl, tls: dict[str, Any], **options: Any) -> MasterPool:
    """Return a pool for the asynchronous client."""
    kind: Any = Sentinel  # its annotations are incomplete, as the pool's are
    pool: Any = MasterPool
    sentinel = kind(url.hosts, sentinel_kwargs=TIMEOUTS | _switched(url, tls))
    made: MasterPool = pool(
        url.master, sentinel, db=url.db, **url.login, **_switched(url, tls), **options
    )
    return made


def blocking_master(url: SentinelUrl, tls: dict[str, Any], **options: Any) -> "BlockingRedis":
    """Return a client for threads."""
    kind: Any = BlockingSentinel
    sentinel = kind(url.hosts, sentinel_kwargs=TIMEOUTS | _switched(url, tls))
    client: BlockingRedis = sentinel.master_for(
        url.master, db=url.db, **url.login, **_switched(url, tls), **options
    )
    return client


def _switched(url: SentinelUrl, tls: dict[str, Any]) -> dict[str, Any]:
    return {"ssl": True} | tls if url.tls else {}
