"""Every setting with its default, bounds and meaning: ``python -m tests.deploy.settings_page``.

The meaning is the comment beside the field, or on the lines above it, where the code keeps it.
"""

import ast
import inspect
import io
import sys
import textwrap
import tokenize
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from jobs.settings import JobsSettings
from service.ray_serve.worker_settings import RayWorkerSettings
from service.settings import ServiceSettings
from tests.deploy.tools import ROOT
from workers.settings import WorkerSettings

PAGE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Environment variables, read once at start. An invalid value stops the process with a message that
names it; unknown `SFUMATO_*` variables are ignored. `make settings` generates this page.
"""
NOTES = {
    "Every process": "These must be equal in all processes on one Redis, except `SFUMATO_REDIS_*`,"
    " `SFUMATO_OTLP_ENDPOINT`\nand `SFUMATO_TRACE_RATIO`.\n",
}
COMMAND_LINE = """## The command line and the Python client

| variable | default | values | meaning |
|---|---|---|---|
| `SFUMATO_URL` | `http://127.0.0.1:8000` | text | address of the service; the client only |
| `SFUMATO_API_KEY` |  | secret | API key to send to it |
"""
SECTIONS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("Every process", JobsSettings),
    ("The door", ServiceSettings),
    ("A worker", WorkerSettings),
    ("Workers under Ray Serve", RayWorkerSettings),
)
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
KINDS = {
    "SecretStr": "secret",
    "Path": "path",
    "str": "text",
    "bool": "`true`, `false`",
    "int": "integer",
    "float": "number",
    "IPvAnyNetwork": "networks",
}
MIB = 1024 * 1024


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, kind in SECTIONS:
        rows = [row(kind, name, kind.model_fields[name]) for name in own_fields(kind)]
        parts.append(f"## {title}\n")
        if title in NOTES:
            parts.append(NOTES[title])
        parts.append("| variable | default | values | meaning |\n|---|---|---|---|")
        parts.append("\n".join(rows) + "\n")
    return "\n".join([*parts, COMMAND_LINE])


def own_fields(kind: type[BaseSettings]) -> list[str]:
    """Return the fields that the class itself declares."""
    return [name for name in kind.__annotations__ if name in kind.model_fields]


def row(kind: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """Return one line of the table."""
    cells = (
        f"`{kind.model_config.get('env_prefix', '')}{name.upper()}`",
        default(field),
        allowed(field),
        meanings(kind).get(name, ""),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default(field: FieldInfo) -> str:
    """Return the default as it would be written."""
    if field.default_factory is not None:
        return "computed"
    if isinstance(field.default, Path):  # its folder is this machine's
        return f"the {field.default.name} model"
    value = field.default
    if value is PydanticUndefined:
        return "**must be given**"
    if value in (None, "", ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if isinstance(value, int) and value >= MIB and value % MIB == 0:
        return f"`{value}` ({value // MIB} MiB)"
    return f"`{value:.12g}`" if isinstance(value, float) else f"`{value}`"


def allowed(field: FieldInfo) -> str:
    """Return the type or the choices, with the bounds."""
    bounds = []
    limits = {n: getattr(rule, n) for rule in field.metadata for n in SIGNS if hasattr(rule, n)}
    if limits.keys() == {"ge", "le"}:
        bounds.append(f"{limits['ge']:g} to {limits['le']:g}")
    else:
        bounds += [f"{SIGNS[name]} {limit:g}" for name, limit in limits.items()]
    for rule in field.metadata:
        if (pattern := getattr(rule, "pattern", None)) is not None:
            bounds.append(f"`{pattern}`")
        if (most := getattr(rule, "max_length", None)) is not None:
            bounds.append(f"≤ {most} characters")
    return ", ".join([spoken(field.annotation), *bounds])


def spoken(annotation: Any) -> str:
    """Return a type in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in parts)
    if origin in (Union, types.UnionType):
        return spoken(next(part for part in parts if part is not types.NoneType))
    if origin is tuple:
        return f"{spoken(parts[0])}, comma-separated"
    if origin is not None and hasattr(annotation, "__metadata__"):  # Annotated
        if any(type(extra).__name__ == "PathType" for extra in annotation.__metadata__):
            return "file"
        return spoken(parts[0])
    name = getattr(annotation, "__name__", str(annotation))
    return KINDS.get(name, name)


def meanings(kind: type[BaseSettings]) -> dict[str, str]:
    """Return the comments of a class' fields."""
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: " ".join(_of(node, comments))
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _of(node: ast.AnnAssign, comments: dict[int, tuple[str, bool]]) -> Iterator[str]:
    above = node.lineno - 1
    while above in comments and comments[above][1]:
        above -= 1
    for line in range(above + 1, (node.end_lineno or node.lineno) + 1):
        if line in comments:
            yield comments[line][0]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
