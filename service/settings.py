"""What the door reads from its ``SFUMATO_*`` environment variables, once, at start."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    FilePath,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from jobs.settings import JobsSettings
from jobs.telemetry.logs import LogFormat

LEAST_SECRET_CHARS = 32
T = TypeVar("T")


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(word.strip() for word in value.split(",") if word.strip())


CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]


class ServiceSettings(JobsSettings):
    """One door's settings, beside those that all processes share."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    default_model: str | None = Field(None, max_length=64)  # None: the first by name
    auth: Literal["off", "keys"] = "off"  # "keys": every request needs an API key
    # Links to pictures, previews and events are signed with the first and checked with all of them.
    url_secrets: CommaSeparated[SecretStr] = Field((), validate_default=True)
    url_ttl_s: float = Field(3600.0, ge=1, le=7 * 86400)  # that a signed link is good for, at least
    public_url: str = Field("", max_length=2048)  # before every link; "": paths on this host
    cors_origins: CommaSeparated[str] = ()  # pages of these may call from a browser; "*": of any
    # addresses and networks whose X-Forwarded-* are believed
    trusted_proxies: CommaSeparated[str] = ()
    rate_limit: int = Field(0, ge=0)  # requests a window and key (or address); 0: any number
    tenant_rate_limit: int = Field(0, ge=0)  # of all of a tenant's keys together; 0: any number
    rate_window_s: float = Field(60.0, ge=1, le=86400)  # of both limits
    webhook_networks: CommaSeparated[IPvAnyNetwork] = ()  # private ones that may be called too
    webhook_allow_http: bool = False  # webhooks without TLS
    webhook_ca_file: FilePath | None = None  # PEM, beside none: the system's authorities
    webhook_timeout_s: float = Field(10.0, gt=0, le=120)  # for one call, from name to answer
    webhook_max_attempts: int = Field(10, ge=1, le=50)  # until a delivery is given up
    webhook_retry_s: float = Field(5.0, gt=0, le=3600)  # the first pause; each is four times longer
    webhook_poll_s: float = Field(1.0, gt=0, le=60)  # between two looks for deliveries
    webhooks_at_once: int = Field(32, ge=0, le=1024)  # from this replica; 0: others deliver
    max_body_bytes: int = Field(1024 * 1024, ge=1024)  # of a request; a larger one is 413
    max_wait_s: float = Field(60.0, gt=0, le=3600)  # the longest "Prefer: wait" that is honoured
    keep_alive_s: float = Field(15.0, gt=0, le=300)  # between two comments on a silent stream
    disconnect_grace_s: float = Field(2.0, gt=0)  # to come back before "on_disconnect" cancels
    sweep_s: float = Field(1.0, gt=0)  # between two sweeps for dead leases and deadlines
    door_replicas: int = Field(1, ge=1, le=256)  # of the Ray Serve deployment
    door_metrics_host: str = "127.0.0.1"  # that the counters are served on
    door_metrics_port: int = Field(0, ge=0, le=65535)  # this replica's own counters; 0: none
    log_format: LogFormat = "auto"  # "auto": readable in a terminal, JSON elsewhere
    log_level: str = "INFO"  # DEBUG, INFO, WARNING, ERROR

    @field_validator("url_secrets")
    @classmethod
    def _long_enough(
        cls, secrets: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < LEAST_SECRET_CHARS for secret in secrets):
            raise ValueError(
                f"a secret needs {LEAST_SECRET_CHARS} characters: openssl rand -hex 32"
            )
        if not secrets and info.data.get("auth") == "keys":
            raise ValueError("SFUMATO_AUTH=keys needs one to sign links: openssl rand -hex 32")
        return secrets

    @field_validator("public_url")
    @classmethod
    def _a_web_address(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^\s?#]+", url):
            raise ValueError(f"{url!r} is not an http or https URL without a query")
        return url.rstrip("/")
