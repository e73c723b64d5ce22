"""The Model Context Protocol, through which assistants call tools: four of them draw here.

The official SDK speaks the protocol; there are no sessions, so any replica answers any message.
"""

import asyncio
import base64
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from time import monotonic
from typing import Annotated, Any, Literal

import mcp_types as types
import orjson
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, ValidationError
from sse_starlette.sse import AppStatus
from starlette.types import Message, Receive, Scope, Send

from jobs.errors import JobsError, TransientStoreError
from jobs.schema import MAX_IMAGES, MAX_PROMPT_CHARS, MAX_SEED, MAX_STEPS, JobRecord, JobStatus
from jobs.telemetry.text import shown
from jobs.validation.bounds import KnownFields, at_most
from service.api.caller import GUARDED, Caller, JobsCaller, links_of_caller, own_job
from service.api.catalogue import list_models
from service.api.jobs import create, latest, require_json
from service.api.waiting import canceled_if_left
from service.dialects.dialect import Dialect, json_error
from service.dialects.drawing import absolute, check_ended, job_of
from service.door import Door, DoorDep
from service.http.documented import Responses
from service.http.idempotency import parse_key
from service.http.job_ids import path_job_id
from service.http.origin import check_origin
from service.http.problem import Refusal, invalid, printable, refusal_of
from service.resources.representations import JobView

log = structlog.get_logger()
router = APIRouter(tags=["MCP"])

Context = ServerRequestContext[Any, Request]
Contents = list[types.ContentBlock]
Rpc = Annotated[dict[str, Any], at_most(16)]
"""A message of JSON-RPC, which has six members at most; others are ignored."""

USUAL_WAIT_S = 50.0
"""Many clients give up on a call after a minute."""
MOST_BYTES = 700_000
"""Of the images in one result: clients read at most a megabyte of base64 and text."""
SHOWN = frozenset({"image/png", "image/jpeg", "image/webp"})
"""Image types that assistants can display."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0
NUDGE = 0.001
"""Added to the progress if no step was made: the protocol requires it to rise each time."""


class Arguments(KnownFields):
    """A tool's arguments; unknown ones are refused."""


class Waiting(Arguments):
    """A call that waits."""

    wait_s: float = Field(
        USUAL_WAIT_S,
        ge=0,
        le=86400,
        description="Seconds to wait for the images. A job that takes longer continues; the tool "
        "`job` returns its images later.",
    )


class Drawing(Waiting):
    """A job to submit."""

    prompt: str = Field(max_length=MAX_PROMPT_CHARS, description="What the image should show.")
    negative_prompt: str | None = Field(
        None, max_length=MAX_PROMPT_CHARS, description="What the image should not show."
    )
    model: str | None = Field(None, description="A model from the tool `models`.")
    width: int | None = Field(None, ge=8, le=4096, description="Pixels; default: the model's.")
    height: int | None = Field(None, ge=8, le=4096, description="Pixels; default: the model's.")
    num_inference_steps: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Sampling steps; default: the model's."
    )
    guidance_scale: float | None = Field(
        None, ge=1, le=30, description="How closely to follow the prompt; 1: no guidance."
    )
    sampler: str | None = Field(
        None, description="One of the model's samplers; default: the model's."
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Seed of the first image; image i has this plus i."
    )
    num_images: int = Field(1, ge=1, le=MAX_IMAGES)
    output_format: Literal["jpeg", "png", "webp"] = Field(
        "jpeg", description="`png` and `webp` are lossless, and may be too large to be displayed."
    )


class OneJob(Arguments):
    """A job's id."""

    job_id: str = Field(max_length=64, description="As `draw` returned it.")


class AwaitedJob(OneJob, Waiting):
    """A job whose images are wanted."""


async def draw(context: Context, asked: Drawing) -> Contents:
    """Draw images from a prompt, and return them with their seeds and links."""
    door, request, caller = _caller(context)
    wanted = job_of(asked.model_dump(exclude={"wait_s"}) | {"preview": 0})
    key = parse_key(request.headers.getlist("idempotency-key"))
    left_cancels = context.protocol_version in MODERN_PROTOCOL_VERSIONS  # else a lost connection
    with door.listeners.listening(caller.holder):
        record = await create(door, caller, wanted, key, left_cancels=left_cancels)
        with canceled_if_left(door, record.id) if left_cancels else contextlib.nullcontext():
            return await _result(context, await _followed(context, record, asked.wait_s))


