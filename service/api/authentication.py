"""Who calls: asked before anything else about a request is looked at, and counted."""

import base64
import re
import time
from collections.abc import Sequence

import structlog
from fastapi import Request
from fastapi.security import HTTPBearer
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.errors import JobsError
from jobs.schema import PUBLIC, Priority
from service.api.caller import Caller, LinkHolder
from service.auth.address import caller_address
from service.auth.rate_limit import Bucket, meter
from service.auth.scope import Scope as Permission
from service.door import Door
from service.http.problem import Refusal, problem_response, refusal_of
from service.resources.signing import LinkScope, SignatureStatus
from service.settings import ServiceSettings

log = structlog.get_logger()

PROBES = frozenset({"/healthz", "/readyz"})
"""Need no key and are not counted: an orchestrator that is refused restarts the door."""
PAGE = re.compile(r"/|/page/.*", re.DOTALL)
"""Needs no key and is not counted: it is many files, and what it does is counted by itself."""
DESCRIPTION = re.compile(r"/openapi\.json|/docs(/.*)?")
"""Needs no key."""
FIGURES = re.compile(r"/metrics|/v1/workers|/v1/scaling/[^/]+")
"""Not counted for who may read them: an autoscaler or Prometheus that gets a 429 is blind, and it
shares its tenant's or address' limit with clients."""
LINKED = re.compile(r"/v1/jobs/([A-Za-z0-9_-]{1,64})/(images|preview|events)(?:/[^/]+)?")
bearer_of = HTTPBearer(auto_error=False)


class Authentication:
    """ASGI middleware that sets ``request.state.caller`` and counts the request.

    Requests that are refused further inside, whatever for, have been counted by then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its caller is known and within its rate limits."""
        if scope["type"] == "http" and not open_to_all(get_route_path(scope)):
            try:
                await admit(Request(scope))
            except (Refusal, JobsError) as error:
                refusal = error if isinstance(error, Refusal) else refusal_of(error)
                if refusal.status >= 500:
                    log.warning("request refused", code=refusal.code, reason=str(error))
                await problem_response(scope, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def open_to_all(path: str) -> bool:
    """Return whether a path needs no key and is not counted."""
    return path in PROBES or PAGE.fullmatch(path) is not None


async def admit(request: Request) -> None:
    """Find out who calls and count the request.

    Raises:
        Refusal: 401, the key is missing or invalid; 403, the link is; 429, too many requests.
    """
    door: Door = request.app.state.door
    path = get_route_path(request.scope)
    address = caller_address("" if request.client is None else request.client.host)
    of_address = (_bucket(door.settings, "client", address),)
    if DESCRIPTION.fullmatch(path):
        await meter(door.limiter, request, of_address)
        return
    try:
        holder = await _identified(door, request, path, address)
    except Refusal:
        await meter(door.limiter, request, of_address)
        raise
    request.state.caller = holder
    reads_figures = isinstance(holder, Caller) and holder.may(Permission.METRICS)
    if not (reads_figures and FIGURES.fullmatch(path)):
        await meter(door.limiter, request, _buckets(door.settings, holder, of_address))


async def _identified(door: Door, request: Request, path: str, address: str) -> Caller | LinkHolder:
    if door.keyring is None:
        return Caller(PUBLIC, frozenset({Permission.OPERATOR}), address)
    key_text = await _key_text(request)
    if key_text is None:
        if (link := _link(door, request, path, address)) is not None:
            return link
        detail = "an API key is required: Authorization: Bearer sfu_…"
        challenge = {"www-authenticate": "Bearer"}
        raise Refusal(401, "key_required", detail, field="Authorization", headers=challenge)
    key = await door.keyring.find(key_text)
    if key is None:
        detail = "the API key is unknown, revoked or expired"
        challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
        raise Refusal(401, "invalid_key", detail, field="Authorization", headers=challenge)
    structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.id)
    priorities = frozenset(Priority) if Permission.OPERATOR in key.scopes else key.priorities
    return Caller(key.tenant, key.scopes, address, key.id, key.rate_limit, priorities)


async def _key_text(request: Request) -> str | None:
    """Return the API key of a request: after its scheme, or the password of HTTP Basic."""
    bearer = await bearer_of(request)
    if bearer is not None:
        return bearer.credentials
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("key", "token"):  # as fal's and Replicate's older clients send it
        return text.strip()
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode()
    except ValueError:
        return text  # which is no key
    return decoded.partition(":")[2]


def _link(door: Door, request: Request, path: str, address: str) -> LinkHolder | None:
    """Return the holder of the request's signed link, None if it is not one."""
    signature, target = request.query_params.get("signature"), LINKED.fullmatch(path)
    if door.links.signer is None or signature is None or target is None:
        return None
    job_id, scope = target[1], LinkScope(target[2])
    expires = request.query_params.get("expires")
    status = door.links.signer.check(job_id, scope, expires, signature, time.time())
    if status is SignatureStatus.EXPIRED:
        detail = "the link has expired; get the job again for a new one"
        raise Refusal(403, "link_expired", detail, field="expires")
    if status is SignatureStatus.INVALID:
        detail = "the link's signature is invalid"
        raise Refusal(403, "invalid_signature", detail, field="signature")
    return LinkHolder(job_id, scope, address, int(expires or 0))


def _buckets(
    settings: ServiceSettings, holder: Caller | LinkHolder, of_address: Sequence[Bucket]
) -> Sequence[Bucket]:
    if isinstance(holder, LinkHolder):
        return (_bucket(settings, "link", holder.job_id),)
    if holder.key_id is None:
        return of_address
    if Permission.OPERATOR in holder.scopes:
        return ()
    of_key = _bucket(settings, "key", holder.key_id, holder.rate_limit)
    of_tenant = _bucket(settings, "tenant", holder.tenant, settings.tenant_rate_limit)
    return (of_key, of_tenant)


def _bucket(
    settings: ServiceSettings, policy: str, holder: str, requests: int | None = None
) -> Bucket:
    most = settings.rate_limit if requests is None else requests
    return Bucket(policy, holder, most, settings.rate_window_s)
