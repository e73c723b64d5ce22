"""Settings that door and workers share, read once from ``SFUMATO_*`` environment variables."""

import os
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, FilePath, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.errors import StartError
from jobs.redis_url import check_url
from jobs.schema import Durable

S = TypeVar("S", bound=BaseSettings)
T = TypeVar("T")


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(word.strip() for word in value.split(",") if word.strip())


CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
"""A setting of several values."""


def read_environment(kind: type[S], **given: Any) -> S:
    """Return the settings from the environment; ``given`` ones take precedence.

    Raises:
        StartError: some variables have bad values; the message names them.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'_'.join(map(str, each['loc'])).upper()}: "
            + each["msg"].removeprefix("Value error, ")
            for each in error.errors()
        ]
        raise StartError("bad settings: " + "; ".join(lines)) from error


class JobsSettings(BaseSettings):
    """The store's settings; the same for every process on one Redis."""

    model_config = SettingsConfigDict(
        env_prefix="SFUMATO_", frozen=True, extra="ignore", allow_inf_nan=False
    )

    # Redis URL: redis://, rediss://, unix:///path?db=0 or sentinel(s)://host,host2/master/0
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_ca_file: FilePath | None = None  # CA certificates (PEM); default: the system's
    redis_cert_file: FilePath | None = None  # client certificate (PEM), if Redis requires one
    redis_key_file: FilePath | None = None  # its private key (PEM)
    # with any `maxmemory-policy` but `noeviction`, Redis deletes jobs when it is full;
    # "refuse": do not start, and accept no job meanwhile; "warn": only log it
    redis_eviction: Literal["refuse", "warn"] = "refuse"
    # prefix of every key and queue; each service on one Redis needs its own
    key_prefix: str = Field("sfumato", pattern=r"^[A-Za-z0-9_.:{}-]{1,64}$")
    # "strict": acknowledge a job only once it would survive the loss of the Redis host
    durable: Durable = "relaxed"
    # replicas that must confirm a "strict" job; 0: Redis' own disk
    durable_replicas: int = Field(0, ge=0, le=16)
    durable_timeout_s: float = Field(5.0, gt=0, le=9)  # time to confirm; then the door responds 503
    lease_s: float = Field(6.0, gt=0.1, le=600)  # silence after which a worker loses its jobs
    # limit on queued and running work per model
    max_backlog_units: float = Field(5_000_000.0, gt=0)
    # workers that autoscaling may start per model; 0: only those that run
    max_workers: int = Field(0, ge=0, le=100_000)
    tenant_weight: float = Field(1.0, gt=0, le=1e6)  # default weight of a tenant
    # default quota of outstanding units per tenant; 0: unlimited
    tenant_max_units: float = Field(0.0, ge=0)
    # how much of the backlog that others leave free one tenant without a quota of its own may fill
    tenant_backlog_share: float = Field(0.5, gt=0, le=1)
    # share of units that a waiting lower class accrues
    class_share: float = Field(0.05, gt=0, le=0.3)
    # how long a higher class waits before it preempts a lower one
    park_after_s: float = Field(0.25, ge=0)
    patience_s: float = Field(3600.0, gt=0)  # when a job without a deadline counts as due
    max_deaths: int = Field(3, ge=1)  # process deaths without a new checkpoint until a job fails
    suspect_deaths: int = Field(2, ge=1)  # process deaths until a job runs alone on a worker
    # how long such a job waits before a worker drains for it
    suspect_wait_s: float = Field(30.0, ge=0)
    # lifetime of an image, and of an ended job's newest preview
    result_ttl_s: float = Field(24 * 3600.0, gt=0)
    record_ttl_s: float = Field(7 * 24 * 3600.0, gt=0)  # lifetime of a job's record after its end
    idempotency_ttl_s: float = Field(24 * 3600.0, gt=0)  # lifetime of an idempotency key
    # limit on finished images and the newest previews of ended jobs; the oldest are deleted first
    max_results_bytes: int = Field(512 * 1024 * 1024, gt=0)
    # limit on ended jobs' records and events; the oldest are deleted first
    max_records_bytes: int = Field(512 * 1024 * 1024, gt=0)
    # memory of Redis above which no job is accepted; at most nine tenths of its `maxmemory`
    memory_high_water_bytes: int = Field(2 * 1024**3, gt=0)
    events_kept: int = Field(256, ge=8)  # progress and status events kept per job
    previews_kept: int = Field(8, ge=1)  # newest previews kept per running job; others keep one
    # collector's base URL; default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else off
    otlp_endpoint: str | None = Field(
        default_factory=lambda: os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
        pattern=r"^(https?://.*)?$",
    )
    trace_ratio: float = Field(1.0, ge=0, le=1)  # fraction of traces recorded

    @field_validator("redis_url")
    @classmethod
    def _readable_by_all(cls, url: str) -> str:
        check_url(url)
        return url

    @property
    def beat_s(self) -> float:
        """Seconds between renewals, and twice those between sweeps; several fit into a lease.

        If sweeps were more than half a lease apart, each gap would pass for an outage of the store.
        """
        return min(1.0, self.lease_s / 6)
