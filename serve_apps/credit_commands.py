"""`doorbuster credit …`: gift cards, store credit, customers on invoice, from the command line.

All of it works on the shop's database, whether the shop is open or closed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, cast, get_args
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape

from domain import ids
from domain.gift_cards import CODE_LENGTH, LAST_SHOWN, code_hash, last_day, new_code
from domain.money import MoneyError, amount_text, parse_wire
from domain.ports import Unavailable
from serve_apps.composition import new_id
from serve_apps.credit_app import invoice_name, order_name
from serve_apps.credit_parts import credit_accounts, gift_card_key
from serve_apps.identity import PREFIX
from serve_apps.stock_in_commands import (
    By,
    Home,
    Reason,
    fail,
    on_databases,
    say_none,
    settings_of,
)
from storage.credit_accounts import CreditAccounts, GiftCard, InvoiceStatus

_TEXT_MAX = 500
_DIGITS_MAX = 18
_INVOICE = re.compile(rf"(?:INV-)?0*([0-9]{{1,{_DIGITS_MAX}}})", re.IGNORECASE)
_errors = Console(stderr=True)

credit_app = typer.Typer(
    name="credit",
    help="Gift cards, store credit, customers who pay on invoice.",
    no_args_is_help=True,
)
_cards = typer.Typer(name="giftcard", help="Gift cards.", no_args_is_help=True)
_invoices = typer.Typer(name="invoices", help="What customers owe.", no_args_is_help=True)

Currency = Annotated[str, typer.Option("--currency", help="ISO 4217 code.")]
User = Annotated[str, typer.Argument(help="The customer: user_… or a UUID.")]
Amount = Annotated[str, typer.Argument(help="In major units, such as 12.99.")]
Card = Annotated[
    str, typer.Argument(help="The card's number as told at issue, or its code. Shells keep codes.")
]
Invoice = Annotated[str, typer.Argument(help="Its number: INV-000042 or 42.")]


def _accounts(home: Path | None, work: Callable[[CreditAccounts], Awaitable[Any]]) -> Any:
    """`work` on the ledger of the shop in this home; a refusal ends the command."""
    try:
        return on_databases(settings_of(home), lambda parts: work(credit_accounts(parts.pool)))
    except (Unavailable, MoneyError, asyncpg.PostgresError) as error:
        fail(str(error))


def customer_of(text: str) -> str:
    """A customer as the ledger names it: the UUID's text. Ends the command if it is none."""
    try:
        user_id = ids.decode(PREFIX, text) if text.startswith(PREFIX) else UUID(text)
    except ValueError:
        fail(f"{text[:80]!r} names no customer; give user_… or a UUID")
    return str(user_id)


def _minor(amount: str, currency: str) -> int:
    try:
        return parse_wire(amount, currency)
    except MoneyError as error:
        fail(str(error))


def _check_who(by: str, reason: str) -> None:
    if not 0 < len(by) <= _TEXT_MAX or len(reason) > _TEXT_MAX:
        fail(f"who and why take 1 to {_TEXT_MAX} characters")


def _say(text: str) -> None:
    Console().print(escape(text), highlight=False, soft_wrap=True)


# -- gift cards ----------------------------------------------------------------------------------


@_cards.command("issue")
def issue(
    amount: Amount,
    by: By,
    currency: Currency = "USD",
    present: Annotated[
        bool, typer.Option("--present", help="Given away; else it was sold for cash.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Last day it is good: YYYY-MM-DD (UTC).")
    ] = None,
    reason: Reason = "",
    home: Home = None,
) -> None:
    """Issue a card. Its code is printed once, alone on stdout, and is kept nowhere."""
    _check_who(by, reason)
    minor, expires_at = _minor(amount, currency), _end_of(expires)
    code = new_code(secrets.randbelow)
    hashed = code_hash(gift_card_key(settings_of(home)), code)
    assert hashed is not None

    number = _accounts(
        home,
        lambda accounts: accounts.issue_gift_card(
            code_hash=hashed,
            last_four=code[-LAST_SHOWN:],
            amount_minor=minor,
            currency=currency,
            origin="given" if present else "sold",
            expires_at=expires_at,
            actor=by,
            reason=reason,
        ),
    )
    _errors.print(f"gift card {number} over {amount_text(minor, currency)}; its code, this once:")
    _say(code)


@_cards.command("show")
def show(card: Card, home: Home = None) -> None:
    """What is on a card and what became of it."""
    found = _accounts(home, lambda accounts: _find(accounts, card, home))
    held = f", {amount_text(found.held_minor, found.currency)} held" if found.held_minor else ""
    state = _state(found)
    _say(
        f"gift card {found.account_id} (…{found.last_four}): {state},"
        f" {amount_text(found.balance_minor, found.currency)}"
        f" of {amount_text(found.amount_minor, found.currency)} left{held};"
        f" {found.origin} {found.issued_at:%Y-%m-%d},"
        + (f" good until {last_day(found.expires_at)}" if found.expires_at else " never expires")
    )


@_cards.command("block")
def block(
    card: Card,
    undo: Annotated[bool, typer.Option("--undo", help="Let it be used again.")] = False,
    home: Home = None,
) -> None:
    """No new payment from a card. What is held for orders under way goes on."""

    async def work(accounts: CreditAccounts) -> int:
        found = await _find(accounts, card, home)
        await accounts.block_gift_card(found.account_id, blocked=not undo)
        return found.account_id

    number = _accounts(home, work)
    _say(f"gift card {number} is {'in use again' if undo else 'blocked'}")


