"""`doorbuster stock receive …`: what operators do to stock, from the command line.

Each command writes down what is asked for and waits until the pair's owner has carried it out or
refused it. An open shop does the carrying; reading works with the shop closed, too.
"""

from __future__ import annotations

import asyncio
import csv
import getpass
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from domain.stock import MovementKind
from serve_apps.composition import Parts, new_id, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import databases, has_data, no_shop
from serve_apps.supervisor import AlreadyRunningError, read_run_file
from storage.embedded import ServerStartError
from storage.stock_in import NotPossibleError, UnknownPairError

WAIT_S = 10.0
_POLL_S = 0.05
_TEXT_MAX = 500
_LEDGER_COLUMNS = (
    *("movement_id", "created_at", "sku", "warehouse", "kind", "quantity", "balance"),
    *("actor", "reason", "reference"),
)
_TOLD = (UnknownPairError, NotPossibleError, AlreadyRunningError, ServerStartError, TimeoutError)
_errors = Console(stderr=True)

Home = Annotated[Path | None, typer.Option("--home", help="Folder of the shop's data.")]
By = Annotated[str, typer.Option("--by", help="Who does it.", default_factory=getpass.getuser)]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]
Sku = Annotated[str, typer.Argument(help="The variant's stock code.")]
Warehouse = Annotated[str, typer.Argument(help="The warehouse's code.")]


def fail(message: str) -> NoReturn:
    """Say why on stderr, and end with exit status 1."""
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def say_none(of_what: str) -> None:
    """Say on stderr that a list is empty; stdout stays as empty as the list."""
    _errors.print(f"no {of_what}", highlight=False, markup=False, soft_wrap=True)


def settings_of(home: Path | None) -> Settings:
    """The settings of the shop in this home."""
    return Settings(home=home) if home is not None else Settings()


def carried_out_by(home: Path | None, work: Callable[[Parts], Awaitable[Any]]) -> Any:
    """`work` on an open shop."""
    settings = settings_of(home)
    if read_run_file(settings.home) is None and settings.ray_address == "local":
        fail(f"the shop in {settings.home} is closed; open it first: doorbuster up")
    return on_databases(settings, work)


def on_databases(settings: Settings, work: Callable[[Parts], Awaitable[Any]]) -> Any:
    """`work` on the shop's databases, whether it is open or closed."""
    if not has_data(settings.home, settings):
        fail(no_shop(settings.home))

    async def run(filled: Settings) -> Any:
        async with open_parts(filled, "stock") as parts:
            return await work(parts)

    try:
        with databases(settings) as filled:
            return asyncio.run(run(filled))
    except (*_TOLD, OSError) as error:
        fail(str(error))


