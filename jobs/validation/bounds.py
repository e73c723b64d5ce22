"""Bounds on a request's collections that hold before any of their members is looked at.

Validation reports every bad member: a list of half a million would cost seconds to refuse.
"""

from collections.abc import Sized
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

SPARE_FIELDS = 16
"""Unknown fields that are each reported; more of them are refused together."""


def at_most(count: int) -> BeforeValidator:
    """Return a validator that refuses a collection of more than ``count`` members unread."""

    def check(value: Any) -> Any:
        if isinstance(value, Sized) and not isinstance(value, str) and len(value) > count:
            raise _too_long(count, len(value), "members")
        return value

    return BeforeValidator(check)


class KnownFields(BaseModel):
    """Part of a body: unknown fields are rejected, a great many of them unread."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, data: Any) -> Any:
        most = len(cls.model_fields) + SPARE_FIELDS
        if isinstance(data, dict) and len(data) > most:
            raise _too_long(most, len(data), "fields")
        return data


class BoundedRequest(KnownFields):
    """Part of a request of our own API, whose values have the very types that they should."""

    model_config = ConfigDict(frozen=True, strict=True)


def _too_long(most: int, given: int, what: str) -> PydanticCustomError:
    text = "at most {most} {what} are allowed, not {given}"
    return PydanticCustomError("too_long", text, {"most": most, "given": given, "what": what})
