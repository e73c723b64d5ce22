"""The FastAPI application: the same object behind Ray Serve and behind uvicorn."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from jobs.telemetry.tracing import open_tracing
from service.api import catalogue as catalogue_api
from service.api import docs as docs_api
from service.api import events as events_api
from service.api import health, many_events
from service.api import images as images_api
from service.api import jobs as jobs_api
from service.api import scaling as scaling_api
from service.api import webhooks as webhooks_api
from service.api.authentication import Authentication
from service.dialects.a1111.dialect import AUTOMATIC1111
from service.dialects.dialect import Dialect
from service.dialects.fal.dialect import FAL
from service.dialects.hugging_face import HUGGING_FACE
from service.dialects.openai_images import OPENAI
from service.dialects.replicate.dialect import REPLICATE
from service.door import opened
from service.http import problem
from service.http.body_limit import BodyLimit
from service.http.head import Head
from service.http.request_context import RequestContext
from service.metrics.replica import DoorCounters, counters_served
from service.page import files as page
from service.settings import ServiceSettings

DIALECTS = (OPENAI, HUGGING_FACE, AUTOMATIC1111, FAL, REPLICATE)
DESCRIPTION = """
Submit a prompt, follow the picture as it takes shape, fetch it. A job survives the worker that
draws it. Errors are `application/problem+json` (RFC 9457) with a stable identifier in `code`.
"""


def create_app(settings: ServiceSettings, *, echo_id: bool = True) -> FastAPI:
    """Return the application; its lifespan opens and closes everything that it holds.

    ``echo_id`` is False if the server itself sets ``x-request-id`` on responses.
    """
    counters = DoorCounters()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        host, port = settings.door_metrics_host, settings.door_metrics_port
        instance = f"{socket.gethostname()}-{os.getpid()}"
        with (
            counters_served(counters, host, port),
            contextlib.closing(open_tracing(settings, "sfumato-door", instance)) as tracing,
        ):
            async with opened(settings, counters, tracing) as door:
                app.state.door, app.state.tracing = door, tracing
                yield

    app = FastAPI(
        title="Sfumato",
        description=DESCRIPTION,
        version=version("sfumato"),
        lifespan=lifespan,
        docs_url=None,  # a page of ours, which needs no other host
        redoc_url=None,
        servers=[{"url": settings.public_url}] if settings.public_url else None,
        redirect_slashes=False,  # to an absolute URL, which is wrong behind a proxy
    )
    app.state.counters = counters
    app.state.dialects = dialects(settings)
    problem.install(app)
    for api in (
        jobs_api, events_api, many_events, images_api, catalogue_api, scaling_api, webhooks_api,
        health, docs_api, page,
    ):  # fmt: skip
        app.include_router(api.router)
    for dialect in app.state.dialects:
        app.include_router(dialect.router)
    # The last one added is the outermost: it sees the responses of all the others.
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
    )
    app.add_middleware(Authentication)
    app.add_middleware(Head)
    app.add_middleware(RequestContext, counters=counters, echo_id=echo_id)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cross_origin(settings.cors_origins))
    if settings.trusted_proxies:
        trusted = list(settings.trusted_proxies)
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
    return app


def dialects(settings: ServiceSettings) -> list[Dialect]:
    """Return the dialects that are on; the library of MCP's is imported for those alone."""
    found = [each for each in DIALECTS if each.name in settings.dialects]
    if "mcp" in settings.dialects:
        from service.dialects import mcp

        found.append(mcp.dialect())
    return found


def cross_origin(origins: Sequence[str]) -> dict[str, Any]:
    """Return the CORS options for these origins; keys are sent in a header, never in a cookie."""
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "HEAD", "POST", "DELETE"],
        "allow_headers": [
            "authorization", "content-type", "idempotency-key", "last-event-id", "mcp-method",
            "mcp-name", "mcp-protocol-version", "prefer", "x-request-id",
        ],
        "expose_headers": [
            "etag", "location", "preference-applied", "ratelimit", "ratelimit-policy",
            "retry-after", "x-request-id",
        ],
        "max_age": 600,
    }  # fmt: skip
