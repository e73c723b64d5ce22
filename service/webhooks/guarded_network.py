"""Connections to public addresses only: names are resolved once, checked, then connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from service.webhooks.public_address import Network, RefusedAddress, check_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
MAX_LOOKUPS = 64  # at once; a lookup that hangs holds its thread beyond its delivery's timeout
MAX_ADDRESSES = 3  # of a name that are tried


class SystemResolver:
    """The system's resolver, on its own threads so that slow lookups do not delay that of Redis."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(
            max_workers=MAX_LOOKUPS, thread_name_prefix="webhook-names"
        )

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return a name's addresses in the system's order. Raises: OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._resolve, host, port)
        return list(dict.fromkeys(found))

    @staticmethod
    def _resolve(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """Shut down the threads without waiting for lookups in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, which does TLS over them with the URL's own name."""

    def __init__(self, allowed: Sequence[Network], resolver: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of a name's addresses.

        Raises:
            RefusedAddress: one of them is not public; then none is called.
            httpcore.ConnectError: the name has no address, or none accepts a connection.
        """
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error
        for address in addresses:
            check_address(address, self._allowed)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse. Raises: RefusedAddress."""
        raise RefusedAddress("Unix sockets are not called")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
