"""``sfumato tenants``: weights, quotas and deletion, directly in Redis.

It uses the Redis of ``SFUMATO_REDIS_URL``, or that of a running `sfumato up`.
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.redis.store import RedisStore
from jobs.tenants import TenantTerms
from service.api.tenant_purge import purge_tenant
from service.cli.keys import parse_tenant
from service.cli.store_command import (
    DEFAULT_DATA,
    DataOption,
    in_store,
    run_or_complain,
    store_settings,
)

app = typer.Typer(no_args_is_help=True, help=__doc__)
NameArgument = Annotated[str, typer.Argument(help="The tenant's name, as in its API keys.")]


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List the tenants that have their own terms or jobs that have not ended."""
    found = in_store(RedisStore, data, lambda store: store.tenants.all())
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    table = Table("tenant", "weight", "quota", "outstanding", "jobs", "terms", box=None)
    for each in found:
        table.add_row(
            each.name,
            f"{each.weight:g}",
            f"{each.max_units:.0f}" if each.max_units else "none",
            f"{each.outstanding_units:.0f}",
            str(each.open_jobs),
            "own" if each.listed else "default",
        )
    Console().print(table)


@app.command("set")
def set_command(
    name: NameArgument,
    weight: Annotated[
        float | None, typer.Option(help="Twice the weight gets twice the work done.")
    ] = None,
    max_units: Annotated[
        float | None, typer.Option(min=0, help="Units it may have outstanding; 0: no limit.")
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Set a tenant's terms; those not given are the defaults."""
    if weight is not None and not 0 < weight <= 1e6:
        raise typer.BadParameter("must be above 0 and at most 1000000", param_hint="--weight")
    terms = TenantTerms(name=parse_tenant(name), weight=weight, max_units=max_units)
    in_store(RedisStore, data, lambda store: store.tenants.set(terms))


@app.command("remove")
def remove_command(name: NameArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Reset a tenant to the default terms; its jobs stay."""
    in_store(RedisStore, data, lambda store: store.tenants.remove(name))


@app.command("purge")
def purge_command(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Revoke a tenant's keys and delete all its data: jobs, pictures, webhooks, terms."""
    tenant = parse_tenant(name)
    if not yes:
        typer.confirm(f"delete all data of tenant {tenant!r}?", abort=True)
    run_or_complain(purge_tenant(store_settings(data), tenant, typer.echo))