async def job(context: Context, asked: AwaitedJob) -> Contents:
    """Return a job's images once it has ended, or its progress."""
    door, _, caller = _caller(context)
    record = await own_job(door, caller, await path_job_id(asked.job_id))
    with door.listeners.listening(caller.holder):
        return await _result(context, await _followed(context, record, asked.wait_s))


async def cancel(context: Context, asked: OneJob) -> Contents:
    """Cancel a job that has not ended."""
    door, _, caller = _caller(context)
    record = await own_job(door, caller, await path_job_id(asked.job_id))
    record = await door.store.cancel(record.id)
    return [types.TextContent(text=f"job {record.id} is {record.status}")]


async def models(context: Context, asked: Arguments) -> Contents:
    """List the models with their samplers, sizes, defaults and example prompts."""
    door, _, caller = _caller(context)
    listed = [
        model.model_dump(
            include={
                "name", "title", "prompt", "classes", "class_names", "languages", "examples",
                "width", "height", "min_side", "max_side", "side_multiple", "max_pixels",
                "default_steps", "default_sampler", "default_guidance_scale", "warm",
            }
        )
        | {"samplers": [each.name for each in model.samplers]}
        for model in (await list_models(door, caller)).models
    ]  # fmt: skip
    return [types.TextContent(text=orjson.dumps(listed).decode())]


@dataclass(frozen=True)
class Served:
    """A tool: its arguments and its function."""

    arguments: type[Arguments]
    run: Callable[[Context, Any], Awaitable[Contents]]
    reads_only: bool = False

    def described(self, name: str) -> types.Tool:
        """Return the tool as clients list it."""
        return types.Tool(
            name=name,
            description=self.run.__doc__,
            input_schema=self.arguments.model_json_schema(),
            annotations=types.ToolAnnotations(
                read_only_hint=self.reads_only,
                destructive_hint=self.run is cancel,
                open_world_hint=False,
            ),
        )


TOOLS = {
    "draw": Served(Drawing, draw),
    "job": Served(AwaitedJob, job, reads_only=True),
    "cancel": Served(OneJob, cancel),
    "models": Served(Arguments, models, reads_only=True),
}


def state(view: JobView) -> str:
    """Return a job's progress in one line."""
    if view.status is JobStatus.QUEUED:
        place = "" if view.queue_position is None else f" at position {view.queue_position}"
        return f"job {view.id} is queued{place}"
    return f"job {view.id} is {view.status}: step {view.progress.step} of {view.progress.total}"


async def _followed(context: Context, record: JobRecord, wait_s: float) -> JobRecord:
    """Report a job's progress until it ends, the time is up or the door closes; return the job.

    Raises:
        JobNotFound: it was deleted.
    """
    door, _, _ = _caller(context)
    ends_at = monotonic() + min(wait_s, door.settings.dialect_wait_s)
    said, progress, pause_s = "", -NUDGE, FIRST_PAUSE_S
    with door.following(record.id):
        while not record.status.ended and not door.closing.done():
            with contextlib.suppress(TransientStoreError):  # the job goes on meanwhile
                view = await door.view(record, door.links)
                if (text := state(view)) != said:
                    said, progress = text, max(view.progress.step, progress + NUDGE)
                    await context.session.report_progress(progress, view.progress.total, text)
            if (left_s := ends_at - monotonic()) <= 0:
                break
            await asyncio.wait({door.closing}, timeout=min(pause_s, left_s))
            pause_s = min(LAST_PAUSE_S, 1.5 * pause_s)
            record = await latest(door, record)
    return record


async def _result(context: Context, record: JobRecord) -> Contents:
    """Return a job's images with a text about them, or say that it continues.

    Raises:
        Refusal: it ended without images.
        ResultExpired: they are gone.
    """
    door, request, _ = _caller(context)
    if not record.status.ended:
        text = f"{state(await door.view(record, door.links))}. Call the tool `job` for its images."
        return [types.TextContent(text=text)]
    check_ended(record)
    links = absolute(request, await links_of_caller(door, request))
    spec, images, room = record.spec, list[types.ContentBlock](), MOST_BYTES
    lines = [
        f"job {record.id}: {spec.model}, {spec.width}x{spec.height}, "
        f"{spec.num_inference_steps} steps of {spec.sampler}, guidance {spec.guidance_scale:g}"
    ]
    for each in record.images:
        line = f"image {each.index}: seed {each.seed}, {links.image(record.id, each.index)}"
        if each.content_type in SHOWN and each.size_bytes <= room:
            room -= each.size_bytes
            data = (await door.store.image(record.id, each.index)).data
            encoded = base64.b64encode(data).decode()
            images.append(types.ImageContent(data=encoded, mime_type=each.content_type))
        else:
            line += f" ({each.content_type} of {each.size_bytes} bytes: not included)"
        lines.append(line)
    lines += [f"warning: {each.detail}" for each in record.warnings]
    return [*images, types.TextContent(text="\n".join(lines))]


