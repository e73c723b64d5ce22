"""Reading a job's Redis hash back into a record."""

from collections.abc import Mapping

import orjson

from jobs.errors import NewerSchema
from jobs.schema import SCHEMA_VERSION, ImageRecord, JobError, JobRecord, JobSpec, JobStatus
from jobs.webhook import Webhook, WebhookRecord, WebhookState

JobHash = Mapping[bytes, bytes]


def readable(job: JobHash) -> bool:
    """Whether we know the schema of a job's hash; a newer version's job is left alone."""
    return int(job[b"schema_version"]) <= SCHEMA_VERSION


def decode(job: JobHash) -> JobRecord:
    """Return the record of a job's hash.

    Raises:
        NewerSchema: its schema version is newer than ours.
    """
    version = int(job[b"schema_version"])
    if not readable(job):
        raise NewerSchema(job[b"id"].decode(), version, SCHEMA_VERSION)
    images = sorted(
        (orjson.loads(value) for field, value in job.items() if field.startswith(b"image:")),
        key=lambda image: int(image["index"]),
    )
    return JobRecord(
        schema_version=version,
        id=job[b"id"].decode(),
        status=JobStatus(job[b"status"].decode()),
        spec=JobSpec.model_validate_json(job[b"spec"]),
        units=float(job[b"units"]),
        units_done=float(job.get(b"units_done", 0)),
        step=int(job.get(b"step", 0)),
        total_steps=int(job[b"total_steps"]),
        created_at=float(job[b"created_at"]),
        queued_at=float(job[b"queued_at"]),
        started_at=_seconds(job, b"started_at"),
        finished_at=_seconds(job, b"finished_at"),
        expires_at=_seconds(job, b"expires_at"),
        attempts=int(job.get(b"attempts", 0)),
        deaths=int(job.get(b"deaths", 0)),
        worker=job[b"worker"].decode() if b"worker" in job else None,
        images=tuple(ImageRecord.model_validate(image) for image in images),
        error=JobError.model_validate_json(job[b"error"]) if b"error" in job else None,
        evaluations=int(job.get(b"evaluations", 0)),
        running_s=float(job.get(b"running_s", 0)),
        preview_step=int(job[b"preview_step"]) if b"preview_step" in job else None,
        webhook=_webhook(job),
        traceparent=job[b"traceparent"].decode() if b"traceparent" in job else None,
    )


def _webhook(job: JobHash) -> WebhookRecord | None:
    if b"webhook" not in job:
        return None
    return WebhookRecord(
        webhook=Webhook.model_validate_json(job[b"webhook"]),
        state=WebhookState(job[b"webhook_state"].decode()),
        attempts=int(job.get(b"webhook_attempts", 0)),
        due_at=_seconds(job, b"webhook_due"),
        delivered_at=_seconds(job, b"webhook_delivered_at"),
        error=job[b"webhook_error"].decode() if b"webhook_error" in job else None,
    )


def _seconds(job: JobHash, field: bytes) -> float | None:
    return float(job[field]) if field in job else None
