"""`doorbuster refund …` and `doorbuster refunds …`: giving money back, from the command line.

All of it works on the shop's database, whether the shop is open or closed. A provider that cannot
be reached from here is asked by the open shop, within seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape

from domain import ids
from domain.card_numbers import carries_card_number
from domain.money import MoneyError, amount_text, parse_wire
from domain.ports import Unavailable
from domain.refunds import Refund, RefundDraft, RefundRefusal, RefundScope, UnitsOf, refunded_event
from serve_apps.composition import Parts, new_id
from serve_apps.refund_answers import PREFIX
from serve_apps.refund_parts import refunds_over
from serve_apps.stock_in_commands import By, Home, fail, on_databases, say_none, settings_of
from storage.refunds import PostgresRefunds

_REASON_MAX = 200
_NAME_MAX = 255
_DIGITS_MAX = 9

refunds_app = typer.Typer(
    name="refunds", help="Refunds that are open or were refused.", no_args_is_help=True
)

Order = Annotated[str, typer.Argument(help="The order: order_… or a UUID.")]


def refund_command(
    order: Order,
    reason: Annotated[str, typer.Option("--reason", help="Why; the buyer sees it.")],
    by: By,
    amount: Annotated[
        str | None, typer.Option("--amount", help="In major units, such as 12.99.")
    ] = None,
    line: Annotated[list[str] | None, typer.Option("--line", help="SKU=QUANTITY; repeat.")] = None,
    shipping: Annotated[
        bool, typer.Option("--shipping", help="Also what was paid for shipping.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="All that is left.")] = False,
    restock: Annotated[
        bool, typer.Option("--restock", help="All units of it came back and can be sold again.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", help="Repeated with the same key, it refunds once.")
    ] = None,
    home: Home = None,
) -> None:
    """Refund an order: an amount, lines and shipping, or all that is left of it."""
    _check(by, reason, key)
    by_line = bool(line) or shipping
    if (amount is not None) + by_line + whole != 1:
        fail("say what to refund: --amount, or --line and --shipping, or --whole")
    if restock and not (line or whole):
        fail("only units of lines go back into stock; give --line or --whole with --restock")
    order_id = _id_of("order", order)
    units = tuple(_units(one) for one in line or ())

    async def work(parts: Parts) -> Refund | RefundRefusal | None:
        book = PostgresRefunds(parts.pool)
        currency = await book.currency_of(order_id)
        if currency is None:
            return None
        minor = None if amount is None else _minor(amount, currency)
        scope = RefundScope(
            amount_minor=minor, units=units, shipping=shipping, whole=whole, restock=restock
        )
        draft = RefundDraft(
            refund_id=new_id(),
            order_id=order_id,
            scope=scope,
            reason=reason.strip(),
            requested_by=by,
            idempotency_key=key or str(new_id()),
            request_hash=hashlib.sha256(f"{scope}{reason.strip()}".encode()).digest(),
        )
        made = await refunds_over(parts.pool, parts.providers.by_name).refund(draft)
        if made is None or isinstance(made, RefundRefusal):
            return made
        return await book.find(made.refund.refund_id)

    made = _done(home, work)
    if made is None:
        fail(f"there is no order {order[:80]}")
    if isinstance(made, RefundRefusal):
        left = amount_text(made.balance_minor, made.currency)
        fail(f"{made.name}: {made.detail} ({left} can be refunded)")
    _show(made)


@refunds_app.command("list")
def list_(
    order: Annotated[
        str | None, typer.Option("--order", help="All of this order, done or not.")
    ] = None,
    home: Home = None,
) -> None:
    """Refunds that are not done yet, oldest first; a refused one waits for you."""
    order_id = None if order is None else _id_of("order", order)

    async def work(parts: Parts) -> list[Refund]:
        book = PostgresRefunds(parts.pool)
        return await (book.undone() if order_id is None else book.of_order(order_id))

    found = _done(home, work)
    if not found:
        say_none(f"refunds of {order[:80]}" if order else "refunds that are open or were refused")
    for one in found:
        _show(one)


@refunds_app.command("retry")
def retry(
    refund: Annotated[str, typer.Argument(help="The refund: refund_… or a UUID.")],
    home: Home = None,
) -> None:
    """Ask the provider again for what it refused. The open shop does it within seconds."""
    refund_id = _id_of(PREFIX, refund)
    found = _done(home, lambda parts: PostgresRefunds(parts.pool).retry(refund_id))
    if not found:
        fail(f"nothing of {refund[:80]} was refused; see `doorbuster refunds list`")
    _say(f"{refund}: the provider is asked again")


@refunds_app.command("settle")
def settle(
    refund: Annotated[str, typer.Argument(help="The refund: refund_… or a UUID.")],
    how: Annotated[str, typer.Option("--how", help="Where the money went instead.")],
    by: By,
    home: Home = None,
) -> None:
    """Note that what a provider refused was given back without it. It is not asked again."""
    _check(by, how, None, needs="settling needs a --how")
    refund_id = _id_of(PREFIX, refund)

    async def work(parts: Parts) -> Refund | None:
        book = PostgresRefunds(parts.pool)
        found = await book.find(refund_id)
        if found is None:
            return None
        event = refunded_event(new_id(), found)
        settled = await book.settle_outside(refund_id, by, how.strip(), event)
        return await book.find(refund_id) if settled else None

    settled = _done(home, work)
    if settled is None:
        fail(f"nothing of {refund[:80]} was refused; see `doorbuster refunds list`")
    _show(settled)


def _done(home: Path | None, work: Callable[[Parts], Awaitable[Any]]) -> Any:
    try:
        return on_databases(settings_of(home), work)
    except (Unavailable, MoneyError, asyncpg.PostgresError) as error:
        fail(str(error))


def _check(by: str, reason: str, key: str | None, needs: str = "a refund needs a --reason") -> None:
    if not 0 < len(reason.strip()) <= _REASON_MAX:
        fail(f"{needs} of at most {_REASON_MAX} characters")
    for text in (by, key):
        if text is not None and not 0 < len(text) <= _NAME_MAX:
            fail(f"--by and --key take 1 to {_NAME_MAX} characters")
    if any(carries_card_number(text.encode()) for text in (reason, by, key or "")):
        fail("a card number stands in the text; leave it out: none may be kept here")


def _id_of(prefix: str, text: str) -> UUID:
    try:
        return ids.decode(prefix, text) if text.startswith(prefix) else UUID(text)
    except ValueError:
        fail(f"{text[:80]!r} is no {prefix}; give {prefix}_… or a UUID")


def _units(text: str) -> UnitsOf:
    sku, _, quantity = text.rpartition("=")
    good = quantity.isascii() and quantity.isdigit() and len(quantity) <= _DIGITS_MAX
    if not sku or not good or not int(quantity):
        fail(f"--line {text[:80]!r} is not SKU=QUANTITY")
    return UnitsOf(item=sku, quantity=int(quantity))


def _minor(amount: str, currency: str) -> int:
    minor = parse_wire(amount, currency)
    if not minor:
        raise MoneyError("a refund of 0 gives nothing back; give an amount above 0")
    return minor


def _show(refund: Refund) -> None:
    name, order = ids.encode(PREFIX, refund.refund_id), ids.encode("order", refund.order_id)
    told = amount_text(refund.amount_minor, refund.currency)
    _say(f"{name}  {refund.status:7}  {told:>18}  {order}  {refund.reason}")
    for line in refund.lines:
        for back in line.returns:
            told = f" ({back.refusal})" if back.refusal else ""
            _say(f"  {back.quantity} of {line.sku} back to {back.warehouse}: {back.status}{told}")
    for part in refund.parts:
        if part.refusal is not None:
            charge = part.charge.transaction_id
            told = amount_text(part.amount_minor, refund.currency)
            _say(f"  {told} of {charge}: {part.gateway} refused: {part.refusal}")
            if part.settled_by is not None:
                _say(f"    settled by {part.settled_by}: {part.settled_note}")


def _say(text: str) -> None:
    Console().print(escape(text), highlight=False, soft_wrap=True)
