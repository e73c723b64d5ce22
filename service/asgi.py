"""The application for any ASGI server: ``uvicorn --factory service.asgi:app``."""

from fastapi import FastAPI
from pydantic import ValidationError

from jobs.logs import configure
from service.application import create_app
from service.settings import ServiceSettings


class DoorStartError(SystemExit):
    """The door cannot start."""


def read_settings() -> ServiceSettings:
    """Return the settings of the environment.

    Raises:
        DoorStartError: a variable has a bad value; the message names it.
    """
    try:
        return ServiceSettings()
    except ValidationError as error:
        lines = [
            f"SFUMATO_{'_'.join(str(p) for p in e['loc']).upper()}: {e['msg']}"
            for e in error.errors()
        ]
        raise DoorStartError("bad settings: " + "; ".join(lines)) from error


def behind_serve() -> FastAPI:
    """Return the application for Ray Serve, which gives and echoes request ids itself."""
    return _configured(echo_id=False)


def app() -> FastAPI:
    """Return the application, configured by the environment."""
    return _configured(echo_id=True)


def _configured(*, echo_id: bool) -> FastAPI:
    settings = read_settings()
    configure(settings.log_format, settings.log_level)
    return create_app(settings, echo_id=echo_id)