async def _find(accounts: CreditAccounts, card: str, home: Path | None) -> GiftCard:
    if card.isascii() and card.isdigit() and len(card) <= _DIGITS_MAX:
        found = await accounts.gift_card(number=int(card))
    else:
        hashed = code_hash(gift_card_key(settings_of(home)), card)
        found = None if hashed is None else await accounts.gift_card(code_hash=hashed)
    if found is None:
        fail(f"there is no such gift card; give its number or its {CODE_LENGTH} letters")
    return found


def _state(card: GiftCard) -> str:
    if card.blocked_at is not None:
        return "blocked"
    expired = card.expires_at is not None and card.expires_at <= datetime.now(UTC)
    return "expired" if expired else "active"


def _end_of(day: str | None) -> datetime | None:
    """The end of a day, UTC."""
    if day is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        fail(f"--expires {day} is no day; write YYYY-MM-DD")


# -- store credit and terms ----------------------------------------------------------------------


@credit_app.command()
def grant(
    user: User,
    amount: Amount,
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed.")],
    currency: Currency = "USD",
    home: Home = None,
) -> None:
    """Give a customer store credit."""
    _check_who(by, reason)
    if not reason.strip():
        fail("a grant needs a --reason")
    customer, minor, grant_id = customer_of(user), _minor(amount, currency), str(new_id())
    balance = _accounts(
        home,
        lambda accounts: accounts.grant(
            grant_id, customer, minor, currency, actor=by, reason=reason
        ),
    )
    _say(f"{user} has {amount_text(balance, currency)} of store credit")


@credit_app.command()
def terms(
    user: User,
    by: By,
    limit: Annotated[str, typer.Option("--limit", help="The most that may be owed.")],
    currency: Currency = "USD",
    net_days: Annotated[
        int, typer.Option("--net-days", min=0, max=365, help="Days until an invoice is due.")
    ] = 30,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="No new invoices; open ones stay.")
    ] = False,
    home: Home = None,
) -> None:
    """Approve a customer to pay on invoice, or change or end it."""
    _check_who(by, "")
    customer, minor = customer_of(user), _minor(limit, currency)
    _accounts(
        home,
        lambda accounts: accounts.set_terms(
            customer,
            limit_minor=minor,
            currency=currency,
            net_days=net_days,
            approved=not revoke,
            actor=by,
        ),
    )
    may = "may not pay on invoice" if revoke else "may pay on invoice"
    _say(f"{user} {may}: limit {amount_text(minor, currency)}, net {net_days} days")


# -- invoices ------------------------------------------------------------------------------------


@_invoices.command("list")
def list_(
    status: Annotated[str, typer.Option(help="open, overdue, settled or all.")] = "open",
    user: Annotated[str | None, typer.Option("--user", help="Of this customer only.")] = None,
    home: Home = None,
) -> None:
    """Invoices, soonest due first."""
    if status not in get_args(InvoiceStatus):
        fail(f"--status is {', '.join(get_args(InvoiceStatus))}, not {status}")
    wanted = cast(InvoiceStatus, status)
    customer = None if user is None else customer_of(user)
    found = _accounts(home, lambda accounts: accounts.invoices(wanted, customer=customer))
    if not found:
        which = "invoices" if wanted == "all" else f"{wanted} invoices"
        say_none(which + (f" of {user[:80]}" if user else ""))
    for one in found:
        currency, lost = one["currency"], one["written_off_minor"]
        _say(
            f"{invoice_name(one['number'])}  due {one['due_on']}"
            f"  {amount_text(one['open_minor'], currency):>18} open of"
            f" {amount_text(one['amount_minor'], currency)}"
            f"  {order_name(one['order_id']) or 'no order'}  {_user(one['customer'])}"
            + (f"  {amount_text(lost, currency)} written off" if lost else "")
        )


@_invoices.command("pay")
def pay(
    number: Invoice,
    by: By,
    amount: Annotated[
        str | None, typer.Option("--amount", help="A part; else all that is open.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="How it came, for the books.")] = "",
    home: Home = None,
) -> None:
    """Money has come in for an invoice."""
    _check_who(by, reason)
    wanted, payment_id = _number(number), str(new_id())

    async def work(accounts: CreditAccounts) -> tuple[int, str]:
        currency = await accounts.currency_of_invoice(wanted)
        minor = None if amount is None else _minor(amount, currency)
        open_minor = await accounts.pay_invoice(
            wanted, payment_id, amount_minor=minor, actor=by, reason=reason
        )
        return open_minor, currency

    _say_open(wanted, *_accounts(home, work))


@_invoices.command("write-off")
def write_off(
    number: Invoice,
    by: By,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed.")],
    home: Home = None,
) -> None:
    """What is open of an invoice will never be paid."""
    _check_who(by, reason)
    if not reason.strip():
        fail("a write-off needs a --reason")
    wanted = _number(number)

    async def work(accounts: CreditAccounts) -> tuple[int, str]:
        currency = await accounts.currency_of_invoice(wanted)
        return await accounts.write_off(wanted, actor=by, reason=reason), currency

    _say_open(wanted, *_accounts(home, work))


def _number(text: str) -> int:
    match = _INVOICE.fullmatch(text)
    if match is None:
        fail(f"{text[:80]!r} is no invoice; give INV-000042 or 42")
    return int(match[1])


def _say_open(number: int, open_minor: int, currency: str) -> None:
    _say(f"{invoice_name(number)}: {amount_text(open_minor, currency)} open")


def _user(customer: str) -> str:
    """A customer as other commands take it."""
    return ids.encode(PREFIX, UUID(customer))


credit_app.add_typer(_cards)
credit_app.add_typer(_invoices)
