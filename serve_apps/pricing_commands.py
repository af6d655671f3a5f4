"""`doorbuster promotion …` and `doorbuster rates …`: what operators say of prices.

Both work on an open shop and on a closed one; replicas of an open one follow within seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain import ids
from domain.exchange import RATE_DECIMALS, ExchangeError
from domain.money import BASIS_POINTS, SCALES, MoneyError, amount_text, parse_wire
from domain.ports import Unavailable
from domain.promotions import Kind, Promotion, PromotionError, Scope, check, normal_code
from gateways.rate_files import read_rates
from serve_apps.composition import Parts, new_id
from serve_apps.stock_in_commands import (
    Home,
    aware_time,
    fail,
    on_databases,
    say_none,
    settings_of,
)
from storage.exchange_rates import PostgresExchangeRates
from storage.promotions import PostgresPromotions, PromotionInUse

LISTED_MAX = 1_000
LIST_WIDTH = 100
"""Of a list that is piped; a terminal has its own."""

promotion_app = typer.Typer(
    name="promotion", help="Coupons and promotions: add, list, end.", no_args_is_help=True
)
rates_app = typer.Typer(name="rates", help="Exchange rates: load, show.", no_args_is_help=True)


def _done(home: Path | None, work: Callable[[Parts], Awaitable[Any]]) -> Any:
    try:
        return on_databases(settings_of(home), work)
    except (PromotionError, ExchangeError, Unavailable) as error:
        fail(str(error))


@promotion_app.command()
def add(
    kind: Annotated[Kind, typer.Argument(help="What it does.")],
    label: Annotated[str, typer.Option(help="What shoppers see it called.")],
    code: Annotated[
        str | None, typer.Option(help="What shoppers type; without one it is automatic.")
    ] = None,
    percent: Annotated[
        str | None, typer.Option(help="percent: off the goods; buy_x_get_y: off what is got [100].")
    ] = None,
    amount: Annotated[str | None, typer.Option(help="amount: off the goods, as 5.00.")] = None,
    currency: Annotated[
        str | None, typer.Option(help="The only currency it is for; of amount and minimum.")
    ] = None,
    buy: Annotated[int, typer.Option(min=0, help="buy_x_get_y: units to buy.")] = 0,
    get: Annotated[int, typer.Option(min=0, help="buy_x_get_y: units that are reduced.")] = 0,
    product: Annotated[list[str] | None, typer.Option(help="Only for prod_…; repeat.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only for var_…; repeat.")] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only for it; repeat.")] = None,
    minimum: Annotated[
        str | None, typer.Option(help="What the goods it is for must come to, as 50.00.")
    ] = None,
    begins: Annotated[
        str | None, typer.Option("--from", help="An ISO time with its zone. [default: now]")
    ] = None,
    until: Annotated[str | None, typer.Option(help="An ISO time with its zone.")] = None,
    uses: Annotated[int | None, typer.Option(min=1, help="Uses in all.")] = None,
    per_customer: Annotated[int | None, typer.Option(min=1, help="Uses of one customer.")] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Never together with another.")
    ] = False,
    priority: Annotated[int, typer.Option(help="Of several, the smaller comes off first.")] = 100,
    home: Home = None,
) -> None:
    """Add a promotion; shoppers get it within about a second."""
    try:
        one = check(
            Promotion(
                promotion_id=new_id(),
                label=label.strip(),
                kind=kind,
                code=normal_code(code) if code is not None else None,
                percent_bps=_bps(percent, kind),
                amount_minor=_minor(amount, currency, "--amount"),
                buy_quantity=buy,
                get_quantity=get,
                scope=_scope(product or [], variant or [], category or []),
                minimum_minor=_minor(minimum, currency, "--minimum"),
                currency=currency,
                starts_at=aware_time(begins) or datetime.now(UTC),
                ends_at=aware_time(until),
                uses_max=uses,
                uses_per_customer_max=per_customer,
                exclusive=exclusive,
                priority=priority,
            )
        )
    except PromotionError as error:
        fail(str(error))
    _done(home, lambda parts: PostgresPromotions(parts.pool).add(one))
    Console().print(f"added {one.code or ids.encode('promo', one.promotion_id)}", highlight=False)


@promotion_app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    home: Home = None,
) -> None:
    """The newest promotions, how often they are used, and until when they are valid."""

    async def work(parts: Parts) -> Any:
        book = PostgresPromotions(parts.pool)
        return await book.overview(everything=everything, limit=LISTED_MAX)

    found = _done(home, work)
    if not found:
        say_none("promotions" if everything else "promotions but those that are over: see --all")
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, LIST_WIDTH)
    console.print(_table(found, console.width))


def _table(found: list[PromotionInUse], width: int) -> Table:
    """One line each; in fewer than LIST_WIDTH columns, what it does stands below its name."""
    wide = width >= LIST_WIDTH
    rows = [_cells(one) for one in found]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("promotion", min_width=max(len(name) for name, *_ in rows), overflow="fold")
    table.add_column("used", no_wrap=True, justify="right")
    table.add_column("until (UTC)", no_wrap=True)
    if wide:
        table.add_column("does", min_width=len("free shipping"))
        table.add_column("label", overflow="fold")
    for name, used, until, does, label in rows:
        cells = (name, used, until, does, label) if wide else (f"{name}\n  {does}", used, until)
        table.add_row(*map(Text, cells))
        if not wide:
            table.add_row(Text(f"  {label}"))
    return table


def _cells(one: PromotionInUse) -> tuple[str, str, str, str, str]:
    promotion = one.promotion
    name = promotion.code or ids.encode("promo", promotion.promotion_id)
    most = f" of {promotion.uses_max:,}" if promotion.uses_max else ""
    used, until = f"{one.uses:,}{most}", _until(promotion.ends_at)
    return name, used, until, _does(promotion), promotion.label


def _until(ends: datetime | None) -> str:
    if ends is None:
        return "no end"
    ends = ends.astimezone(UTC)
    return f"{ends:%Y-%m-%d}" if ends.time() == time() else f"{ends:%Y-%m-%d %H:%M}"


@promotion_app.command()
def end(
    name: Annotated[str, typer.Argument(help="Its code, or its id as `list` shows it.")],
    home: Home = None,
) -> None:
    """End a promotion now. Orders that have it keep it."""
    try:
        asked = str(ids.decode("promo", name.strip()))
    except ValueError:
        asked = name
    if not _done(home, lambda parts: PostgresPromotions(parts.pool).end(asked)):
        fail(f"there is no promotion {name} that is not over; see `doorbuster promotion list`")
    Console().print(f"ended {name}", highlight=False)


@rates_app.command()
def load(
    file: Annotated[Path, typer.Argument(help="CSV (currency,rate) or JSON.")],
    base: Annotated[
        str | None,
        typer.Option(help="One unit of it costs the rate. [default: the file's, or USD]"),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Their day, YYYY-MM-DD. [default: the file's, or today]")
    ] = None,
    home: Home = None,
) -> None:
    """Load a day's exchange rates; the same day again replaces that day's."""
    try:
        day = date.fromisoformat(as_of) if as_of else None
    except ValueError:
        fail(f"--as-of {as_of} is no day; write YYYY-MM-DD")
    try:
        table = read_rates(file, base=base, as_of=day, today=datetime.now(UTC).date())
    except (ExchangeError, OSError) as error:
        fail(str(error))
    _done(home, lambda parts: PostgresExchangeRates(parts.pool).load(table))
    rates = f"{len(table.scaled):,} rate" + ("" if len(table.scaled) == 1 else "s")
    Console().print(f"loaded {rates} to {table.base} of {table.as_of}", highlight=False)


@rates_app.command()
def show(home: Home = None) -> None:
    """The exchange rates that are in use."""
    today = datetime.now(UTC).date()
    table = _done(home, lambda parts: PostgresExchangeRates(parts.pool).newest(today))
    if table is None:
        fail("no exchange rates were ever loaded; see `doorbuster rates load`")
    console = Console()
    console.print(f"of {table.as_of}, for one {table.base}:", highlight=False)
    for currency, scaled in sorted(table.scaled.items()):
        rate = Decimal(scaled).scaleb(-RATE_DECIMALS).normalize()
        console.print(f"  {currency}  {rate:f}", highlight=False)


def _does(one: Promotion) -> str:
    percent = f"{Decimal(one.percent_bps) / 100:f} %"
    match one.kind:
        case Kind.PERCENT:
            return f"{percent} off"
        case Kind.AMOUNT:
            return f"{amount_text(one.amount_minor, one.currency or '')} off"
        case Kind.FREE_SHIPPING:
            return "free shipping"
        case Kind.BUY_X_GET_Y:
            return f"buy {one.buy_quantity}, get {one.get_quantity} at {percent} off"


def _bps(percent: str | None, kind: Kind) -> int:
    if percent is None:
        return BASIS_POINTS if kind is Kind.BUY_X_GET_Y else 0
    try:
        bps = Decimal(percent) * 100
        whole = bps.to_integral_value(ROUND_HALF_UP)
    except ArithmeticError:
        fail(f"--percent {percent} is no number; write 12.5")
    if bps != whole or not 0 < bps <= BASIS_POINTS:
        fail(f"--percent {percent} is not above 0 and at most 100, in steps of 0.01")
    return int(whole)


def _minor(amount: str | None, currency: str | None, option: str) -> int:
    if amount is None:
        return 0
    if currency not in SCALES:
        fail(f"{option} needs a --currency, such as USD")
    try:
        return parse_wire(amount, currency)
    except MoneyError as error:
        fail(f"{option}: {error}")


def _scope(products: list[str], variants: list[str], categories: list[str]) -> Scope:
    def decoded(prefix: str, texts: list[str]) -> frozenset[UUID]:
        try:
            return frozenset(ids.decode(prefix, text.strip()) for text in texts)
        except ValueError as error:
            fail(str(error))

    return Scope(
        product_ids=decoded("prod", products),
        variant_ids=decoded("var", variants),
        categories=frozenset(one.strip().casefold() for one in categories if one.strip()),
    )