async def _until_settled(parts: Parts, instruction_id: UUID) -> Any:
    """What came of an instruction. Raises NotPossibleError if it was refused, TimeoutError."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        outcome = await parts.stock_in.outcome(instruction_id)
        if outcome is not None and outcome["status"] == "done":
            return outcome
        if outcome is not None and outcome["status"] == "refused":
            raise NotPossibleError(f"refused: {outcome['refusal']}")
        await asyncio.sleep(_POLL_S)
    raise TimeoutError(
        f"instruction {instruction_id} is not carried out after {WAIT_S:.0f} s; it is written"
        " down and will be, unless it is refused: see `doorbuster stock ledger`"
    )


def _move(
    home: Path | None,
    pair: tuple[str, str],
    kind: MovementKind,
    quantity: int,
    *,
    by: str,
    why: str,
) -> None:
    sku, warehouse = pair
    if len(why) > _TEXT_MAX or not 0 < len(by) <= _TEXT_MAX:
        fail(f"who and why take 1 to {_TEXT_MAX} characters")

    async def work(parts: Parts) -> Any:
        inventory_id, one = await parts.stock_in.pair(sku, warehouse), new_id()
        await parts.stock_in.instruct(one, inventory_id, kind, quantity, actor=by, reason=why)
        return await _until_settled(parts, one)

    _tell(sku, warehouse, carried_out_by(home, work))


def _tell(sku: str, warehouse: str, outcome: Any) -> None:
    change, balance = outcome["change"], outcome["balance"]
    Console().print(f"{sku} in {warehouse}: {change:+,}, {balance:,} on hand", highlight=False)


def add_stock_in_commands(app: typer.Typer) -> None:
    """The commands, on the `stock` sub-command."""
    _add_movements(app)
    _add_transfer(app)
    _add_policy(app)
    _add_rules_of_pairs(app)
    _add_orders(app)
    _add_ledger(app)


def _add_movements(app: typer.Typer) -> None:
    @app.command()
    def receive(
        sku: Sku,
        warehouse: Warehouse,
        quantity: int,
        by: By,
        reason: Reason = "",
        home: Home = None,
    ) -> None:
        """Units have come in."""
        _move(home, (sku, warehouse), MovementKind.RECEIVE, quantity, by=by, why=reason)

    @app.command(context_settings={"ignore_unknown_options": True})
    def adjust(
        sku: Sku,
        warehouse: Warehouse,
        change: int,
        reason: Annotated[str, typer.Option("--reason", help="Why; needed.")],
        by: By,
        home: Home = None,
    ) -> None:
        """More or fewer units (-3), for a reason: broken, stolen, found."""
        if not reason.strip():
            fail("an adjustment needs a --reason")
        _move(home, (sku, warehouse), MovementKind.ADJUST, change, by=by, why=reason)

    @app.command()
    def count(
        sku: Sku, warehouse: Warehouse, counted: int, by: By, reason: Reason = "", home: Home = None
    ) -> None:
        """What was counted on hand, reserved units included."""
        _move(home, (sku, warehouse), MovementKind.COUNT, counted, by=by, why=reason)

    @app.command("return")
    def return_(
        sku: Sku,
        warehouse: Warehouse,
        quantity: int,
        by: By,
        reason: Reason = "",
        home: Home = None,
    ) -> None:
        """Units came back and can be sold again."""
        _move(home, (sku, warehouse), MovementKind.RETURN, quantity, by=by, why=reason)

    del receive, adjust, count, return_


def _add_transfer(app: typer.Typer) -> None:
    @app.command()
    def transfer(
        sku: Sku,
        origin: Annotated[str, typer.Argument(help="The warehouse they leave.")],
        destination: Annotated[str, typer.Argument(help="Where they go.")],
        quantity: int,
        by: By,
        reason: Reason = "",
        home: Home = None,
    ) -> None:
        """Units go from one warehouse to another."""

        async def work(parts: Parts) -> tuple[Any, Any]:
            leaves = await parts.stock_in.pair(sku, origin)
            arrives = await parts.stock_in.pair(sku, destination)
            out_id, in_id = await parts.stock_in.transfer(
                leaves, arrives, quantity, actor=by, reason=reason
            )
            return await _until_settled(parts, out_id), await _until_settled(parts, in_id)

        if quantity <= 0:
            fail("a transfer takes 1 unit or more")
        left, arrived = carried_out_by(home, work)
        _tell(sku, origin, left)
        _tell(sku, destination, arrived)

    del transfer


def _add_policy(app: typer.Typer) -> None:
    @app.command()
    def policy(
        sku: Sku,
        backorder: Annotated[str, typer.Option(help="deny, backorder or preorder.")] = "deny",
        most: Annotated[
            int, typer.Option("--max", min=0, help="Units promised beyond the stock, per pair.")
        ] = 0,
        ships_from: Annotated[str | None, typer.Option(help="Of a pre-order: YYYY-MM-DD.")] = None,
        per_customer: Annotated[
            int, typer.Option(min=0, help="Units one customer may have in all; 0: no limit.")
        ] = 0,
        home: Home = None,
    ) -> None:
        """How a variant is sold when stock is short, and to whom. Replaces what was said before."""
        if backorder not in ("deny", "backorder", "preorder"):
            fail(f"--backorder is deny, backorder or preorder, not {backorder}")
        try:
            day = date.fromisoformat(ships_from) if ships_from else None
        except ValueError:
            fail(f"--ships-from {ships_from} is no day; write YYYY-MM-DD")

        async def work(parts: Parts) -> None:
            await parts.stock_in.set_policy(
                sku,
                backorder=backorder,
                backorder_max=most,
                ships_from=day,
                customer_max=per_customer,
            )

        carried_out_by(home, work)

    del policy


def _add_rules_of_pairs(app: typer.Typer) -> None:
    @app.command()
    def safety(
        sku: Sku,
        warehouse: Warehouse,
        units: Annotated[int, typer.Argument(min=0)],
        home: Home = None,
    ) -> None:
        """Units of a pair that are kept back."""

        async def work(parts: Parts) -> None:
            await parts.stock_in.set_safety_stock(await parts.stock_in.pair(sku, warehouse), units)

        carried_out_by(home, work)

    @app.command()
    def reorder(
        sku: Sku,
        warehouse: Warehouse,
        point: Annotated[int, typer.Option(min=0, help="Order once no more are left.")],
        quantity: Annotated[int, typer.Option(min=1, help="How many to order.")],
        supplier: Annotated[str, typer.Option(help="From whom.")],
        home: Home = None,
    ) -> None:
        """Order more by itself when a pair runs low; one open order at a time."""

        async def work(parts: Parts) -> None:
            pair = await parts.stock_in.pair(sku, warehouse)
            await parts.stock_in.set_reorder(
                pair, supplier=supplier, point=point, quantity=quantity
            )

        on_databases(settings_of(home), work)

    del safety, reorder


def _add_orders(app: typer.Typer) -> None:
    @app.command()
    def orders(
        status: Annotated[str, typer.Option(help="open, received, cancelled or all.")] = "open",
        home: Home = None,
    ) -> None:
        """Purchase orders."""
        wanted = None if status == "all" else status

        async def work(parts: Parts) -> Any:
            return await parts.stock_in.purchase_orders(wanted)

        found = on_databases(settings_of(home), work)
        if not found:
            say_none("purchase orders" if wanted is None else f"purchase orders are {wanted}")
        for one in found:
            Console().print(
                f"{one['purchase_order_id']}  {one['status']:<9} {one['quantity']:>7,}"
                f"  {one['sku']} in {one['warehouse']}, from {escape(one['supplier'])}",
                highlight=False,
                soft_wrap=True,
            )

    @app.command("receive-order")
    def receive_order(
        purchase_order: UUID,
        by: By,
        quantity: Annotated[int | None, typer.Argument(min=1, help="[default: as ordered]")] = None,
        home: Home = None,
    ) -> None:
        """The delivery of a purchase order has come; it is closed by its receipt."""

        async def work(parts: Parts) -> Any:
            one = await parts.stock_in.receive_order(purchase_order, quantity=quantity, actor=by)
            return await _until_settled(parts, one)

        outcome = carried_out_by(home, work)
        _errors.print(f"received {outcome['change']:,}, {outcome['balance']:,} on hand")

    @app.command("cancel-order")
    def cancel_order(purchase_order: UUID, home: Home = None) -> None:
        """A purchase order will not be delivered."""
        on_databases(settings_of(home), lambda parts: parts.stock_in.cancel_order(purchase_order))

    del orders, receive_order, cancel_order


def _add_ledger(app: typer.Typer) -> None:
    @app.command()
    def ledger(
        sku: Annotated[str | None, typer.Option(help="Of this variant only.")] = None,
        warehouse: Annotated[str | None, typer.Option(help="Of this warehouse only.")] = None,
        since: Annotated[str | None, typer.Option(help="An ISO time, with its zone.")] = None,
        home: Home = None,
    ) -> None:
        """Every movement as CSV on stdout: when, what, who, why, and the balance after it."""
        begin = aware_time(since)

        async def work(parts: Parts) -> None:
            writer = csv.writer(sys.stdout)
            writer.writerow(_LEDGER_COLUMNS)
            async for line in parts.stock_in.ledger(sku=sku, warehouse=warehouse, since=begin):
                writer.writerow([_cell(line[name]) for name in _LEDGER_COLUMNS])

        on_databases(settings_of(home), work)

    del ledger


def aware_time(text: str | None) -> datetime | None:
    """An ISO time with a zone, as UTC; ends the command if it is not one."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text} is no time; write 2026-11-27T00:00:00+00:00")
    if moment.tzinfo is None:
        fail(f"{text} has no zone; add +00:00 or Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        fail(f"{text} is, in UTC, before the year 1 or after the year 9999")


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
