"""The settings of the autoscaled workers' Ray Serve application, from ``SFUMATO_*`` variables."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from jobs.errors import StartError
from jobs.host.models import INCLUDED, is_name
from jobs.settings import JobsSettings, read_environment
from jobs.telemetry.logs import LogFormat, LogLevel


class RayWorkerSettings(JobsSettings):
    """The workers of one model that Ray may run, and their resources."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    model: Path | None = None  # `SFUMATO_MODEL` of the workers; default: the emoji model
    # `SFUMATO_MODEL_NAME` of the workers; required with a path
    model_name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    metrics_host: str = "127.0.0.1"  # address of each worker's metrics
    # port of a machine's first worker; 0: any free one
    metrics_port: int = Field(0, ge=0, le=65535)
    log_format: LogFormat = "auto"  # "auto": readable in a terminal, JSON elsewhere
    log_level: LogLevel = "INFO"  # least severity that is logged
    ray_min_workers: int = Field(0, ge=0)  # minimum number of workers
    ray_max_workers: int = Field(1, ge=1)  # maximum number of workers
    ray_target_s: float = Field(15.0, gt=0)  # time in which the workers should finish all work
    # how long more work lasts before workers start; from zero they start at once
    ray_upscale_delay_s: float = Field(2.0, ge=0)
    # how long less work lasts before workers stop; at least a cold start
    ray_downscale_delay_s: float = Field(60.0, ge=0)
    ray_idle_s: float = Field(300.0, ge=0)  # idle time before the last worker stops
    # Ray's GPUs per worker; 0.5: two workers per GPU; 0 hides the GPUs
    ray_num_gpus: float = Field(0.0, ge=0)
    ray_num_cpus: float = Field(1.0, ge=0)  # Ray's CPUs per worker
    ray_drain_s: float = Field(20.0, gt=0)  # time for a worker to drain
    ray_start_limit_s: float = Field(600.0, gt=0)  # time for a worker to load its model

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ray_max_workers < self.ray_min_workers:
            raise ValueError("SFUMATO_RAY_MAX_WORKERS is less than SFUMATO_RAY_MIN_WORKERS")
        if self.model is not None and self.model_name is None and not is_name(str(self.model)):
            raise ValueError("SFUMATO_MODEL needs SFUMATO_MODEL_NAME beside it: what to scale by")
        return self

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""
        return self.model_name or str(self.model or INCLUDED)

    @property
    def worker_env(self) -> dict[str, str]:
        """The variables that each worker gets in addition to those of its machine."""
        given = {} if self.model is None else {"SFUMATO_MODEL": str(self.model)}
        return given | {"SFUMATO_MODEL_NAME": self.name}


ARGUMENTS = frozenset(RayWorkerSettings.model_fields) - frozenset(JobsSettings.model_fields)


def worker_settings(arguments: dict[str, Any]) -> RayWorkerSettings:
    """Return the settings; arguments take precedence over the environment.

    Raises:
        StartError: an argument is unknown, or a value is bad.
    """
    unknown = arguments.keys() - ARGUMENTS
    if unknown:
        known = ", ".join(sorted(ARGUMENTS))
        raise StartError(f"unknown arguments {', '.join(sorted(unknown))}; known: {known}")
    return read_environment(RayWorkerSettings, **arguments)
