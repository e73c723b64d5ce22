"""What the door reads from its ``SFUMATO_*`` environment variables, once, at start."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from jobs.logs import LogFormat
from jobs.settings import JobsSettings


class ServiceSettings(JobsSettings):
    """One door's settings, beside those that all processes share."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    default_model: str | None = Field(None, max_length=64)  # None: the first that is announced
    auth: Literal["off", "keys"] = "off"  # "keys": every request needs an API key
    max_body_bytes: int = Field(1024 * 1024, ge=1024)
    max_wait_s: float = Field(60.0, gt=0, le=3600)  # the longest "Prefer: wait" that is honoured
    keep_alive_s: float = Field(15.0, gt=0, le=300)  # between two comments on a silent stream
    disconnect_grace_s: float = Field(2.0, gt=0)  # to come back before "on_disconnect" cancels
    sweep_s: float = Field(1.0, gt=0)  # between two sweeps for dead leases and deadlines
    door_replicas: int = Field(1, ge=1, le=256)  # of the Ray Serve deployment
    door_metrics_host: str = "127.0.0.1"
    door_metrics_port: int = Field(0, ge=0, le=65535)  # this replica's own counters; 0: none
    log_format: LogFormat = "auto"
    log_level: str = "INFO"
