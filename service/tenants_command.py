"""``sfumato tenants``: weights, quotas and deletion, straight in Redis, with API keys or without.

It talks to the Redis of ``SFUMATO_REDIS_URL``, or to that of a running `sfumato up`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from jobs.redis_store import RedisStore
from jobs.tenants import TenantLoad, Tenants, TenantTerms
from service.keys_command import parse_tenant
from service.store_command import DEFAULT_DATA, DataOption, run_or_complain, store_settings
from service.tenant_purge import purge_tenant

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help=__doc__)
NameArgument = Annotated[str, typer.Argument(help="The tenant, as its API keys name it.")]


def with_tenants(data: Path, act: Callable[[Tenants], Awaitable[T]]) -> T:
    """Do something with the tenants; an error ends the command with one line."""

    async def run() -> T:
        store = RedisStore(store_settings(data))
        try:
            return await act(store.tenants)
        finally:
            await store.close()

    return run_or_complain(run())


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List the tenants that have terms of their own or jobs that have not ended."""
    found = with_tenants(data, lambda tenants: tenants.all())
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    table = Table("tenant", "weight", "quota", "outstanding", "jobs", "terms", box=None)
    for each in found:
        table.add_row(*_row(each))
    Console().print(table)


def _row(load: TenantLoad) -> tuple[str, ...]:
    return (
        load.name,
        f"{load.weight:g}",
        f"{load.max_units:.0f}" if load.max_units else "none",
        f"{load.outstanding_units:.0f}",
        str(load.open_jobs),
        "own" if load.listed else "default",
    )


@app.command("set")
def set_command(
    name: NameArgument,
    weight: Annotated[
        float | None, typer.Option(help="Twice the weight, twice the units; the default.")
    ] = None,
    max_units: Annotated[
        float | None,
        typer.Option(min=0, help="Units it may have outstanding, 0: no bound; the default."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Give a tenant terms of its own, in the place of those it had."""
    if weight is not None and not 0 < weight <= 1e6:
        raise typer.BadParameter("a weight is above 0, 1000000 at most", param_hint="--weight")
    terms = TenantTerms(name=parse_tenant(name), weight=weight, max_units=max_units)
    with_tenants(data, lambda tenants: tenants.set(terms))


@app.command("remove")
def remove_command(name: NameArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Put a tenant back on the defaults; its jobs stay."""
    with_tenants(data, lambda tenants: tenants.remove(name))


@app.command("purge")
def purge_command(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Revoke a tenant's keys and delete all that is kept of it: jobs, pictures, webhooks, terms."""
    tenant = parse_tenant(name)
    if not yes:
        typer.confirm(f"delete everything that is kept of tenant {tenant!r}?", abort=True)
    run_or_complain(purge_tenant(store_settings(data), tenant, typer.echo))
