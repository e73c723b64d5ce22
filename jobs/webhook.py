"""A webhook: where to report a job's end, and the state of the delivery."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.validation.bounds import BoundedRequest, at_most

WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVERY_EVENT: tuple[WebhookEvent, ...] = (
    "job.succeeded", "job.failed", "job.canceled", "job.expired",
)  # fmt: skip


class Webhook(BoundedRequest):
    """A URL that is called when the job ends, signed as Standard Webhooks specifies."""

    url: str = Field(
        min_length=1, max_length=2048, description="An https URL on a public address.",
        examples=["https://shop.example/hooks/pictures"],
    )  # fmt: skip
    events: Annotated[tuple[WebhookEvent, ...], at_most(len(EVERY_EVENT))] = Field(
        EVERY_EVENT,
        strict=False,
        min_length=1,
        max_length=4,
        description="Outcomes to report.",
    )


class WebhookState(StrEnum):
    """Where a job's delivery is."""

    WAITING = "waiting"  # the job has not ended
    PENDING = "pending"  # to be delivered or retried
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # given up
    UNWANTED = "unwanted"  # the job's outcome is not in ``events``


class WebhookRecord(BaseModel):
    """A job's webhook as the store holds it. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    webhook: Webhook
    state: WebhookState = WebhookState.WAITING
    attempts: int = Field(0, ge=0)
    due_at: float | None = Field(None, ge=0, le=253402300799)  # of the next attempt
    delivered_at: float | None = Field(None, ge=0, le=253402300799)
    error: str | None = None  # why the last attempt failed
