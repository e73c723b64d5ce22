"""What door and workers must agree on, read once from ``SFUMATO_*`` environment variables."""

import os
from typing import Any, TypeVar

from pydantic import Field, FilePath, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import StartError
from jobs.schema import Durable
from jobs.sentinel import sentinel_url

S = TypeVar("S", bound=BaseSettings)


def read_environment(kind: type[S], **given: Any) -> S:
    """Return the settings that the environment gives; those given here go before it.

    Raises:
        StartError: a variable has a bad value; the message names each.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        ]
        raise StartError("bad settings: " + "; ".join(lines)) from error


class JobsSettings(BaseSettings):
    """The store's settings; the same for every process on one Redis."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"  # rediss://, sentinel(s)://h,h2/master/0
    redis_ca_file: FilePath | None = None  # PEM; None: the system's authorities
    redis_cert_file: FilePath | None = None  # PEM; this process' own, where Redis asks for one
    redis_key_file: FilePath | None = None  # PEM; the key of that certificate
    # Before every key and queue; services on one Redis need their own.
    key_prefix: str = Field("sfumato", pattern=r"^[A-Za-z0-9_.:{}-]{1,64}$")
    # "strict": a job is acknowledged once it would survive the loss of Redis' machine
    durable: Durable = "relaxed"
    # replicas that have to have such a job; 0: Redis' own disk has to
    durable_replicas: int = Field(0, ge=0, le=16)
    # for the proof that "strict" asks for; without it the door answers 503
    durable_timeout_s: float = Field(5.0, gt=0, le=9)
    lease_s: float = Field(6.0, gt=0.1, le=600)  # silence after which a worker loses its jobs
    max_backlog_units: float = Field(5_000_000.0, gt=0)  # per model, queued and running
    # Workers that a model may have where they are started with the work; 0: those that run.
    max_workers: int = Field(0, ge=0, le=100_000)
    tenant_weight: float = Field(1.0, gt=0, le=1e6)  # of tenants that have no terms of their own
    tenant_max_units: float = Field(0.0, ge=0)  # outstanding units of such a tenant; 0: no bound
    class_share: float = Field(0.05, gt=0, le=0.3)  # of units, to a class that higher ones pass by
    park_after_s: float = Field(0.25, ge=0)  # a higher job waits so long before a lower is parked
    patience_s: float = Field(3600.0, gt=0)  # a job without a deadline is due after it, in order
    max_deaths: int = Field(3, ge=1)  # process deaths without a new checkpoint until a job fails
    suspect_deaths: int = Field(2, ge=1)  # from here a job runs alone
    suspect_wait_s: float = Field(30.0, ge=0)  # after it a worker makes itself idle for such a job
    result_ttl_s: float = Field(24 * 3600.0, gt=0)  # that a picture is kept
    record_ttl_s: float = Field(7 * 24 * 3600.0, gt=0)  # that a job's record is kept after its end
    idempotency_ttl_s: float = Field(24 * 3600.0, gt=0)  # that an idempotency key is remembered
    # Of finished pictures; the oldest go first.
    max_results_bytes: int = Field(512 * 1024 * 1024, gt=0)
    memory_high_water_bytes: int = Field(2 * 1024**3, gt=0)  # admission closes above it
    events_kept: int = Field(256, ge=8)  # progress and status events kept per job
    previews_kept: int = Field(8, ge=1)  # newest previews kept per job
    otlp_endpoint: str | None = Field(  # a collector's base URL: http://collector:4318; None: off
        default_factory=lambda: os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
        pattern=r"^(https?://.*)?$",
    )
    trace_ratio: float = Field(1.0, ge=0, le=1)  # of all traces are recorded

    @field_validator("redis_url")
    @classmethod
    def _sentinels_named(cls, url: str) -> str:
        sentinel_url(url)
        return url

    @property
    def beat_s(self) -> float:
        """Seconds between two sweeps and two renewals: several fit into a lease.

        Sweeps further apart than half a lease would take every gap for an outage of the store.
        """
        return min(1.0, self.lease_s / 6)
