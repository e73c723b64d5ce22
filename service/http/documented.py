"""The error responses that routes declare for OpenAPI."""

from typing import Any

from starlette.routing import compile_path

MEDIA_TYPE = "application/problem+json"
Responses = dict[int | str, dict[str, Any]]

_TEXTS = {
    400: "The request is malformed.",
    401: "The API key is missing or invalid.",
    403: "The API key lacks the required scope or class, or the link is invalid or expired.",
    404: "No such job, model or worker exists.",
    408: "The body did not arrive in time.",
    409: "The job is not in a state that allows it.",
    410: "The image has expired; the job's record remains.",
    413: "The body is too large.",
    414: "The path and query are too long.",
    415: "The body is not JSON.",
    422: "The request is invalid; `errors` names the fields.",
    429: "Too many requests, or too much work is queued; retry after `Retry-After` seconds.",
    500: "Internal error.",
    501: "This deployment does not support the request.",
    503: "The store is unavailable or full; retry after `Retry-After` seconds.",
}
_SCHEMA = {"$ref": "#/components/schemas/Problem"}  # defined as part of JobView


def problems(*statuses: int) -> Responses:
    """Return a route's error responses; any route may answer 500 and 503."""
    return {
        status: {
            "description": _TEXTS[status],
            "content": {MEDIA_TYPE: {"schema": _SCHEMA}},
        }
        for status in (*statuses, 500, 503)
    }


def allowed_methods(openapi: dict[str, Any], path: str) -> str:
    """Return the methods of a path as the ``Allow`` header lists them.

    The framework lists those of the first matching route only.
    """
    found: set[str] = set()
    for template, operations in openapi["paths"].items():
        if compile_path(template)[0].match(path):
            found |= {method.upper() for method in operations}
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found))
