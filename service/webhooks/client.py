"""One POST to a webhook, bounded in time and size; redirects are not followed."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from jobs.errors import InvalidRequest
from service.settings import ServiceSettings
from service.webhooks.guarded_network import GuardedNetwork, Resolve, SystemResolver
from service.webhooks.public_address import RefusedAddress
from service.webhooks.url import check_url

GONE = 410


NO_RESPONSE = "no HTTP response: it could not be reached, or did not respond in time"
"""All that a tenant learns. Whether a name exists, leads to a private address, has a port open or
shows which certificate would let any client map the network that the door is in."""


@dataclass(frozen=True)
class Answer:
    """The outcome of a call: ``note`` says to the tenant what went wrong, ``reason`` to the log."""

    delivered: bool
    final: bool = False  # a retry would not help
    timed_out: bool = False
    note: str = ""
    reason: str = ""


class WebhookClient:
    """Calls webhooks. Connections are not reused, so each call's address has been checked."""

    def __init__(self, settings: ServiceSettings, resolver: Resolve | None = None) -> None:
        self._settings = settings
        self._names = SystemResolver()
        context = ssl.create_default_context(cafile=settings.webhook_ca_file)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=settings.webhooks_at_once,
            max_keepalive_connections=0,
            network_backend=GuardedNetwork(settings.webhook_networks, resolver or self._names),
        )

    async def post(self, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post once; only the head of the response is read."""
        try:
            url = check_url(address, self._settings)  # the settings may have changed since
        except InvalidRequest as error:
            return _unanswered(str(error), final=True)
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        try:
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                call = self._pool.stream(
                    "POST", target, headers=list(headers.items()), content=body
                )
                async with call as response:
                    return _read(response.status)
        except TimeoutError:
            return _unanswered("it did not respond in time", timed_out=True)
        except RefusedAddress as error:
            return _unanswered(f"its name resolves to a refused address: {error}")
        except (httpcore.NetworkError, httpcore.TimeoutException, ssl.SSLError) as error:
            return _unanswered(f"cannot connect: {error or type(error).__name__}")
        except httpcore.ProtocolError:
            return _unanswered("its response is not HTTP")

    async def close(self) -> None:
        """Release connections and threads."""
        await self._pool.aclose()
        self._names.close()


def _unanswered(reason: str, *, final: bool = False, timed_out: bool = False) -> Answer:
    return Answer(False, final, timed_out, NO_RESPONSE, reason)


def _read(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(delivered=True)
    note = f"HTTP {status}"
    return Answer(delivered=False, final=status == GONE, note=note, reason=note)
