"""A worker's settings, read once at start from its ``SFUMATO_*`` environment variables."""

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

import diffusion
from jobs.settings import JobsSettings
from jobs.telemetry.logs import LogFormat

DEFAULT_MODEL = Path(diffusion.__file__).parent / "models" / "emoji"


class WorkerSettings(JobsSettings):
    """One worker's settings, besides those that all processes share."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    model: Path = DEFAULT_MODEL  # a directory in the diffusers layout
    # What requests call it; None: the model's own name.
    model_name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    # "auto": ONNX on the CPU where exported, and where a precision or provider is named
    backend: Literal["auto", "torch", "onnx"] = "auto"
    onnx_precision: Literal["fp32", "fp16", "int8"] = "fp32"  # which of the model's exports
    onnx_provider: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"  # "auto": the device's own
    device: str = "auto"  # "auto" takes the first CUDA device, else the CPU
    threads: int = Field(0, ge=0, le=256)  # that compute on the CPU; 0: torch's own number
    slots: int = Field(20, ge=1, le=1024)  # pictures held at once
    rows_per_tick: int = Field(0, ge=0, le=4096)  # 0: measured at start
    deterministic: bool = False  # one batch shape, so that a picture's bits never depend on others
    ageing: float = Field(0.25, ge=0)  # rows served count so much against shortest-first; 0: none
    checkpoint_s: float = Field(1.0, gt=0)  # at most so much work is repeated after a crash
    preview_s: float = Field(0.2, ge=0)  # between two previews of a picture, about
    publish_s: float = Field(0.1, gt=0)  # between two batches of progress and previews
    # between two renewals of all leases; shorter leases are renewed more often
    renew_s: float = Field(1.0, gt=0)
    stall_s: float = Field(30.0, gt=0)  # an engine that has not ticked for so long loses its jobs
    hung_s: float = Field(60.0, gt=0)  # more, and the process ends, to be started anew
    # host and process id
    worker_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", max_length=128
    )
    metrics_host: str = "127.0.0.1"  # that /metrics, /livez and /readyz are served on
    metrics_port: int = Field(0, ge=0, le=65535)  # 0: none
    log_format: LogFormat = "auto"  # "auto": readable in a terminal, JSON elsewhere
    log_level: str = "INFO"  # DEBUG, INFO, WARNING, ERROR
