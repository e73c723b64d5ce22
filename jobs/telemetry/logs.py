"""Structured logs, the same in every process: JSON lines in production, readable in a terminal."""

import logging
import sys
from typing import Annotated, Any, Literal

import structlog
from pydantic import BeforeValidator
from structlog.typing import EventDict

from jobs.telemetry.text import shown


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def escape_text(_: Any, __: str, event: EventDict) -> EventDict:
    """Return an event for a terminal: what strangers sent, like a path, must not command it."""
    return {
        name: shown(value)
        if isinstance(value, str) and name not in ("exception", "stack")
        else value
        for name, value in event.items()
    }


LogFormat = Literal["auto", "json", "console"]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


def configure(log_format: LogFormat = "auto", level: str = "INFO") -> None:
    """Write structlog's and the standard library's logs to stderr in one format.

    ``auto`` is readable in a terminal and JSON everywhere else.
    """
    human = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [
            escape_text,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
        if human
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
