"""The answers that routes declare for OpenAPI."""

from typing import Any

from starlette.routing import compile_path

from service.representations import Problem

MEDIA_TYPE = "application/problem+json"
Responses = dict[int | str, dict[str, Any]]

_TEXTS = {
    400: "The request cannot be read.",
    401: "There is no API key, or it is not good.",
    403: "The API key lacks the right for this, or the link is not good any more.",
    404: "There is no such job or model.",
    410: "The picture is past its time to live; the job's record stays.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request is not valid; `errors` names the fields.",
    429: "Too many requests, or too much work waits; `Retry-After` says when to come back.",
    500: "The service made a mistake.",
    501: "The service cannot do this as it is set up.",
    503: "The store does not answer, or has no room; `Retry-After` says when to come back.",
}
_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def problems(*statuses: int) -> Responses:
    """Return the problem responses of a route; 500 and 503 may come from any."""
    return {
        status: {
            "description": _TEXTS[status],
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
        }
        for status in (*statuses, 500, 503)
    }


def allowed_methods(openapi: dict[str, Any], path: str) -> str:
    """Return the methods that a path takes, as the ``Allow`` header lists them.

    The framework names those of the first matching route only.
    """
    found: set[str] = set()
    for template, operations in openapi["paths"].items():
        if compile_path(template)[0].match(path):
            found |= {method.upper() for method in operations}
    return ", ".join(sorted(found))


def only_problem_json(openapi: dict[str, Any]) -> dict[str, Any]:
    """Drop ``application/json`` where a response is a problem: FastAPI adds it to every model."""
    for path in openapi["paths"].values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                content = response.get("content", {})
                if MEDIA_TYPE in content:
                    content.pop("application/json", None)
    return openapi
