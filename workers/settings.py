"""A worker's settings, read once at start from its ``SFUMATO_*`` environment variables."""

import os
import secrets
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

import diffusion
from jobs.errors import StartError
from jobs.host.models import default_cache, default_models, find_model, served_name
from jobs.settings import CommaSeparated, JobsSettings
from jobs.telemetry.logs import LogFormat, LogLevel
from jobs.telemetry.text import shown

DEFAULT_MODEL = Path(diffusion.__file__).parent / "models" / "emoji"


def own_id() -> str:
    """Return an id that no other worker has: containers on a host network share the rest of it."""
    return f"{socket.gethostname()[:100]}-{os.getpid()}-{secrets.token_hex(3)}"


class WorkerSettings(JobsSettings):
    """One worker's settings, besides those that all processes share."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    # where `sfumato models add` installs; default: `sfumato/models` in `XDG_DATA_HOME`
    models: Path = Field(default_factory=default_models)
    # a model directory in the diffusers layout, or an installed model's name
    model: Path = DEFAULT_MODEL
    # more models that this worker serves, each a directory or a name, with commas between
    pool: CommaSeparated[Path] = ()
    # bytes that the weights of its loaded models may take; 0: no limit, all stay loaded
    model_memory: int = Field(0, ge=0)
    # name of `SFUMATO_MODEL` in requests; default: the model's own
    model_name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    # "auto": ONNX on a CPU if exported, or if a precision or provider is set
    backend: Literal["auto", "torch", "onnx"] = "auto"
    onnx_precision: Literal["fp32", "fp16", "int8"] = "fp32"  # which of the model's exports
    # "auto": the one for the device
    onnx_provider: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    # what networks in torch compute in; "auto": fp32 on a CPU, else what the weights are stored in
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    # networks in torch on CUDA: replay calls of equal shapes as CUDA graphs
    graphs: bool = True
    # compile the blocks that a network in torch repeats; the first start takes minutes longer
    compile: bool = False
    # where calibrations, compiled blocks and TensorRT's engines are kept; empty: nowhere;
    # default: `sfumato` in `XDG_CACHE_HOME`
    cache: Path | None = Field(default_factory=default_cache)
    # what the model's own safety checker flags: not checked, blurred, or the job refused
    safety: Literal["off", "blur", "refuse"] = "off"
    device: str = "auto"  # "auto": the first CUDA device, else the CPU
    # CPU threads for inference; 0: those the container may use
    threads: int = Field(0, ge=0, le=256)
    slots: int = Field(20, ge=1, le=1024)  # pictures held at once
    # maximum rows per forward pass; 0: measured at start
    rows_per_tick: int = Field(0, ge=0, le=4096)
    # pad every batch to one shape, so that an image's bytes do not depend on others; a shape of
    # more than 4 rows is a multiple of 4
    deterministic: bool = False
    # weight of waiting against shortest-first, per row served meanwhile; 0: none
    ageing: float = Field(0.25, ge=0)
    # interval between checkpoints: the most work repeated after a crash; longer where states are
    # large, so that they take 2 MiB/s
    checkpoint_s: float = Field(1.0, gt=0)
    preview_s: float = Field(0.2, ge=0)  # approximate interval between a picture's previews
    # "auto": the model's distilled decoder, or the colours of its latents; "full": its VAE
    preview_decoder: Literal["auto", "full"] = "auto"
    publish_s: float = Field(0.1, gt=0)  # interval between batches of progress and previews
    # interval between lease renewals; at most 1 s and a sixth of the lease
    renew_s: float = Field(1.0, gt=0)
    stall_s: float = Field(30.0, gt=0)  # time without a tick after which a worker loses its jobs
    hung_s: float = Field(60.0, gt=0)  # time after that until the process exits
    # jobs that fail in a row, with no picture between them, until the process exits
    max_failures: int = Field(5, ge=1)
    # default: host name, process id and random digits
    worker_id: str = Field(default_factory=own_id, max_length=128)
    metrics_host: str = "127.0.0.1"  # address of /metrics, /livez and /readyz
    metrics_port: int = Field(0, ge=0, le=65535)  # their port; 0: none
    log_format: LogFormat = "auto"  # "auto": readable in a terminal, JSON elsewhere
    log_level: LogLevel = "INFO"  # least severity that is logged

    @field_validator("cache", mode="before")
    @classmethod
    def _nowhere(cls, folder: object) -> object:
        return None if folder in ("", None) else folder

    @field_validator("model")
    @classmethod
    def _found(cls, model: Path, info: ValidationInfo) -> Path:
        models = info.data.get("models")
        return model if models is None else find_model(model, models, DEFAULT_MODEL)

    @field_validator("pool")
    @classmethod
    def _all_found(cls, pool: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        return tuple(cls._found(model, info) for model in pool)

    @property
    def each(self) -> tuple["WorkerSettings", ...]:
        """The settings for each of the worker's models, its own id for each if there are several.

        Raises:
            StartError: two have one name, or a name cannot be read.
        """
        if not self.pool:
            return (self,)
        named = [(self.model, self.model_name), *((model, None) for model in self.pool)]
        found = {}
        for folder, name in named:
            name = name or served_name(folder)
            if name in found:
                raise StartError(f"SFUMATO_POOL: two models have the name {shown(name)}")
            own = {"model": folder, "model_name": name, "worker_id": f"{self.worker_id}/{name}"}
            found[name] = self.model_copy(update=own)
        return tuple(found.values())
