"""What a part's configuration may say: no key that changes the images is passed over.

A table names each key of a part. A key is honoured within bounds, harmless, or refused unless it is
at the value that changes nothing. A key that is in no table is refused, for nobody knows what it
does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True)
class Key:
    """The values that one key may have."""

    fits: Callable[[Any], bool]
    wanted: str  # in words
    required: bool = False

    @property
    def needed(self) -> "Key":
        """Return the same key as one that has to be there."""
        return replace(self, required=True)

    @property
    def nullable(self) -> "Key":
        """Return the same key as one that may be null."""
        return replace(
            self, fits=lambda v: v is None or self.fits(v), wanted=f"{self.wanted} or null"
        )


Table = Mapping[str, Key]
HARMLESS = Key(lambda _: True, "anything")
"""It changes no image, or what it says is the job's to choose."""
FLAG = Key(lambda value: isinstance(value, bool), "true or false")
WORD = Key(lambda value: isinstance(value, str) and 0 < len(value) < 200, "a word")


def only(*values: object) -> Key:
    """Return a key of which nothing but these values is served; 1 is not true."""
    words = ", ".join("null" if value is None else repr(value) for value in values)
    return Key(lambda v: any(type(v) is type(each) and v == each for each in values), words)


def whole(low: int, high: int) -> Key:
    """Return a key that takes integers from ``low`` to ``high``."""
    return Key(lambda v: type(v) is int and low <= v <= high, f"an integer from {low} to {high}")


def number(low: float, high: float) -> Key:
    """Return a key that takes numbers from ``low`` to ``high``."""

    def fits(value: object) -> bool:
        return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]

    return Key(fits, f"a number from {low:g} to {high:g}")


def each(key: Key, most: int = 32) -> Key:
    """Return a key that takes a list of what another one takes."""

    def fits(value: object) -> bool:
        return isinstance(value, list) and 0 < len(value) <= most and all(map(key.fits, value))

    return Key(fits, f"a list of 1 to {most}, each {key.wanted}")


def either(*keys: Key) -> Key:
    """Return a key that takes what one of these takes."""
    return Key(
        lambda value: any(key.fits(value) for key in keys), " or ".join(key.wanted for key in keys)
    )


def fault(config: Mapping[str, Any], table: Table) -> str | None:
    """Return what is wrong with a configuration in one line, None if all of it can be honoured.

    Keys with a leading underscore are notes of the library that wrote it.
    """
    for name, key in table.items():
        if key.required and name not in config:
            return f"does not say {name}"
    for name, value in config.items():
        if name.startswith("_") and name not in table:
            continue
        if name not in table:
            return f"the key {shown(name)} is unknown; it might change the images"
        if not table[name].fits(value):
            return f"{name} {shown(value)} is not served, only {table[name].wanted}"
    return None


def shown(value: object) -> str:
    """Return a value for a message: on one line and not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
