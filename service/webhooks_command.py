"""``sfumato webhooks``: each tenant's signing secret, straight in Redis."""

import asyncio
from typing import Annotated

import typer

from jobs.errors import JobsError
from service.keys_command import (
    DEFAULT_DATA,
    DataOption,
    parse_length,
    parse_tenant,
    store_settings,
)
from service.terminal import complain
from service.webhook_secrets import WebhookSecrets

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.callback()
def webhooks() -> None:
    """Look after the secrets that webhooks are signed with."""


@app.command("secret")
def secret_command(
    tenant: Annotated[str, typer.Argument(help="Whose webhooks.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one.")] = False,
    overlap: Annotated[str, typer.Option(help="How long the old one signs beside it.")] = "24h",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print a tenant's secrets, the newest first."""
    name, lasting = parse_tenant(tenant), parse_length(overlap) or 0.0

    async def read() -> tuple[str, ...]:
        kept = WebhookSecrets(store_settings(data))
        try:
            if rotate:
                await kept.rotate(name, lasting)
            return await kept.of(name)
        finally:
            await kept.close()

    try:
        for secret in asyncio.run(read()):
            print(secret)
    except JobsError as error:
        complain(str(error))
        raise typer.Exit(1) from error
