"""`doorbuster refund …`: what makes no sense is refused, the rest works with the shop closed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from domain import ids
from domain.orders import OrderDraft
from serve_apps.refund_commands import refund_command, refunds_app
from storage.postgres import open_pool
from storage.refunds import PostgresRefunds
from tests.storage.books import write_charge
from tests.storage.sold import asks, created, sell, settle, take

WHY = ("--reason", "broken on arrival")
ORDER = "order_01h455vb4pex5vsknk084sn02q"
app = typer.Typer()
app.command("refund")(refund_command)
app.add_typer(refunds_app)


class Shell:
    """Runs commands on one closed shop."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.database_url = database_url
        self.environment = {"DOORBUSTER_DATABASE_URL": database_url, "COLUMNS": "200"}

    def __call__(self, *arguments: str) -> str:
        """What a command that succeeds prints on stdout."""
        code, out, err = self.all(*arguments)
        assert code == 0, err
        return out.strip()

    def fails(self, *arguments: str) -> str:
        """What a command that fails says."""
        code, out, err = self.all(*arguments)
        assert (code, out) == (1, "")
        return err

    def all(self, *arguments: str) -> tuple[int, str, str]:
        line = [*arguments, "--home", str(self.home)]
        done = CliRunner().invoke(app, line, env=self.environment)
        return done.exit_code, done.stdout, done.stderr

    def books(self, work: Callable[[asyncpg.Pool], Awaitable[Any]]) -> Any:
        """`work` on the shop's database."""

        async def run() -> Any:
            pool = await open_pool(self.database_url, max_size=2)
            try:
                return await work(pool)
            finally:
                await pool.close()

        return asyncio.run(run())

    def sell(self, *, charged: bool = True) -> tuple[str, str]:
        """The name of an order that was sold, and its SKU."""

        async def work(pool: asyncpg.Pool) -> OrderDraft:
            order = await sell(pool)
            [part] = order.parts
            await take(pool, order)
            if charged:
                about = {"status": "captured", "amount_minor": order.total_minor}
                await write_charge(pool, part.transaction_id, **about)
            return order

        order = self.books(work)
        return ids.encode("order", order.order_id), order.lines[0].variant_id.hex


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((ORDER, *WHY), "say what to refund"),
        ((ORDER, "--whole", "--amount", "1", *WHY), "say what to refund"),
        ((ORDER, "--amount", "1", "--shipping", *WHY), "say what to refund"),
        ((ORDER, "--whole", "--reason", " "), "needs a --reason"),
        ((ORDER, "--whole", "--reason", "x" * 201), "needs a --reason"),
        ((ORDER, "--whole", "--reason", "card 4242 4242 4242 4242"), "card number"),
        ((ORDER, "--whole", "--by", "", *WHY), "1 to 255 characters"),
        ((ORDER, "--amount", "1", "--restock", *WHY), "only units of lines go back"),
        ((ORDER, "--shipping", "--restock", *WHY), "only units of lines go back"),
        (("ann", "--whole", *WHY), "is no order"),
        ((ORDER, "--line", "MUG", *WHY), "is not SKU=QUANTITY"),
        ((ORDER, "--line", "MUG=0", *WHY), "is not SKU=QUANTITY"),
        ((ORDER, "--line", "=1", *WHY), "is not SKU=QUANTITY"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert says in Shell(tmp_path, "").fails("refund", *arguments)


def test_without_a_shop_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert "there is no shop" in Shell(tmp_path, "").fails("refund", ORDER, "--whole", *WHY)


def test_an_order_is_refunded_bit_by_bit(shell: Shell) -> None:
    order, sku = shell.sell()
    shown = shell("refund", order, "--line", f"{sku}=1", "--shipping", *WHY)
    assert re.fullmatch(
        rf"refund_\w{{26}}  done     +15\.26 USD  {order}  broken on arrival", shown
    )
    assert "10.00 USD" in shell("refund", order, "--amount", "10", *WHY, "--key", "k")
    assert "10.00 USD" in shell("refund", order, "--amount", "10", *WHY, "--key", "k")
    said = shell.fails("refund", order, "--amount", "10.55", *WHY)
    assert "refund_above_balance" in said
    assert "(10.54 USD can be refunded)" in said
    assert "more decimals" in shell.fails("refund", order, "--amount", "0.001", *WHY)
    assert "above 0" in shell.fails("refund", order, "--amount", "0", *WHY)
    again = shell.fails("refund", order, "--line", f"{sku}=3", *WHY)
    assert "line_already_refunded" in again
    assert "10.54 USD" in shell("refund", order, "--whole", *WHY)
    none_left = shell.fails("refund", order, "--amount", "5", *WHY)
    assert "comes to 5.00 USD, but nothing is left" in none_left
    assert "(0.00 USD can be refunded)" in none_left
    assert "nothing_to_refund" in shell.fails("refund", order, "--whole", *WHY)
    assert "there is no order" in shell.fails("refund", ORDER, "--whole", *WHY)
    assert len(shell("refunds", "list", "--order", order).splitlines()) == 3
    assert shell.all("refunds", "list") == (0, "", "no refunds that are open or were refused\n")
    other = shell.all("refunds", "list", "--order", ORDER)
    assert other == (0, "", f"no refunds of {ORDER}\n")


def test_goods_that_came_back_wait_for_the_owner_of_their_stock(shell: Shell) -> None:
    order, sku = shell.sell()
    _, back = shell("refund", order, "--line", f"{sku}=2", "--restock", *WHY).splitlines()
    assert re.fullmatch(rf"  2 of {sku} back to \w+: pending", back)
    asked = shell.books(lambda pool: pool.fetchval("SELECT quantity FROM stock_instructions"))
    assert asked == 2


def test_what_the_provider_refuses_is_shown_and_asked_for_again(shell: Shell) -> None:
    order, _ = shell.sell(charged=False)

    async def refuse(pool: asyncpg.Pool) -> None:
        book = PostgresRefunds(pool)
        refund = await created(book, asks(ids.decode("order", order)))
        await settle(book, refund, p1="less is left")

    shell.books(refuse)
    first, second = shell("refunds", "list").splitlines()
    assert "  refused  " in first
    assert "simulated refused: less is left" in second
    name = first.split()[0]
    assert "is asked again" in shell("refunds", "retry", name)
    assert "  pending  " in shell("refunds", "list")
    assert "was refused" in shell.fails("refunds", "retry", name)
    assert "is no refund" in shell.fails("refunds", "retry", "x")


def test_what_the_provider_refuses_for_good_is_settled_without_it(shell: Shell) -> None:
    order, _ = shell.sell(charged=False)

    async def refuse(pool: asyncpg.Pool) -> str:
        book = PostgresRefunds(pool)
        refund = await created(book, asks(ids.decode("order", order)))
        await settle(book, refund, p1="the account is closed")
        return ids.encode("refund", refund.refund_id)

    name = shell.books(refuse)
    assert "needs a --how" in shell.fails("refunds", "settle", name, "--how", " ")
    said = shell("refunds", "settle", name, "--how", "bank transfer 17", "--by", "bob")
    first, second, third = said.splitlines()
    assert "  done  " in first
    assert "simulated refused: the account is closed" in second
    assert third == "    settled by bob: bank transfer 17"
    assert shell("refunds", "list") == ""
    assert "was refused" in shell.fails("refunds", "settle", name, "--how", "again")
    assert "was refused" in shell.fails(
        "refunds", "settle", str(ids.decode("order", order)), "--how", "x"
    )
