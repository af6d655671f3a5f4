"""Stock in, on Postgres and with real owners: asked for once, carried out once, by the owner."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from actors.routing import Routing
from actors.stock_client import LocalTransport, StockClient
from actors.stock_in import StockIn
from domain.ports import Unavailable
from domain.stock import Answer, MovementKind, Request, Reserve, ReserveStatus
from storage.stock_in import NotPossibleError, PostgresStockIn, UnknownPairError
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, stock_of
from tests.storage.books import stock_adds_up

pytestmark = pytest.mark.asyncio
BY = {"actor": "ann", "reason": "delivery"}


class LosesAnswers(LocalTransport):
    """Loses the answers of the next calls, after they were carried out."""

    lost = 0

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        answers = await super().call(owner, requests)
        if self.lost:
            self.lost -= 1
            raise Unavailable("the answer is lost")
        return answers


@dataclass
class World:
    pool: asyncpg.Pool
    book: PostgresStockIn
    stock: StockClient
    transport: LosesAnswers
    stock_in: StockIn

    async def pair(self, available: int, variant: uuid.UUID | None = None) -> uuid.UUID:
        one = await add_pair(self.pool, available, variant_id=variant or uuid.uuid4())
        return uuid.UUID(bytes=one)

    async def asked(self, pair: uuid.UUID, kind: MovementKind, quantity: int) -> asyncpg.Record:
        """Ask, carry out, and what came of it."""
        one = uuid.uuid4()
        await self.book.instruct(one, pair, kind, quantity, **BY)
        await self.stock_in.carry_out()
        return await self.book.outcome(one)

    async def reserve(self, pair: uuid.UUID, quantity: int, customer: bytes = b"c" * 16) -> Answer:
        request = Reserve(
            uuid.uuid4().bytes, uuid.uuid4().bytes, pair.bytes, quantity, 600.0, customer
        )
        return (await self.stock.ask([request]))[0]

    async def books_agree(self) -> None:
        await stock_adds_up(self.pool)


@pytest_asyncio.fixture
async def world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    owner = an_owner(PostgresStockJournal(pool), clock=Clock(time.time()))
    transport = LosesAnswers({"pool-0": owner})
    stock = StockClient(transport, Routing(("pool-0",)), monotonic=time.monotonic)
    book = PostgresStockIn(pool, uuid.uuid4)
    async with running(owner):
        yield World(pool, book, stock, transport, StockIn(book, stock))


async def test_each_kind_of_movement_is_in_the_ledger_with_who_why_and_balance(
    world: World,
) -> None:
    pair = await world.pair(10)
    for kind, quantity, change, balance in (
        (MovementKind.RECEIVE, 5, 5, 15),
        (MovementKind.ADJUST, -3, -3, 12),
        (MovementKind.COUNT, 14, 2, 14),
        (MovementKind.COUNT, 14, 0, 14),
        (MovementKind.RETURN, 1, 1, 15),
    ):
        done = await world.asked(pair, kind, quantity)
        assert (done["status"], done["change"], done["balance"]) == ("done", change, balance)
    lines = [line async for line in world.book.ledger()]
    assert [line["balance"] for line in lines] == [10, 15, 12, 14, 14, 15]
    assert {(line["actor"], line["reason"]) for line in lines[1:]} == {("ann", "delivery")}
    assert await stock_of(world.pool, pair.bytes) == (15, 0)
    await world.books_agree()


async def test_the_ledger_is_append_only(world: World) -> None:
    await world.pair(1)
    for statement in ("UPDATE stock_movements SET quantity = 9", "DELETE FROM stock_movements"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await world.pool.execute(statement)


@pytest.mark.parametrize(
    ("kind", "quantity", "why"),
    [
        (MovementKind.ADJUST, -11, "more than is available"),
        (MovementKind.COUNT, 1, "more than is available"),
        (MovementKind.RECEIVE, 0, "not possible"),
        (MovementKind.RECEIVE, -1, "not possible"),
        (MovementKind.ADJUST, 0, "not possible"),
        (MovementKind.RETURN, 2_000_000_000, "not possible"),
    ],
)
async def test_what_is_not_possible_is_refused_and_changes_nothing(
    world: World, kind: MovementKind, quantity: int, why: str
) -> None:
    pair = await world.pair(10)
    assert (await world.reserve(pair, 8)).status == ReserveStatus.HELD
    refused = await world.asked(pair, kind, quantity)
    assert refused["status"] == "refused"
    assert why in refused["refusal"]
    assert await stock_of(world.pool, pair.bytes) == (2, 8)
    await world.books_agree()


async def test_an_instruction_is_carried_out_once_though_its_answer_is_lost(world: World) -> None:
    pair, one = await world.pair(0), uuid.uuid4()
    await world.book.instruct(one, pair, MovementKind.RECEIVE, 4, **BY)
    await world.book.instruct(one, pair, MovementKind.RECEIVE, 4, **BY)
    world.transport.lost = 2
    await world.stock_in.carry_out()
    await world.stock_in.carry_out()
    assert await stock_of(world.pool, pair.bytes) == (4, 0)
    with pytest.raises(NotPossibleError, match="something else"):
        await world.book.instruct(one, pair, MovementKind.RECEIVE, 5, **BY)
    await world.books_agree()


async def test_a_transfer_leaves_and_then_arrives(world: World) -> None:
    near, far = await world.pair(5), await world.pair(0)
    out_id, in_id = await world.book.transfer(near, far, 3, **BY)
    await world.stock_in.carry_out()  # it leaves; whoever dies here leaves the rest to the next
    assert await stock_of(world.pool, near.bytes) == (2, 0)
    await StockIn(world.book, world.stock).carry_out()
    assert await stock_of(world.pool, far.bytes) == (3, 0)
    assert (await world.book.outcome(out_id))["balance"] == 2
    assert (await world.book.outcome(in_id))["balance"] == 3
    await world.stock_in.carry_out()
    assert await stock_of(world.pool, far.bytes) == (3, 0)
    out_id, in_id = await world.book.transfer(near, far, 9, **BY)
    await world.stock_in.carry_out()
    assert (await world.book.outcome(out_id))["status"] == "refused"
    await world.stock_in.carry_out()
    assert await world.book.outcome(in_id) is None
    await world.books_agree()


async def test_a_policy_reaches_the_owner_with_the_next_pass(world: World) -> None:
    pair = await world.pair(5)
    sku = await world.pool.fetchval("SELECT sku FROM product_variants")
    assert (await world.reserve(pair, 1)).status == ReserveStatus.HELD
    await world.book.set_safety_stock(pair, 3)
    await world.stock_in.carry_out()
    assert await world.reserve(pair, 2) == (ReserveStatus.OUT_OF_STOCK, 1)
    await world.book.set_policy(sku, backorder="backorder", backorder_max=2, customer_max=3)
    await world.stock_in.carry_out()
    assert (await world.reserve(pair, 2)).status == ReserveStatus.BACKORDERED
    assert await world.reserve(pair, 2) == (ReserveStatus.OVER_LIMIT, 1)
    assert (await world.asked(pair, MovementKind.RECEIVE, 10))["status"] == "done"
    assert await stock_of(world.pool, pair.bytes) == (12, 3)
    await world.books_agree()
    with pytest.raises(NotPossibleError, match="ships"):
        await world.book.set_policy(sku, backorder="preorder", backorder_max=2)
    with pytest.raises(UnknownPairError):
        await world.book.set_policy("no such thing")


async def test_what_runs_low_is_ordered_once_and_receiving_closes_it(world: World) -> None:
    pair = await world.pair(10)
    await world.book.set_reorder(pair, supplier="Acme", point=4, quantity=20)
    await world.stock_in.reorder()
    assert await world.book.purchase_orders() == []
    assert (await world.reserve(pair, 6)).status == ReserveStatus.HELD
    await world.stock_in.reorder()
    await world.stock_in.reorder()
    [order] = await world.book.purchase_orders()
    assert (order["supplier"], order["quantity"], order["status"]) == ("Acme", 20, "open")
    one = order["purchase_order_id"]
    received = await world.book.receive_order(one, quantity=None, actor="ann")
    assert await world.book.receive_order(one, quantity=None, actor="bob") == received
    with pytest.raises(NotPossibleError, match="open"):
        await world.book.cancel_order(one)
    await world.stock_in.carry_out()
    assert await stock_of(world.pool, pair.bytes) == (24, 6)
    assert await world.book.purchase_orders() == []
    [closed] = await world.book.purchase_orders("received")
    assert closed["settled_at"] <= datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(NotPossibleError, match="received"):
        await world.book.receive_order(one, quantity=None, actor="ann")
    await world.books_agree()
