"""Delivers webhooks: leases them from the outbox, signs, posts and retries.

Messages are signed as https://www.standardwebhooks.com specifies. Any door delivers; a job's
message keeps its ``webhook-id`` when it is sent again, so that receivers can drop duplicates.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import structlog
from standardwebhooks.webhooks import Webhook as Signature

from jobs.cancelling import end
from jobs.errors import JobNotFound, TransientStoreError
from jobs.outbox import Delivery, DeliveryTerms
from jobs.schema import JobRecord
from jobs.store import JobStore
from service.metrics.replica import DoorCounters
from service.resources.links import Links
from service.resources.representations import job_view
from service.settings import ServiceSettings
from service.webhooks.circuits import WebhookCircuits
from service.webhooks.client import Answer, WebhookClient
from service.webhooks.secrets import WebhookSecrets

log = structlog.get_logger()

LONGEST_PAUSE_S = 6 * 3600.0
LEASE_MARGIN_S = 20.0  # beyond the timeout of a call
OUTAGE_PAUSE_S = 5.0  # between attempts while the store does not answer


class Deliverer:
    """Delivers webhooks for one door."""

    def __init__(
        self,
        settings: ServiceSettings,
        store: JobStore,
        secrets: WebhookSecrets,
        links: Links,
        counters: DoorCounters,
        client: WebhookClient,
    ) -> None:
        self._settings = settings
        self._store = store
        self._secrets = secrets
        self._links = links
        self._counters = counters
        self._client = client
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._terms = DeliveryTerms(
            lease_s=settings.webhook_timeout_s + LEASE_MARGIN_S,
            max_attempts=settings.webhook_max_attempts,
            limit_of_tenant=max(1, settings.webhooks_at_once // 4),
            limit_of_receiver=max(1, settings.webhooks_at_once // 2),
            limit_of_probes=max(1, settings.webhooks_at_once // 4),
        )
        self._circuits = WebhookCircuits(rest_s=3 * settings.webhook_timeout_s)

    async def run(self) -> None:
        """Deliver forever; on cancellation, deliveries under way are left to another door."""
        try:
            while True:
                try:
                    found = await self._start()
                except TransientStoreError as error:
                    log.warning("no deliveries", reason=str(error))
                    await asyncio.sleep(OUTAGE_PAUSE_S)
                    continue
                except Exception:  # one failure must not end all deliveries
                    log.exception("no deliveries")
                    await asyncio.sleep(OUTAGE_PAUSE_S)
                    continue
                if found == 0 or len(self._under_way) >= self._settings.webhooks_at_once:
                    await self._pause()
        finally:
            await end(*self._under_way)

    async def _pause(self) -> None:
        """Wait for a delivery to end if no more may start, else for the poll interval."""
        if len(self._under_way) < self._settings.webhooks_at_once:
            await asyncio.sleep(self._settings.webhook_poll_s)
        else:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _start(self) -> int:
        free = self._settings.webhooks_at_once - len(self._under_way)
        taken = await self._store.outbox.take(
            free, self._terms, self._under_way.values(), self._circuits.resting()
        )
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[task] = delivery
            task.add_done_callback(self._under_way.pop)
        return len(taken)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            record = await self._store.get(delivery.job_id)
            secrets = await self._secrets.of(delivery.tenant)
            answer = await self._send(record, secrets)
            self._circuits.report(delivery.line, timed_out=answer.timed_out)
            await self._settle(delivery, answer)
        except JobNotFound:
            return  # deleted in the meantime, with its entry
        except TransientStoreError as error:
            # Its lease expires, and it is delivered again with the same id.
            log.warning("delivery not settled", job_id=delivery.job_id, reason=str(error))
        except Exception:  # one delivery must not affect the others
            log.exception("delivery failed", job_id=delivery.job_id)

    async def _send(self, record: JobRecord, secrets: Sequence[str]) -> Answer:
        assert record.webhook is not None
        now = datetime.now(UTC)
        body = message(record, self._links)
        return await self._client.post(
            record.webhook.webhook.url, signed_headers(record.id, body, secrets, now), body
        )

    async def _settle(self, delivery: Delivery, answer: Answer) -> None:
        outbox = self._store.outbox
        if answer.delivered:
            outcome = "delivered"
            await outbox.settle(delivery, "delivered")
        elif answer.final or delivery.attempt >= self._settings.webhook_max_attempts:
            outcome = "failed"
            await outbox.settle(delivery, "failed", note=answer.note)
        else:
            outcome = "retried"
            pause = pause_s(delivery.attempt, self._settings.webhook_retry_s)
            await outbox.settle(delivery, "retried", note=answer.note, delay_s=pause)
        self._counters.webhooks.labels(outcome).inc()
        emit = log.info if answer.delivered else log.warning
        emit(
            "webhook " + outcome,
            job_id=delivery.job_id,
            tenant=delivery.tenant,
            attempt=delivery.attempt,
            reason=answer.reason or None,
        )


def message(record: JobRecord, links: Links) -> bytes:
    """Return a message's body: the type of the event, its time, and the job."""
    finished = datetime.fromtimestamp(record.finished_at or 0.0, UTC)
    return orjson.dumps(
        {
            "type": f"job.{record.status.value}",
            "timestamp": finished.isoformat().replace("+00:00", "Z"),
            "data": job_view(record, links).model_dump(mode="json"),
        }
    )


def signed_headers(
    job_id: str, body: bytes, secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """Return the headers of a message, signed with each of the secrets."""
    message_id = f"msg_{job_id}"
    signatures = (Signature(secret).sign(message_id, now, body.decode()) for secret in secrets)
    return {
        "content-type": "application/json",
        "user-agent": "Sfumato-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def pause_s(attempt: int, first_s: float) -> float:
    """Return the pause after an attempt, counted from 1: it quadruples, less up to half at random.

    The jitter keeps deliveries that failed together from being retried together.
    """
    longest = min(LONGEST_PAUSE_S, first_s * 4.0 ** min(attempt - 1, 20))
    return longest * random.uniform(0.5, 1.0)  # nosec B311 # spreads load, hides nothing
