"""Every field of a request at its bounds and beyond, from the schema that the door publishes."""

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

INTEGERS = (
    0, -1, 1, 2**31, 2**32 - 1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64,
)  # fmt: skip
NUMBERS = ("-0.0", "5e-324", "2.2250738585072014e-308", "1e308", "1e309", "-1e309", "0.1", "1e-7",
           "NaN", "Infinity", "9" * 400, "0." + "3" * 400)  # fmt: skip
PLANES = (
    "", " ", "\t\r\n", "\x00", "\x1b[31m", "\x7f", "\u0085", "\u2028\u2029", "\ufeff", "\uffff",
    "e\u0301", "\u202e\u2066", "\U0001f469\u200d\U0001f680", "\U0001d11e", "\U00020000",
    "\U000e0041", "\U0010ffff", "\ud800", "\udfff\ud83d", "[/b]", "{0}%s${x}", "'\"\\",
    "a\n\ndata: x",
)  # fmt: skip


class Raw:
    """A JSON text that no encoder would write."""

    def __init__(self, text: str) -> None:
        self.text = text


def bodies(schema: Schema, components: Schema) -> Iterator[tuple[str, str]]:
    """Yield JSON texts that differ from a plain request in one field, each with its name."""
    for name, field in schema["properties"].items():
        for value in values(field, components, depth=2):
            yield name, encode({"prompt": "a red apple", name: value})


def values(field: Schema, components: Schema, depth: int) -> Iterator[Any]:
    """Yield values for a field: good, at its bounds, one beyond, and of another type."""
    yield from (None, True, [], {}, "", 0, Raw("-0"))
    for kind in kinds(field, components):
        if "enum" in kind or "const" in kind:
            yield from kind.get("enum", [kind.get("const")])
        match kind.get("type"):
            case "integer":
                yield from INTEGERS
                yield from beside(kind, 1)
                yield Raw("1.0")
                yield Raw("1e0")
            case "number":
                yield from map(Raw, NUMBERS)
                yield from beside(kind, 1e-9)
            case "string":
                yield from strings(kind)
            case "array":
                yield from arrays(kind, components, depth)
            case "object":
                yield from objects(kind, components, depth)


def kinds(field: Schema, components: Schema) -> Iterator[Schema]:
    """Yield the simple schemas that a field may follow."""
    if "$ref" in field:
        yield from kinds(components[field["$ref"].rpartition("/")[2]], components)
    elif "anyOf" in field:
        for each in field["anyOf"]:
            yield from kinds(each, components)
    else:
        yield field


def beside(kind: Schema, step: float) -> Iterator[float]:
    """Yield a number's bounds with what lies just inside and outside."""
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if name in kind:
            yield from (kind[name] - step, kind[name], kind[name] + step)


def strings(kind: Schema) -> Iterator[str]:
    """Yield strings of every plane, alone and filled up to the longest and one beyond."""
    yield from PLANES
    longest = min(kind.get("maxLength", 300), 5000)
    for letter in ("a", "\u00e9", "\u8f6f", "\U0001f34e", "\x00"):
        yield letter * longest
        yield letter * (longest + 1)


def arrays(kind: Schema, components: Schema, depth: int) -> Iterator[list[Any]]:
    """Yield lists of each value of an item, and lists up to the longest and one beyond."""
    items = list(values(kind.get("items", {}), components, depth - 1)) if depth else []
    yield from ([item] for item in items)
    longest = kind.get("maxItems", 20)
    for item in items[:3]:
        yield [item] * longest
        yield [item] * (longest + 1)


def objects(kind: Schema, components: Schema, depth: int) -> Iterator[dict[str, Any]]:
    """Yield objects with each extreme in turn, and up to the most members and one beyond."""
    named = kind.get("properties", {})
    plain = {name: "https://127.0.0.1/" for name in kind.get("required", ())}
    for name, field in named.items() if depth else ():
        for value in values(field, components, depth - 1):
            yield plain | {name: value}
    if "additionalProperties" in kind and not named:
        for text in PLANES:
            yield {text: text}
            yield {"key": text}
        most = kind.get("maxProperties", 32)
        for count in (most, most + 1):
            yield {f"key{number}": "x" * 512 for number in range(count)}
        yield {"k" * 64: "v" * 512}
        yield {"k" * 65: "v" * 513}


def encode(value: Any) -> str:
    """Return JSON, lone surrogates as escapes and raw texts as they are."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{encode(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encode, value)) + "]"
    return json.dumps(value)


def plain(value: Any) -> str | None:
    """Return a value as a URL or a header carries it, None where neither can."""
    text = value.text if isinstance(value, Raw) else str(value)
    return None if any(0xD800 <= ord(letter) < 0xE000 for letter in text) else text
