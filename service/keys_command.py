"""``sfumato keys``: API keys, straight in Redis, so that the first one needs no door.

It talks to the Redis of ``SFUMATO_REDIS_URL``, or to that of a running `sfumato up`.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from jobs.schema import Tenant
from service.api_key import ApiKey
from service.durations import seconds
from service.key_store import KeyStore
from service.scope import Scope
from service.store_command import DEFAULT_DATA, DataOption, run_or_complain, store_settings

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help=__doc__)


def with_keys(data: Path, act: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Do something with the keys; an error ends the command with one line."""

    async def run() -> T:
        store = KeyStore(store_settings(data))
        try:
            return await act(store)
        finally:
            await store.close()

    return run_or_complain(run())


def parse_tenant(text: str) -> str:
    """Return a tenant's name. Raises: typer.BadParameter."""
    try:
        return str(TypeAdapter(Tenant).validate_python(text))
    except ValidationError as error:
        detail = f"{text!r} is not a tenant's name: a-z, 0-9, '_', '.', '-', 64 characters at most"
        raise typer.BadParameter(detail) from error


def parse_length(text: str | None) -> float | None:
    """Return a length of time in seconds. Raises: typer.BadParameter."""
    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("create")
def create_command(
    tenant: Annotated[str, typer.Argument(help="Whose jobs the key is for.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; repeatable.")] = None,
    label: Annotated[str, typer.Option(help="A note for people.")] = "",
    expires: Annotated[str | None, typer.Option(help="After 90d, 12h, 30m …; never.")] = None,
    rate_limit: Annotated[
        int | None, typer.Option(min=1, help="Requests a window; the service's own.")
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    lasting = parse_length(expires)
    name, scopes = parse_tenant(tenant), frozenset(scope or [Scope.JOBS])
    expires_at = None if lasting is None else time.time() + lasting
    key, text = with_keys(
        data,
        lambda store: store.create(
            name, scopes, label=label[:200], expires_at=expires_at, rate_limit=rate_limit
        ),
    )
    _tell(key, text)


@app.command("list")
def list_command(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List keys; their secrets are not known."""
    keys = with_keys(data, lambda store: store.all(tenant))
    if as_json:
        print(json.dumps([_public(key) for key in keys], indent=2))
        return
    table = Table("id", "tenant", "scopes", "label", "created", "expires", "last used", box=None)
    for key in keys:
        table.add_row(
            key.id, key.tenant, " ".join(sorted(key.scopes)), key.label,
            _date(key.created_at), _date(key.expires_at), _date(key.last_used_at),
        )  # fmt: skip
    Console().print(table)


@app.command("rotate")
def rotate_command(
    key_id: Annotated[str, typer.Argument(help="From `sfumato keys list`.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret stays good.")] = "24h",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Give a key a new secret and print it; until the overlap ends both are good."""
    lasting = parse_length(overlap) or 0.0
    key, text = with_keys(data, lambda store: store.rotate(key_id, lasting))
    _tell(key, text)


@app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(help="From `sfumato keys list`.")],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Forget a key; doors that have just seen it take it for two seconds more."""
    with_keys(data, lambda store: store.revoke(key_id))
    print(f"revoked {key_id}", file=sys.stderr)


def _tell(key: ApiKey, text: str) -> None:
    scopes = ", ".join(sorted(key.scopes))
    print(f"key {key.id} of {key.tenant} ({scopes}); it is shown only now:", file=sys.stderr)
    print(text)


def _public(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "label": key.label,
        "scopes": sorted(key.scopes),
        "created_at": _date(key.created_at),
        "expires_at": _date(key.expires_at) or None,
        "previous_secret_until": _date(key.previous_until) if key.previous_until else None,
        "rate_limit": key.rate_limit,
        "last_used_at": _date(key.last_used_at) or None,
    }


def _date(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
