"""One POST to a webhook, bounded in time and size; redirects are not followed."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore
import structlog

from jobs.errors import InvalidRequest
from service.settings import ServiceSettings
from service.webhooks.guarded_network import GuardedNetwork, Resolve, SystemResolver
from service.webhooks.public_address import RefusedAddress
from service.webhooks.url import check_url

log = structlog.get_logger()

GONE = 410


@dataclass(frozen=True)
class Answer:
    """The outcome of a call; ``note`` says what went wrong."""

    delivered: bool
    final: bool = False  # a retry would not help
    timed_out: bool = False
    note: str = ""


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
            return Answer(delivered=False, final=True, note=str(error))
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
            return Answer(delivered=False, timed_out=True, note="it did not respond in time")
        except RefusedAddress as error:
            log.warning("webhook refused", host=url.host, reason=str(error))
            return Answer(delivered=False, note="its name resolves to a non-public address")
        except (httpcore.NetworkError, httpcore.TimeoutException, ssl.SSLError) as error:
            return Answer(delivered=False, note=f"cannot connect: {error or type(error).__name__}")
        except httpcore.ProtocolError:
            return Answer(delivered=False, note="its response is not HTTP")

    async def close(self) -> None:
        """Release connections and threads."""
        await self._pool.aclose()
        self._names.close()


def _read(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(delivered=True)
    return Answer(delivered=False, final=status == GONE, note=f"HTTP {status}")
