"""`doorbuster stock receive …`: refusals without a shop, and what operators read from a closed one."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from domain.stock import MovementKind
from serve_apps.stock_commands import stock_app
from storage.stock_in import PostgresStockIn
from tests.actors.postgres import add_pair

COMMANDS = {
    "receive": ("SKU", "EAST", "5"),
    "adjust": ("SKU", "EAST", "5", "--reason", "found"),
    "count": ("SKU", "EAST", "5"),
    "return": ("SKU", "EAST", "5"),
    "transfer": ("SKU", "EAST", "WEST", "5"),
    "safety": ("SKU", "EAST", "5"),
    "policy": ("SKU",),
    "receive-order": (str(uuid4()),),
}


def _run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(stock_app, list(arguments), env={"COLUMNS": "200", **environment})
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_shop_carries_nothing_out(tmp_path: Path, name: str) -> None:
    code, out, err = _run(name, *COMMANDS[name], "--home", str(tmp_path))
    assert (code, out) == (1, "")
    assert "doorbuster up" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("adjust", "SKU", "EAST", "5", "--reason", " "), "needs a --reason"),
        (("transfer", "SKU", "EAST", "WEST", "0"), "1 unit or more"),
        (("policy", "SKU", "--backorder", "perhaps"), "not perhaps"),
        (("policy", "SKU", "--ships-from", "tomorrow"), "write YYYY-MM-DD"),
        (("receive", "SKU", "EAST", "5", "--reason", "x" * 501), "1 to 500 characters"),
        (("receive", "SKU", "EAST", "5", "--by", ""), "1 to 500 characters"),
        (("ledger", "--since", "yesterday"), "no time"),
        (("ledger", "--since", "2026-11-27T00:00:00"), "no zone"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = _run(*arguments)
    assert (code, out) == (1, "")
    assert says in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("orders",), "no purchase orders are open\n"),
        (("orders", "--status", "all"), "no purchase orders\n"),
        (("placements",), "no placements are planned or in force\n"),
    ],
)
def test_an_empty_list_says_so_beside_stdout(
    tmp_path: Path, database_url: str, arguments: tuple[str, ...], says: str
) -> None:
    environment = {"DOORBUSTER_DATABASE_URL": database_url, "DOORBUSTER_HOME": str(tmp_path)}
    assert _run(*arguments, **environment) == (0, "", says)


@pytest.mark.parametrize("quantity", ["five", "1.5", ""])
def test_a_quantity_that_is_none_is_a_usage_error(quantity: str) -> None:
    assert _run("receive", "SKU", "EAST", quantity)[0] == 2


def test_the_ledger_is_read_as_csv_also_of_a_closed_shop(tmp_path: Path, database_url: str) -> None:
    async def fill() -> None:
        pool = await asyncpg.create_pool(database_url, min_size=1, max_size=2)
        await add_pair(pool, 7)
        pair = await pool.fetchval("SELECT inventory_id FROM inventory")
        book = PostgresStockIn(pool, uuid4)
        await book.instruct(uuid4(), pair, MovementKind.RECEIVE, 5, actor="ann")
        await pool.close()

    asyncio.run(fill())
    code, out, _ = _run("ledger", "--home", str(tmp_path), DOORBUSTER_DATABASE_URL=database_url)
    assert code == 0
    head, *lines = list(csv.reader(out.splitlines()))
    assert head[:5] == ["movement_id", "created_at", "sku", "warehouse", "kind"]
    assert [line[4:8] for line in lines] == [["received", "7", "7", "test"]]
