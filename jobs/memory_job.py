"""One job as the in-memory store holds it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from jobs.schema import JobError, JobRecord, JobSpec, JobStatus
from jobs.store import Checkpoint, Event, FinishedImage
from jobs.webhook import Webhook, WebhookRecord, WebhookState


@dataclass(eq=False)
class MemoryJob:
    """A job's state; the fields are those of :class:`jobs.schema.JobRecord` and its Redis hash."""

    id: str
    spec: JobSpec
    units: float
    seq: int
    created_at: float
    queued_at: float
    expires_at: float | None
    due: float  # its deadline, or when it has waited as long as a job without one should
    traceparent: str | None = None
    status: JobStatus = JobStatus.QUEUED
    fresh: bool = True  # False once interrupted: it goes before its tenant's others
    served_as: int = 0  # the rank of the class that its claim was in the place of
    fence: str = ""
    units_done: float = 0.0
    step: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    claimed_at: float = 0.0
    lease_until: float = 0.0
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None
    error: JobError | None = None
    evaluations: int = 0
    evaluations_before: int = 0
    running_s: float = 0.0
    preview_step: int | None = None
    webhook: Webhook | None = None
    webhook_state: WebhookState | None = None
    webhook_attempts: int = 0
    webhook_token: str = ""  # of the door that tries
    webhook_next: float | None = None  # when another may
    webhook_due: float | None = None
    webhook_delivered_at: float | None = None
    webhook_error: str | None = None
    images: dict[int, FinishedImage] = field(default_factory=dict)
    results_dropped: bool = False
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    previews: deque[Event] = field(default_factory=deque)

    @property
    def remaining(self) -> float:
        """Units that it has before it."""
        return max(0.0, self.units - self.units_done)

    @property
    def order(self) -> tuple[bool, float, int]:
        """Its place among its tenant's: interrupted ones first, then by when they are due."""
        return self.fresh, self.due, self.seq

    @property
    def size_bytes(self) -> int:
        """Bytes of its pictures."""
        if self.results_dropped:
            return 0
        return sum(image.record.size_bytes for image in self.images.values())

    @property
    def memory_bytes(self) -> int:
        """Bytes of what it holds: pictures, checkpoints, previews and its prompts."""
        saved = sum(len(checkpoint.blob) for checkpoint in self.checkpoints.values())
        shown = sum(len(preview.data["data"]) for preview in self.previews)
        asked = len(self.spec.prompt) + len(self.spec.negative_prompt)
        return self.size_bytes + saved + shown + asked

    def record(self) -> JobRecord:
        """Return what callers see."""
        return JobRecord(
            id=self.id,
            status=self.status,
            spec=self.spec,
            units=self.units,
            units_done=self.units_done,
            step=self.step,
            total_steps=self.spec.num_inference_steps * self.spec.num_images,
            created_at=self.created_at,
            queued_at=self.queued_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            expires_at=self.expires_at,
            attempts=self.attempts,
            deaths=self.deaths,
            worker=self.worker,
            images=tuple(self.images[index].record for index in sorted(self.images)),
            error=self.error,
            evaluations=self.evaluations,
            running_s=self.running_s,
            preview_step=self.preview_step,
            webhook=self._webhook(),
            traceparent=self.traceparent,
        )

    def _webhook(self) -> WebhookRecord | None:
        if self.webhook is None or self.webhook_state is None:
            return None
        return WebhookRecord(
            webhook=self.webhook,
            state=self.webhook_state,
            attempts=self.webhook_attempts,
            due_at=self.webhook_due,
            delivered_at=self.webhook_delivered_at,
            error=self.webhook_error,
        )

    def emit(self, event_id: str, kind: Any, kept: int, data: dict[str, Any]) -> Event:
        """Append an event, drop the oldest that are too many, and return it."""
        event = Event(event_id, kind, self.attempts, data)
        self.events.append(event)
        if kind != "preview":
            others = [e for e in self.events if e.kind != "preview"]
            if len(others) > kept:
                self.events.remove(others[0])
        return event
