"""What the door reads from its ``SFUMATO_*`` environment variables, once, at start."""

import re
from ipaddress import ip_network
from typing import Literal, get_args

from pydantic import (
    Field,
    FilePath,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import SettingsConfigDict

from jobs.settings import CommaSeparated, JobsSettings
from jobs.telemetry.logs import LogFormat, LogLevel

LEAST_SECRET_CHARS = 32


DialectName = Literal["openai", "hugging_face", "automatic1111", "fal", "replicate", "mcp"]


class ServiceSettings(JobsSettings):
    """One door's settings, beside those that all processes share."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    # for requests that name none; default: the first by name
    default_model: str | None = Field(None, max_length=64)
    auth: Literal["off", "keys"] = "off"  # "keys": require an API key
    # the first signs links, all are accepted; at least 32 characters each
    url_secrets: CommaSeparated[SecretStr] = Field((), validate_default=True)
    url_ttl_s: float = Field(3600.0, ge=1, le=7 * 86400)  # minimum lifetime of a signed link
    public_url: str = Field("", max_length=2048)  # base URL of links; default: paths on this host
    # other APIs to serve besides Sfumato's own; empty: none
    dialects: CommaSeparated[DialectName] = get_args(DialectName)
    # longest that their requests wait for images; OpenAI's clients give up after 600
    dialect_wait_s: float = Field(3600.0, gt=0, le=86400)
    cors_origins: CommaSeparated[str] = ()  # origins whose pages may call the API; "*": any
    # addresses and networks whose X-Forwarded-* headers are trusted
    trusted_proxies: CommaSeparated[str] = ()
    rate_limit: int = Field(0, ge=0)  # requests per window and key (or address); 0: unlimited
    tenant_rate_limit: int = Field(0, ge=0)  # requests per window and tenant; 0: unlimited
    rate_window_s: float = Field(60.0, ge=1, le=86400)  # window of both limits
    webhook_networks: CommaSeparated[IPvAnyNetwork] = ()  # private networks that webhooks may call
    webhook_allow_http: bool = False  # allow webhooks without TLS
    # CA certificates (PEM) for receivers; default: the system's
    webhook_ca_file: FilePath | None = None
    # for one call, from DNS lookup to response
    webhook_timeout_s: float = Field(10.0, gt=0, le=120)
    webhook_max_attempts: int = Field(10, ge=1, le=50)  # attempts until a delivery is given up
    # first pause; each further one is four times longer
    webhook_retry_s: float = Field(5.0, gt=0, le=3600)
    webhook_poll_s: float = Field(1.0, gt=0, le=60)  # interval between checks for deliveries
    # concurrent calls of this replica; 0: it delivers none
    webhooks_at_once: int = Field(32, ge=0, le=1024)
    max_body_bytes: int = Field(1024 * 1024, ge=1024)  # maximum size of a request body
    body_timeout_s: float = Field(60.0, gt=0, le=3600)  # for a request's body to arrive
    max_wait_s: float = Field(60.0, gt=0, le=3600)  # maximum of "Prefer: wait"
    # event streams and waits of this replica; beyond it 429
    max_listeners: int = Field(4096, ge=1)
    # those of one key, or of one address without a key
    max_listeners_per_caller: int = Field(1024, ge=1)
    # maximum of a stream of all of a caller's jobs; its client connects again
    max_stream_s: float = Field(3600.0, gt=0, le=86400)
    # interval between comments on a silent event stream
    keep_alive_s: float = Field(15.0, gt=0, le=300)
    disconnect_grace_s: float = Field(2.0, gt=0)  # time to reconnect before "on_disconnect" cancels
    sweep_s: float = Field(0.5, gt=0)  # interval between sweeps for expired leases and deadlines
    door_replicas: int = Field(1, ge=1, le=256)  # replicas of the Ray Serve deployment
    door_metrics_host: str = "127.0.0.1"  # address of the replica's metrics
    door_metrics_port: int = Field(0, ge=0, le=65535)  # port of the replica's metrics; 0: none
    log_format: LogFormat = "auto"  # "auto": readable in a terminal, JSON elsewhere
    log_level: LogLevel = "INFO"  # least severity that is logged

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

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/]+", origin):
                raise ValueError(f"{origin!r} is not an origin like https://app.example.org")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy != "*":
                ip_network(proxy)  # its error names the value
        return proxies

    @field_validator("public_url")
    @classmethod
    def _a_web_address(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^\s?#]+", url):
            raise ValueError(f"{url!r} is not an http or https URL without a query")
        return url.rstrip("/")
