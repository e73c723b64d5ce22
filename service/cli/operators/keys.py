"""``sfumato keys``: API keys, directly in Redis, so that the first one needs no door.

It uses the Redis of ``SFUMATO_REDIS_URL``, or that of a running `sfumato up`.
"""

import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from jobs.schema import Priority, Tenant
from jobs.telemetry.text import shown
from service.auth.api_key import ApiKey
from service.auth.key_store import DEFAULT_PRIORITIES, KeyStore
from service.auth.scope import Scope
from service.cli.operators.store_command import DEFAULT_DATA, DataOption, in_store
from service.cli.shared.options import JsonOption
from service.cli.shared.table import print_table

app = typer.Typer(
    no_args_is_help=True, help="Manage API keys, directly in Redis: no door need be running."
)
MAX_LABEL = 200
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_tenant(text: str) -> str:
    """Return a tenant's name. Raises: typer.BadParameter."""
    try:
        return str(TypeAdapter(Tenant).validate_python(text))
    except ValidationError as error:
        detail = f"{text!r} is not a tenant's name: a-z, 0-9, '_', '.', '-', at most 64 characters"
        raise typer.BadParameter(detail) from error


def parse_length(text: str | None) -> float | None:
    """Return a length of time (``90d``, ``12h``, ``30m``, ``45s``) in seconds.

    Raises:
        typer.BadParameter: this is not one.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        detail = f"{text!r} is not a length of time, like 90d, 12h, 30m or 45s"
        raise typer.BadParameter(detail)
    return int(match[1]) * _SECONDS[match[2]]


@app.command("create")
def create_command(
    tenant: Annotated[str, typer.Argument(help="The tenant whose jobs the key is for.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it permits; repeatable.")] = None,
    label: Annotated[str, typer.Option(help="A note for people.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(help="Lifetime, like 90d, 12h or 30m; without it the key never expires."),
    ] = None,
    rate_limit: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="Requests per window, instead of the default."),
    ] = None,
    priority: Annotated[
        list[Priority] | None,
        typer.Option(
            help="A class that its jobs may ask for; repeatable. Default: normal and low. "
            "Operators may ask for any."
        ),
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Create a key and print it; it cannot be shown again."""
    lifetime_s = parse_length(expires)
    if lifetime_s == 0:
        raise typer.BadParameter("the key would have expired at once", param_hint="--expires")
    if len(label) > MAX_LABEL:
        raise typer.BadParameter(f"has more than {MAX_LABEL} characters", param_hint="--label")
    name, scopes = parse_tenant(tenant), frozenset(scope or [Scope.JOBS])
    priorities = frozenset(priority) if priority else DEFAULT_PRIORITIES
    expires_at = None if lifetime_s is None else time.time() + lifetime_s
    key, text = in_store(
        KeyStore,
        data,
        lambda store: store.create(
            name,
            scopes,
            label=label,
            expires_at=expires_at,
            rate_limit=rate_limit,
            priorities=priorities,
        ),
    )
    _print(key, text, as_json=as_json)


@app.command("list")
def list_command(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    as_json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List keys, without their secrets."""
    named = None if tenant is None else parse_tenant(tenant)
    keys = in_store(KeyStore, data, lambda store: store.all(named))
    if as_json:
        print(json.dumps([_public(key) for key in keys], indent=2))
        return
    print_table(
        ("id", "tenant", "scopes", "priorities", "label", "created", "expires", "last used"),
        [
            (
                key.id, key.tenant, " ".join(sorted(key.scopes)), _classes(key), key.label,
                _date(key.created_at), _date(key.expires_at), _date(key.last_used_at),
            )
            for key in keys
        ],
    )  # fmt: skip


@app.command("rotate")
def rotate_command(
    key_id: Annotated[str, typer.Argument(help="From `sfumato keys list`.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret stays valid.")] = "24h",
    as_json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Give a key a new secret and print it; both are valid until the overlap ends."""
    overlap_s = parse_length(overlap) or 0.0
    key, text = in_store(KeyStore, data, lambda store: store.rotate(key_id, overlap_s))
    _print(key, text, as_json=as_json)


@app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(help="From `sfumato keys list`.")],
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Delete a key; doors that have just looked it up accept it for two more seconds."""
    in_store(KeyStore, data, lambda store: store.revoke(key_id))
    print(f"revoked {shown(key_id)}", file=sys.stderr)


def _print(key: ApiKey, text: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_public(key) | {"key": text}, indent=2))
        return
    scopes = ", ".join(sorted(key.scopes))
    print(f"key {key.id} of {key.tenant} ({scopes}), shown only once:", file=sys.stderr)
    print(text)


def _public(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "label": key.label,
        "scopes": sorted(key.scopes),
        "priorities": _classes(key).split(),
        "created_at": _date(key.created_at),
        "expires_at": _date(key.expires_at) or None,
        "previous_secret_until": _date(key.previous_until) if key.previous_until else None,
        "rate_limit": key.rate_limit,
        "last_used_at": _date(key.last_used_at) or None,
    }


def _classes(key: ApiKey) -> str:
    allowed = Priority if Scope.OPERATOR in key.scopes else key.priorities
    return " ".join(each for each in Priority if each in allowed)


def _date(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
