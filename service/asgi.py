"""The application for any ASGI server: ``uvicorn --factory service.asgi:app``."""

from fastapi import FastAPI

from jobs.logs import configure
from jobs.settings import read_environment
from service.application import create_app
from service.settings import ServiceSettings


def behind_serve() -> FastAPI:
    """Return the application for Ray Serve, which gives and echoes request ids itself."""
    return _configured(echo_id=False)


def app() -> FastAPI:
    """Return the application, configured by the environment."""
    return _configured(echo_id=True)


def _configured(*, echo_id: bool) -> FastAPI:
    settings = read_environment(ServiceSettings)
    configure(settings.log_format, settings.log_level)
    return create_app(settings, echo_id=echo_id)
