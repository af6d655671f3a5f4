"""`doorbuster token …`: tokens for those who run the shop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape

from domain.ports import Unavailable
from serve_apps.identity import OPERATOR_DAYS_MAX, OPERATOR_NAME, Identities
from serve_apps.settings import Settings
from serve_apps.stock_in_commands import By, Home, Reason, on_databases, settings_of
from storage.operator_revocations import OperatorRevocations, Revocation

_TEXT_MAX = 200
_errors = Console(stderr=True)

token_app = typer.Typer(
    name="token", help="Tokens for those who run the shop.", no_args_is_help=True
)


@token_app.command()
def operator(
    name: Annotated[str, typer.Argument(help="Who it is for; decisions are journaled by it.")],
    days: Annotated[
        int, typer.Option("--days", min=1, max=OPERATOR_DAYS_MAX, help="How long it holds.")
    ] = 30,
    home: Annotated[Path | None, typer.Option("--home", help="Folder of the shop's data.")] = None,
) -> None:
    """Print a token for an operator, alone on stdout: for reviews, refunds and what moves money.

    Whoever has it is the operator until it ends or is revoked (`doorbuster token revoke`).
    """
    settings = Settings(home=home) if home is not None else Settings()
    # A shop elsewhere would not know a key that is made here and now.
    if not settings.secret and not (settings.home / "secret").exists():
        _fail(f"there is no shop in {settings.home}; name its home, or set DOORBUSTER_SECRET")
    try:
        typer.echo(Identities(settings.signing_key()).issue_operator(name, days=days))
    except ValueError as error:
        _fail(str(error))


@token_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose tokens.")],
    by: By,
    reason: Reason = "",
    home: Home = None,
) -> None:
    """Refuse all tokens of an operator that were made until now; new ones are good again."""
    if not OPERATOR_NAME.fullmatch(name):
        _fail(f"{name[:80]!r} cannot name an operator; nothing was revoked")
    if len(reason) > _TEXT_MAX or not 0 < len(by) <= _TEXT_MAX:
        _fail(f"who and why take 1 to {_TEXT_MAX} characters; nothing was revoked")
    revocation = Revocation(
        name=name, issued_to=datetime.now(UTC), revoked_by=by, reason=reason.strip()
    )
    _on_books(home, lambda revocations: revocations.revoke(revocation))
    _errors.print(f"tokens of {name} that were made until now are refused", highlight=False)


@token_app.command()
def revoked(home: Home = None) -> None:
    """What was revoked, the newest first."""
    for one in _on_books(home, lambda revocations: revocations.listed()):
        told = f"{one.issued_to.isoformat(timespec='seconds')}  {one.name}  by {one.revoked_by}"
        typer.echo(f"{told}  {one.reason}".rstrip())


def _on_books(home: Path | None, work: Callable[[OperatorRevocations], Awaitable[Any]]) -> Any:
    try:
        return on_databases(settings_of(home), lambda parts: work(OperatorRevocations(parts.pool)))
    except (Unavailable, asyncpg.PostgresError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
