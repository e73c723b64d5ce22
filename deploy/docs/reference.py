"""The reference of the HTTP API as pages in Markdown, made from its OpenAPI document.

A page is for one tag: its routes, then the schemas that no earlier page has.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from deploy.docs.values import Schema, references, target, title_of, values

Document = dict[str, Any]
Operation = dict[str, Any]

INTRODUCTION = """# HTTP reference

Every route that the door serves, from its own OpenAPI document. A running service has the same at
`/openapi.json`, and at `/docs` a page that can call it. What the routes have in common is in
[errors](../docs/errors.md), [keys](../docs/security.md#keys) and [the native
API](../docs/apis/native.md).
"""
FRAMEWORKS_OWN = "HTTPValidationError"
"""What FastAPI declares for each route with a parameter; the door sends problems instead."""
TITLES = {
    "jobs": "Jobs",
    "pictures": "Images",
    "catalogue": "Models, samplers and workers",
    "operation": "Operation",
    "webhooks": "Webhooks",
    "MCP": "Model Context Protocol",
}


def pages(document: Document) -> dict[str, str]:
    """Return the pages by name, ``index`` first."""
    tags = list(dict.fromkeys(operation["tags"][0] for _, _, operation in routes(document)))
    shown: set[str] = set()
    found = {slug(tag): page(document, tag, shown) for tag in tags}
    return {"index": index(document, tags)} | found


def routes(document: Document) -> Iterator[tuple[str, str, Operation]]:
    """Yield each route's method, path and operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def slug(text: str) -> str:
    """Return the name of a tag's page, or the anchor of a route's section."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def title(tag: str) -> str:
    """Return the title of a tag's page."""
    return TITLES.get(tag, tag)


def index(document: Document, tags: list[str]) -> str:
    """Return the page that lists every route."""
    parts = [INTRODUCTION]
    for tag in tags:
        rows = [
            (f"[`{method} {path}`](#{slug(method + path)})", sentence(operation["summary"]))
            for method, path, operation in routes(document)
            if operation["tags"][0] == tag
        ]
        parts += [f"## {title(tag)}", table(("route", "what it does"), rows)]
    names = "\n".join(slug(tag) for tag in tags)
    return "\n\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{names}\n```\n"])


def page(document: Document, tag: str, shown: set[str]) -> str:
    """Return a tag's page; the schemas on it are added to ``shown``."""
    mine = [route for route in routes(document) if route[2]["tags"][0] == tag]
    parts = [f"# {title(tag)}"]
    for method, path, operation in mine:
        parts += route_section(method, path, operation)
    schemas = document["components"]["schemas"]
    for name in reached([operation for *_, operation in mine], schemas):
        if name not in shown | {FRAMEWORKS_OWN, "ValidationError"}:
            shown.add(name)
            parts += schema_section(name, schemas[name])
    return "\n\n".join(parts) + "\n"


def reached(start: object, schemas: dict[str, Schema]) -> Iterable[str]:
    """Return the names of the schemas that are needed to read ``start``."""
    found: dict[str, None] = {}
    waiting = list(references(start))
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += references(schemas[name])
    return found


def route_section(method: str, path: str, operation: Operation) -> list[str]:
    """Return the parts of a route's section."""
    parts = [f"({slug(method + path)})=\n## {operation['summary']}"]
    parts += [f"```text\n{method} {path}\n```", operation.get("description", "")]
    if rows := [parameter_row(each) for each in operation.get("parameters", [])]:
        parts.append(table(("parameter", "in", "values", "meaning"), rows))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"**Request** `{kind}`: {values(body.get('schema', {}))}")
        parts += [example(each) for each in body.get("examples", {}).values()]
    rows, refusals = [], []
    for status, response in operation["responses"].items():
        if FRAMEWORKS_OWN in references(response):
            continue
        if status < "400":
            text = response["description"].replace("Successful Response", "Success.")
            rows.append((status, line(text), content(response)))
        else:
            refusals.append((status, response))
    parts.append(table(("status", "meaning", "body"), sorted(rows)))
    return [*filter(None, parts), *errors(refusals)]


def parameter_row(parameter: dict[str, Any]) -> tuple[str, ...]:
    """Return a row about a parameter."""
    name = f"`{parameter['name']}`" + ("" if parameter.get("required") else " *(optional)*")
    allowed = values(parameter["schema"]).removesuffix(", or null")  # if it is left out
    return name, parameter["in"], line(allowed), line(parameter.get("description", ""))


def content(response: dict[str, Any]) -> str:
    """Return what a response contains."""
    return line(
        "; ".join(
            f"{values(body['schema'])} `{kind}`"
            if "$ref" in body.get("schema", {})
            else f"`{kind}`"
            for kind, body in response.get("content", {}).items()
        )
    )


def errors(refusals: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return one line about all errors."""
    if not refusals:
        return []
    bodies = dict.fromkeys(
        values(body["schema"])
        for _, response in refusals
        for body in response.get("content", {}).values()
        if "$ref" in body.get("schema", {})
    )
    codes = ", ".join(sorted(status for status, _ in refusals))
    return [f"**Errors** {codes}" + (": " + " or ".join(bodies) if bodies else "")]


def schema_section(name: str, schema: Schema) -> list[str]:
    """Return the parts of a schema's section."""
    parts = [f"({target(name)})=\n## {title_of(name)}", schema.get("description", "")]
    if "properties" not in schema:
        return [*filter(None, parts), f"One of {values(schema)}." if "enum" in schema else ""]
    required = schema.get("required", [])
    rows = [
        (f"`{field}`", line(values(each)), default(each, field in required), meaning(each))
        for field, each in schema["properties"].items()
    ]
    parts.append(table(("field", "values", "default", "meaning"), rows))
    return [*filter(None, parts)]


def default(schema: Schema, required: bool) -> str:
    """Return a field's default."""
    if required:
        return "*required*"
    value = schema.get("default")
    return line(f"`{json.dumps(value, ensure_ascii=False)}`") if value is not None else ""


def meaning(schema: Schema) -> str:
    """Return what a field means."""
    return line(schema.get("description", ""))


def example(given: dict[str, Any]) -> str:
    """Return an example of a request."""
    text = json.dumps(given["value"], indent=2, ensure_ascii=False)
    return f"{given['summary']}:\n\n```json\n{text}\n```"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def line(text: str) -> str:
    """Return a text as it can stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def sentence(text: str) -> str:
    """Return a summary with a full stop."""
    return text if text.endswith(".") else f"{text}."
