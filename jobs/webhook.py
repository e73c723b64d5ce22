"""A webhook: whom to tell of a job's end, and what has come of it."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
EVERY_EVENT: tuple[WebhookEvent, ...] = (
    "job.succeeded", "job.failed", "job.canceled", "job.expired",
)  # fmt: skip


class Webhook(BaseModel):
    """An address that is told of the job's end, signed as Standard Webhooks describes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str = Field(
        min_length=1, max_length=2048, description="An https address in public networks.",
        examples=["https://shop.example/hooks/pictures"],
    )  # fmt: skip
    events: tuple[WebhookEvent, ...] = Field(
        EVERY_EVENT, strict=False, min_length=1, max_length=4, description="Ends to be told of."
    )


class WebhookState(StrEnum):
    """Where a job's delivery is."""

    WAITING = "waiting"  # the job has not ended
    PENDING = "pending"  # to be delivered, or tried again
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # given up
    UNWANTED = "unwanted"  # the job ended in a way that was not asked for


class WebhookRecord(BaseModel):
    """A job's webhook as the store holds it. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    webhook: Webhook
    state: WebhookState = WebhookState.WAITING
    attempts: int = Field(0, ge=0)
    due_at: float | None = Field(None, ge=0, le=253402300799)  # of the next attempt
    delivered_at: float | None = Field(None, ge=0, le=253402300799)
    error: str | None = None  # why the last attempt did not succeed
