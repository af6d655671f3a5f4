"""`doorbuster keys …` on a shop's database, without its processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from typer.testing import CliRunner

from serve_apps import key_commands
from serve_apps.key_commands import keys_app
from serve_apps.settings import Settings
from serve_apps.shop_process import seal_what_is_clear
from storage.key_ring import KeyRingError, format_keys, parse_keys
from storage.orders import PostgresOrderBook
from storage.postgres import open_pool
from tests.actors.drafts import ADDRESS, draft
from tests.storage.keys import a_key

REDIS = "redis://127.0.0.1:1"  # none of these commands asks it


class Operator:
    """Who runs the commands on one home and database."""

    def __init__(self, home: Path, database_url: str, *, data_keys: str = "") -> None:
        self.home, self.database_url, self.data_keys = home, database_url, data_keys

    def settings(self) -> Settings:
        return Settings(home=self.home, database_url=self.database_url, data_keys=self.data_keys)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        environment = {
            "COLUMNS": "200",
            "DOORBUSTER_DATABASE_URL": self.database_url,
            "DOORBUSTER_REDIS_URL": REDIS,
            "DOORBUSTER_DATA_KEYS": self.data_keys,
        }
        done = CliRunner().invoke(keys_app, [*arguments, "--home", str(self.home)], env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    def status(self) -> dict[str, Any]:
        return orjson.loads(self.run("status", "--json=-")[1])

    def on_book(self, work: Any) -> Any:
        async def run() -> Any:
            pool = await open_pool(self.database_url, max_size=1)
            try:
                return await work(PostgresOrderBook(pool, self.settings().data_key_ring()), pool)
            finally:
                await pool.close()

        return asyncio.run(run())

    def record(self, count: int) -> list[Any]:
        orders = [draft() for _ in range(count)]
        self.on_book(lambda book, _: book.record(orders))
        return orders


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    return Operator(tmp_path, database_url)


def _settle(operator: Operator) -> None:
    """As if the keys had last changed long ago."""
    os.utime(operator.home / "data-keys", (0, 0))


def test_a_shop_of_keys_of_its_own_rotates_and_retires(operator: Operator) -> None:
    orders = operator.record(3)
    [first] = operator.status()["keys"]
    code, out, _ = operator.run("rotate")
    assert code == 0
    assert "3 orders were sealed by" in out
    status = operator.status()
    assert status["keys"] == {status["sealing"]: 3, first: 0}
    assert status["sealing"] != first
    code, _, err = operator.run("retire", first)
    assert code == 1
    assert "run this again in" in err
    _settle(operator)
    code, out, _ = operator.run("retire", first)
    assert code == 0
    assert "data-keys.retired" in out
    assert operator.status()["keys"] == {status["sealing"]: 3}
    personal = operator.on_book(lambda book, _: book.personal(orders[0].order_id))
    assert personal.shipping_address == ADDRESS


def test_a_key_that_seals_is_not_retired(operator: Operator) -> None:
    operator.record(1)
    sealing = operator.status()["sealing"]
    assert "rotate` first" in operator.run("retire", sealing)[2]
    assert "there is no key k0" in operator.run("retire", "k0")[2]
    # A row by the older key, as if its writer had not heard of the new one.
    file = operator.settings().data_key_file()
    file.add()
    _settle(operator)
    assert "1 orders are sealed by" in operator.run("retire", sealing)[2]
    assert {key.key_id for key in file.read()} >= {sealing}


def test_no_key_is_ever_printed(operator: Operator) -> None:
    operator.record(1)
    said = "".join(map(str, operator.run("rotate") + operator.run("status")))
    said += str(operator.status()) + repr(operator.settings())
    for key in operator.settings().data_key_file().read():
        assert key.key_id in said
        assert format_keys((key,)).partition(":")[2] not in said


def test_keys_of_the_environment_are_changed_there(tmp_path: Path, database_url: str) -> None:
    old, new = format_keys((a_key("old"),)), format_keys((a_key("new"),))
    before = Operator(tmp_path, database_url, data_keys=old)
    before.record(4)
    code, out, _ = before.run("rotate")
    assert code == 0
    [told] = [line for line in out.splitlines() if line.startswith("k")]
    assert len(parse_keys(told, source="")) == 1
    assert old not in out
    after = Operator(tmp_path, database_url, data_keys=f"{new},{old}")
    assert after.status()["keys"] == {"new": 0, "old": 4}
    assert "4 orders are sealed by old" in after.run("retire", "old")[2]
    assert "4 orders were sealed by new" in after.run("rotate")[1]
    assert "take it out of DOORBUSTER_DATA_KEYS" in after.run("retire", "old")[1]
    assert not (tmp_path / "data-keys").exists()
    code, _, _ = before.run("status")
    assert code == 1
    assert before.status()["unknown_keys"] == {"new": 4}
    code, _, err = before.run("rotate")
    assert code == 1
    assert "4 orders do not open" in err


def test_opening_the_shop_seals_what_is_in_the_clear(operator: Operator) -> None:
    operator.record(3)

    async def as_before(_: Any, pool: asyncpg.Pool) -> None:
        await pool.execute("UPDATE orders SET sealed_personal = NULL, shipping_address = '{}'")

    operator.on_book(as_before)
    code, out, _ = operator.run("status")
    assert code == 1
    assert "in the clear" in out
    assert asyncio.run(seal_what_is_clear(operator.settings())) == 3
    assert operator.run("status")[0] == 0
    assert asyncio.run(seal_what_is_clear(operator.settings())) == 0


def test_a_shop_does_not_open_without_the_keys_of_its_orders(operator: Operator) -> None:
    operator.record(1)
    sealing = operator.status()["sealing"]
    (operator.home / "data-keys").rename(operator.home / "elsewhere")
    with pytest.raises(KeyRingError, match=f"'{sealing}'.*restore"):
        asyncio.run(seal_what_is_clear(operator.settings()))
    (operator.home / "elsewhere").replace(operator.home / "data-keys")
    assert asyncio.run(seal_what_is_clear(operator.settings())) == 0


def test_a_cluster_needs_its_keys_in_the_environment(tmp_path: Path) -> None:
    with pytest.raises(KeyRingError, match="on every node"):
        Settings(home=tmp_path, ray_address="auto").data_key_ring()
    keys = format_keys((a_key(),))
    assert Settings(ray_address="auto", data_keys=keys).data_key_ring().sealing_id == "k1"


def test_bad_keys_and_no_shop_are_told_in_one_line(tmp_path: Path, database_url: str) -> None:
    code, _, err = Operator(tmp_path, database_url, data_keys="nonsense").run("status")
    assert code == 1
    assert "DOORBUSTER_DATA_KEYS: key 1 has no proper id" in err
    assert "nonsense" not in err
    done = CliRunner().invoke(keys_app, ["status", "--home", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "there is no shop" in done.stderr
    assert key_commands.LEARNED_AFTER_S < key_commands.SETTLED_AFTER_S
