"""Redis behind sentinels: ``sentinel://user:password@host:26379,host2:26379/master/0``.

``sentinels://`` speaks TLS with the servers and with the sentinels. User and password are the
servers'; the sentinels are asked without.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.sentinel import Sentinel as BlockingSentinel

SCHEMES = ("sentinel", "sentinels")
PORT = 26379
TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 3}


@dataclass(frozen=True)
class SentinelUrl:
    """What such a URL says."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    tls: bool
    login: dict[str, str]

    def broker(self) -> str:
        """Return the URL in Celery's form: one a sentinel, the login in each."""
        user, password = self.login.get("username", ""), self.login.get("password", "")
        login = f"{user}:{password}@" if self.login else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{self.db}" for host, port in self.hosts)


def sentinel_url(url: str) -> SentinelUrl | None:
    """Return what the URL says, None where it is not of this kind.

    Raises:
        ValueError: it is, and says no sentinel or no master.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        return None
    login, _, places = parts.netloc.rpartition("@")
    master, _, db = parts.path.strip("/").partition("/")
    if not places or not master or not (db or "0").isdecimal():
        raise ValueError("it has to be sentinel://host:26379,host2:26379/master/0")
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
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError(f"{place!r} is no sentinel's host and port")
    return parts.hostname, parts.port or PORT


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to whichever server is the master; a burst waits for one."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, those to sentinels among them."""
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def master_pool(said: SentinelUrl, tls: dict[str, Any], **options: Any) -> MasterPool:
    """Return a pool for the asynchronous client."""
    kind: Any = Sentinel  # its annotations are incomplete, as the pool's are
    pool: Any = MasterPool
    sentinel = kind(said.hosts, sentinel_kwargs=TIMEOUTS | _switched(said, tls))
    made: MasterPool = pool(
        said.master, sentinel, db=said.db, **said.login, **_switched(said, tls), **options
    )
    return made


def blocking_master(said: SentinelUrl, tls: dict[str, Any], **options: Any) -> "BlockingRedis":
    """Return a client for threads."""
    kind: Any = BlockingSentinel
    sentinel = kind(said.hosts, sentinel_kwargs=TIMEOUTS | _switched(said, tls))
    client: BlockingRedis = sentinel.master_for(
        said.master, db=said.db, **said.login, **_switched(said, tls), **options
    )
    return client


def _switched(said: SentinelUrl, tls: dict[str, Any]) -> dict[str, Any]:
    return {"ssl": True} | tls if said.tls else {}