def _caller(context: Context) -> tuple[Door, Request, Caller]:
    """Return the door that received a call, its HTTP request, and its caller."""
    request = context.request
    assert request is not None
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return request.app.state.door, request, caller


async def list_tools(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """Return the tools."""
    return types.ListToolsResult(tools=[tool.described(name) for name, tool in TOOLS.items()])


async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Run a tool; a refusal is a result that says why. Raises: MCPError, no such tool."""
    tool = TOOLS.get(params.name)
    if tool is None:
        detail = f"there is no tool {shown(params.name)!r}; available: {', '.join(TOOLS)}"
        raise MCPError(types.INVALID_PARAMS, detail)
    try:
        asked = tool.arguments.model_validate(params.arguments or {})
        return types.CallToolResult(content=await tool.run(context, asked))
    except Refusal as error:
        refusal = error
    except JobsError as error:
        refusal = refusal_of(error)
    except (ValidationError, RequestValidationError) as error:
        refusal = invalid(error.errors())
    except Exception:
        log.exception("unexpected error", tool=params.name)
        refusal = Refusal(500, "internal_error", "internal error; the log has the details")
    _, request, _ = _caller(context)
    request.state.problem = refusal.code  # for the metrics
    reason = types.TextContent(text=printable(refusal.detail))
    return types.CallToolResult(content=[reason], is_error=True)


SERVER: Server[Any] = Server(
    "sfumato",
    title="Sfumato",
    version=version("sfumato"),
    instructions="Draws images from text. `models` lists the models and what they draw.",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
)


class Exchange(Response):
    """The SDK's response to one message; it ends all that the SDK started for it."""

    def __init__(self, message: bytes, max_bytes: int) -> None:
        super().__init__()
        self._message = message
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with JSON, or with a stream that ends with the result."""
        read: list[Message] = [{"type": "http.request", "body": self._message}]

        async def received() -> Message:
            return read.pop() if read else await receive()

        manager = StreamableHTTPSessionManager(
            SERVER, stateless=True, max_request_body_size=self._max_bytes
        )
        async with manager.run():
            await manager.handle_request(scope, received, send)


_ERROR: dict[str, Any] = {"model": types.JSONRPCError, "description": "Refused; `error` says why."}
_ANSWERS: Responses = {
    200: {
        "description": "The response, or a stream of progress that ends with it.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "object"}},
        },
    },
    202: {"description": "A notification was accepted."},
    **{status: _ERROR for status in (*GUARDED, 400, 404, 406, 408, 413, 415, 422, 500, 503)},
}


@router.post(
    "/mcp",
    summary="Speak the Model Context Protocol",
    dependencies=[Depends(require_json)],
    response_class=Response,
    responses=_ANSWERS,
)
async def exchange(request: Request, message: Rpc, door: DoorDep, caller: JobsCaller) -> Response:
    """Take one message of JSON-RPC (streamable HTTP, without sessions) and answer it."""
    check_origin(request.headers.get("origin"), door.settings.cors_origins)
    if check_accept_headers(request) != (True, True):
        detail = "Accept must list application/json and text/event-stream"
        raise Refusal(406, "not_acceptable", detail, field="Accept")
    return Exchange(await request.body(), door.settings.max_body_bytes)


def refused(refusal: Refusal) -> Response:
    """Return a refusal as a JSON-RPC error."""
    code = types.INTERNAL_ERROR if refusal.status >= 500 else types.INVALID_REQUEST
    message, data = printable(refusal.detail), {"code": refusal.code}
    error = types.ErrorData(code=code, message=message, data=data)
    body = types.JSONRPCError(jsonrpc="2.0", id=None, error=error)
    return json_error(refusal, refusal.status, body.model_dump())


def dialect() -> Dialect:
    """Return the dialect; stop the SDK from logging requests and from closing streams itself."""
    logging.getLogger("mcp").setLevel(logging.WARNING)
    AppStatus.enable_automatic_graceful_drain = False  # it would cut streams off
    return Dialect("mcp", router, re.compile(r"/mcp"), refused)
