"""``sfumato tenants``: weights, quotas and deletion, directly in Redis.

It uses the Redis of ``SFUMATO_REDIS_URL``, or that of a running `sfumato up`.
"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.redis.store import RedisStore
from jobs.tenants import TenantTerms
from service.api.tenant_purge import purge_tenant
from service.cli.operators.keys import parse_tenant
from service.cli.operators.store_command import (
    DEFAULT_DATA,
    DataOption,
    in_store,
    run_or_complain,
    store_settings,
)
from service.cli.shared.options import JsonOption
from service.cli.shared.table import print_table

app = typer.Typer(no_args_is_help=True, help="Weights, quotas and deletion, directly in Redis.")
NameArgument = Annotated[str, typer.Argument(help="The tenant's name, as in its API keys.")]


@app.command("list")
def list_command(
    as_json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List the tenants that have their own terms or jobs that have not ended."""
    found = in_store(RedisStore, data, lambda store: store.tenants.all())
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    print_table(
        ("tenant", "weight", "quota", "outstanding", "jobs", "terms"),
        [
            (
                each.name,
                f"{each.weight:g}",
                f"{each.max_units:.0f}" if each.max_units else "none",
                f"{each.outstanding_units:.0f}",
                each.open_jobs,
                "own" if each.listed else "default",
            )
            for each in found
        ],
    )


@app.command("set")
def set_command(
    name: NameArgument,
    weight: Annotated[
        float | None, typer.Option(help="Twice the weight gets twice the work done.")
    ] = None,
    max_units: Annotated[
        float | None, typer.Option(help="Units it may have outstanding; 0: no limit.")
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Set a tenant's terms; those not given are the defaults."""
    if weight is not None and not 0 < weight <= 1e6:
        raise typer.BadParameter("must be above 0 and at most 1000000", param_hint="--weight")
    if max_units is not None and not 0 <= max_units <= 1e15:
        raise typer.BadParameter("must be 0 to 1e15", param_hint="--max-units")
    terms = TenantTerms(name=parse_tenant(name), weight=weight, max_units=max_units)
    in_store(RedisStore, data, lambda store: store.tenants.set(terms))


@app.command("remove")
def remove_command(name: NameArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Reset a tenant to the default terms; its jobs stay."""
    tenant = parse_tenant(name)
    in_store(RedisStore, data, lambda store: store.tenants.remove(tenant))


@app.command("purge")
def purge_command(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Revoke a tenant's keys and delete all its data: jobs, images, webhooks, terms."""
    tenant = parse_tenant(name)
    if not yes:
        typer.confirm(f"delete all data of tenant {tenant!r}?", abort=True)
    run_or_complain(purge_tenant(store_settings(data), tenant, typer.echo))
