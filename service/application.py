"""The FastAPI application: the same object behind Ray Serve and behind uvicorn."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from service import catalogue_api, events_api, health, images_api, jobs_api, problem, scaling_api
from service.body_limit import BodyLimit
from service.documented import only_problem_json
from service.door import opened
from service.metrics import DoorCounters, counters_served
from service.request_context import RequestContext
from service.settings import ServiceSettings

DESCRIPTION = """
Submit a prompt, follow the picture as it takes shape, fetch it. A job survives the worker that
draws it. Errors are `application/problem+json` (RFC 9457) with a stable word in `code`.
"""


def create_app(settings: ServiceSettings, *, echo_id: bool = True) -> FastAPI:
    """Return the application; its lifespan opens and closes everything that it holds.

    ``echo_id`` is False where the server itself answers with ``x-request-id``.
    """
    counters = DoorCounters()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        host, port = settings.door_metrics_host, settings.door_metrics_port
        with counters_served(counters, host, port):
            async with opened(settings, counters) as door:
                app.state.door = door
                yield

    app = FastAPI(
        title="Sfumato",
        description=DESCRIPTION,
        version=version("sfumato"),
        lifespan=lifespan,
        redoc_url=None,
    )
    problem.install(app)
    for api in (jobs_api, events_api, images_api, catalogue_api, scaling_api, health):
        app.include_router(api.router)
    # The last one added is the outermost: it sees the answers of all the others.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, counters=counters, echo_id=echo_id)
    _document_problems(app)
    return app


def _document_problems(app: FastAPI) -> None:
    described = app.openapi

    def openapi() -> dict[str, Any]:
        return only_problem_json(described())

    app.openapi = openapi  # type: ignore[method-assign]
