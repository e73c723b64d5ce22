"""Connections to public addresses only: a name is resolved once, and what was checked is what is
connected to.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from service.webhooks.public_address import Network, RefusedAddress, check_address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
NAMES_AT_ONCE = 64  # a lookup that hangs holds its thread longer than its delivery waits
MOST_TRIED = 3  # of a name's addresses


class SystemResolver:
    """Asks the system, on threads of its own: a slow name server must not hold up Redis' name."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(
            max_workers=NAMES_AT_ONCE, thread_name_prefix="webhook-names"
        )

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return a name's addresses in the system's order. Raises: OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._ask, host, port)
        return list(dict.fromkeys(found))

    @staticmethod
    def _ask(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """Let go of the threads; one that still waits for an answer ends with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, which speaks TLS with the URL's own name over them."""

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
            RefusedAddress: one of them is not public; a name with such an address is not called.
            httpcore.ConnectError: there is none, or none answers.
        """
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error
        for address in addresses:
            check_address(address, self._allowed)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:MOST_TRIED]:
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
