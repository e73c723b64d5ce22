"""Reading a job's Redis hash back into a record."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from jobs.errors import NewerSchema, UnreadableRecord
from jobs.schema import (
    SCHEMA_VERSION,
    ImageRecord,
    JobError,
    JobRecord,
    JobSpec,
    JobStatus,
    JobWarning,
)
from jobs.webhook import Webhook, WebhookRecord, WebhookState

JobHash = Mapping[bytes, bytes]
T = TypeVar("T")
_REQUIRED: Any = object()
LAST_VERSION = 10**6  # a greater version counts as damage, as it does in the scripts


class _Fields:
    """A job's fields, parsed one by one so that an error names the damaged one."""

    def __init__(self, job_id: str, job: JobHash) -> None:
        self._job_id = job_id
        self._job = job

    def get(self, field: str, parse: Callable[[bytes], T], default: T = _REQUIRED) -> T:
        """Return a parsed field, or the default if the job lacks it.

        Raises:
            UnreadableRecord: the field is damaged, or missing and required.
        """
        value = self._job.get(field.encode())
        if value is None and default is not _REQUIRED:
            return default
        try:
            return parse(value)  # type: ignore[arg-type]  # None: required and missing
        except (TypeError, ValueError, AttributeError) as error:
            raise UnreadableRecord(self._job_id, field) from error

    def images(self) -> tuple[ImageRecord, ...]:
        """Return the finished images, by index."""
        images = self._each("image:", ImageRecord.model_validate_json)
        return tuple(sorted(images, key=lambda image: image.index))

    def warnings(self) -> tuple[JobWarning, ...]:
        """Return the warnings, by code."""
        warnings = self._each("warning:", JobWarning.model_validate_json)
        return tuple(sorted(warnings, key=lambda warning: warning.code))

    def _each(self, prefix: str, parse: Callable[[bytes], T]) -> list[T]:
        names = (name.decode("ascii", "replace") for name in self._job)
        return [self.get(name, parse) for name in names if name.startswith(prefix)]


def warning_fields(warnings: Iterable[JobWarning]) -> dict[str, str]:
    """Return warnings as fields of a job's hash, one a code."""
    return {f"warning:{warning.code}": warning.model_dump_json() for warning in warnings}


def _text(value: bytes) -> str:
    return value.decode()


def _version(value: bytes) -> int:
    version = int(value)
    if version > LAST_VERSION:
        raise ValueError(f"no schema has version {version}")
    return version


def _optional(parse: Callable[[bytes], T]) -> Callable[[bytes], T | None]:
    return parse


def decode(job_id: str, job: JobHash) -> JobRecord:
    """Return the record of a job's hash.

    Raises:
        NewerSchema: its schema version is newer than ours.
        UnreadableRecord: a field is damaged.
    """
    fields = _Fields(job_id, job)
    version = fields.get("schema_version", _version)
    if version > SCHEMA_VERSION:
        raise NewerSchema(job_id, version, SCHEMA_VERSION)
    seconds, text = _optional(float), _optional(_text)
    values = {
        "schema_version": version,
        "id": fields.get("id", _text),
        "status": fields.get("status", lambda value: JobStatus(value.decode())),
        "spec": fields.get("spec", JobSpec.model_validate_json),
        "units": fields.get("units", float),
        "units_done": fields.get("units_done", float, 0.0),
        "step": fields.get("step", int, 0),
        "total_steps": fields.get("total_steps", int),
        "created_at": fields.get("created_at", float),
        "queued_at": fields.get("queued_at", float),
        "started_at": fields.get("started_at", seconds, None),
        "finished_at": fields.get("finished_at", seconds, None),
        "expires_at": fields.get("expires_at", seconds, None),
        "attempts": fields.get("attempts", int, 0),
        "deaths": fields.get("deaths", int, 0),
        "worker": fields.get("worker", text, None),
        "results_dropped": b"results_dropped" in job,
        "images": fields.images(),
        "warnings": fields.warnings(),
        "error": fields.get("error", _optional(JobError.model_validate_json), None),
        "evaluations": fields.get("evaluations", int, 0),
        "finished_early": fields.get("finished_early", _optional(int), None),
        "running_s": fields.get("running_s", float, 0.0),
        "preview_step": fields.get("preview_step", _optional(int), None),
        "traceparent": fields.get("traceparent", text, None),
    }
    try:
        record = JobRecord(**values, webhook=_webhook(fields))
    except ValidationError as error:
        raise UnreadableRecord(job_id, ".".join(map(str, error.errors()[0]["loc"]))) from error
    if record.id != job_id:
        raise UnreadableRecord(job_id, "id")
    return record


def _webhook(fields: _Fields) -> WebhookRecord | None:
    webhook = fields.get("webhook", _optional(Webhook.model_validate_json), None)
    if webhook is None:
        return None
    seconds = _optional(float)
    return WebhookRecord(
        webhook=webhook,
        state=fields.get("webhook_state", lambda value: WebhookState(value.decode())),
        attempts=fields.get("webhook_attempts", int, 0),
        due_at=fields.get("webhook_due", seconds, None),
        delivered_at=fields.get("webhook_delivered_at", seconds, None),
        error=fields.get("webhook_error", _optional(_text), None),
    )
