"""`doorbuster token …`: tokens for those who run the shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from serve_apps.identity import OPERATOR_DAYS_MAX, Identities
from serve_apps.settings import Settings

_errors = Console(stderr=True)

token_app = typer.Typer(
    name="token", help="Tokens for those who run the shop.", no_args_is_help=True
)


@token_app.callback()
def _group() -> None:
    """A group, though it has one command so far."""


@token_app.command()
def operator(
    name: Annotated[str, typer.Argument(help="Who it is for; decisions are journaled by it.")],
    days: Annotated[
        int, typer.Option("--days", min=1, max=OPERATOR_DAYS_MAX, help="How long it holds.")
    ] = 30,
    home: Annotated[Path | None, typer.Option("--home", help="Folder of the shop's data.")] = None,
) -> None:
    """Print a token for an operator, alone on stdout: for reviews, refunds and what moves money.

    Whoever has it is the operator until it ends; only another DOORBUSTER_SECRET ends all at once.
    """
    settings = Settings(home=home) if home is not None else Settings()
    # A shop elsewhere would not know a key that is made here and now.
    if not settings.secret and not (settings.home / "secret").exists():
        _fail(f"there is no shop in {settings.home}; name its home, or set DOORBUSTER_SECRET")
    try:
        typer.echo(Identities(settings.signing_key()).issue_operator(name, days=days))
    except ValueError as error:
        _fail(str(error))


def _fail(message: str) -> None:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
