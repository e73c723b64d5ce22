"""What a JSON schema allows, in one line of Markdown."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def target(name: str) -> str:
    """Return the anchor of a schema's section."""
    return f"schema-{name.lower().replace('_', '-')}"


def name_of(reference: str) -> str:
    """Return the name of the schema that a ``$ref`` points to."""
    return reference.rpartition("/")[2]


def title_of(name: str) -> str:
    """Return a schema's name for readers, without the module that FastAPI puts before it.

    Modules are named where two schemas have one name; their page says which one it is.
    """
    return name.rpartition("__")[2]


def values(schema: Schema) -> str:
    """Return the values that a field may have."""
    if "$ref" in schema:
        name = name_of(schema["$ref"])
        return f"[{title_of(name)}](#{target(name)})"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return ", or ".join(values(each) for each in schema[union])
    if "allOf" in schema:
        return values(schema["allOf"][0])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    return _plain(schema)


def _plain(schema: Schema) -> str:
    kind: str = schema.get("type", "any")
    if kind == "array":
        return _joined(f"array of {values(schema.get('items', {}))}", _sizes(schema, "Items", ""))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {values(schema['additionalProperties'])}"
    text: str = schema.get("format", kind) if kind == "string" else kind
    return _joined(text, _sizes(schema, "Length", " characters"), _range(schema), _pattern(schema))


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _sizes(schema: Schema, what: str, unit: str) -> str:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least and most:
        return f"{least} to {most}{unit}"
    if most:
        return f"at most {most}{unit}"
    return f"at least {least}{unit}" if least else ""


def _range(schema: Schema) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {schema[key]:g}" for key, sign in words.items() if key in schema)


def _pattern(schema: Schema) -> str:
    return f"`{schema['pattern']}`" if "pattern" in schema else ""


def references(value: Any) -> Iterator[str]:
    """Yield the names of the schemas that a part of the document points to, in its order."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield name_of(value["$ref"])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)
