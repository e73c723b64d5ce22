"""``sfumato webhooks``: the tenants' signing secrets, directly in Redis."""

import json
from typing import Annotated

import typer

from service.cli.operators.keys import parse_length, parse_tenant
from service.cli.operators.store_command import (
    DEFAULT_DATA,
    DataOption,
    run_or_complain,
    store_settings,
)
from service.cli.shared.options import JsonOption
from service.webhooks.secrets import WebhookSecrets

app = typer.Typer(no_args_is_help=True, help="The secrets that sign webhooks, directly in Redis.")


@app.callback()
def webhooks() -> None:
    """Show and rotate the secrets that webhooks are signed with."""


@app.command("secret")
def secret_command(
    tenant: Annotated[str, typer.Argument(help="The tenant.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Create a new secret.")] = False,
    overlap: Annotated[str, typer.Option(help="How long the old one stays valid.")] = "24h",
    as_json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print a tenant's secrets, newest first."""
    name, lasting = parse_tenant(tenant), parse_length(overlap) or 0.0

    async def read() -> tuple[str, ...]:
        kept = WebhookSecrets(store_settings(data))
        try:
            if rotate:
                await kept.rotate(name, lasting)
            return await kept.of(name)
        finally:
            await kept.close()

    secrets = run_or_complain(read())
    print(json.dumps(secrets, indent=2) if as_json else "\n".join(secrets))
