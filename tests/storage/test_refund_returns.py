"""Goods that come back with a refund: asked for with it in one transaction, booked by the owner once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from actors.routing import Routing
from actors.stock_client import StockClient
from actors.stock_in import StockIn
from domain import ids
from domain.orders import OrderDraft
from domain.refunds import Refund, RefundScope, UnitsOf
from domain.stock import Reserve
from storage.refunds import PostgresRefunds
from storage.stock_in import PostgresStockIn
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, stock_of
from tests.storage.books import stock_adds_up
from tests.storage.sold import asks, created, refused, sell
from tests.storage.test_stock_in import LosesAnswers

pytestmark = pytest.mark.asyncio
WHOLE = RefundScope(whole=True, restock=True)


@dataclass
class World:
    """A shop's books, the owner of its stock, and the pass that carries out what was asked for."""

    pool: asyncpg.Pool
    book: PostgresRefunds
    stock: StockClient
    transport: LosesAnswers
    stock_in: StockIn

    async def sell(
        self, *from_pairs: int, backordered: bool = False
    ) -> tuple[OrderDraft, list[bytes]]:
        """An order of as many mugs from each of some pairs, which had 10 each; and the pairs."""
        order = await sell(self.pool, quantity=sum(from_pairs))
        [line] = order.lines
        pairs = [await add_pair(self.pool, 10, variant_id=line.variant_id) for _ in from_pairs]
        asked = [
            Reserve(uuid.uuid4().bytes, order.order_id.bytes, pair, units, 600.0)
            for pair, units in zip(pairs, from_pairs, strict=True)
        ]
        await self.stock.ask(asked)
        await self.pool.execute(
            "UPDATE inventory_reservations SET status = 'allocated', backordered = $2"
            " WHERE order_id = $1",
            order.order_id,
            backordered,
        )
        return order, pairs

    async def refund(self, order: OrderDraft, scope: RefundScope) -> Refund:
        return await created(self.book, asks(order.order_id, scope))

    async def returns_of(self, refund: Refund) -> list[tuple[int, str]]:
        """(units, status) of what came back with a refund."""
        found = await self.book.find(refund.refund_id)
        assert found is not None
        return sorted((one.quantity, one.status) for line in found.lines for one in line.returns)

    async def available(self, pairs: list[bytes]) -> list[int]:
        return [(await stock_of(self.pool, pair))[0] for pair in pairs]

    async def books_agree(self) -> None:
        await stock_adds_up(self.pool)


@pytest_asyncio.fixture
async def world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    owner = an_owner(PostgresStockJournal(pool), clock=Clock(time.time()))
    transport = LosesAnswers({"pool-0": owner})
    stock = StockClient(transport, Routing(("pool-0",)), monotonic=time.monotonic)
    stock_in = StockIn(PostgresStockIn(pool, uuid.uuid4), stock)
    async with running(owner):
        yield World(pool, PostgresRefunds(pool), stock, transport, stock_in)


def units(item: uuid.UUID, *counts: tuple[int, bool]) -> RefundScope:
    """Units of one variant, each with whether they came back."""
    return RefundScope(
        units=tuple(UnitsOf(item=item, quantity=n, restock=restock) for n, restock in counts)
    )


async def test_what_came_back_is_asked_for_with_the_refund_and_booked_later(world: World) -> None:
    order, pairs = await world.sell(1, 3)
    refund = await world.refund(order, WHOLE)
    # Here the process may die: all of it is in one transaction, and any caretaker goes on.
    assert await world.returns_of(refund) == [(1, "pending"), (3, "pending")]
    assert await world.available(pairs) == [9, 7]
    await world.stock_in.carry_out()
    assert {status for _, status in await world.returns_of(refund)} == {"done"}
    assert await world.available(pairs) == [10, 10]
    rows = await world.pool.fetch(
        "SELECT kind, quantity, actor, reason, reference FROM stock_movements"
        " WHERE instruction_id IS NOT NULL ORDER BY quantity"
    )
    about = ("ann", "broken on arrival", ids.encode("refund", refund.refund_id))
    assert [tuple(row) for row in rows] == [("returned", 1, *about), ("returned", 3, *about)]
    await world.books_agree()


async def test_nothing_comes_back_unless_it_is_said(world: World) -> None:
    order, pairs = await world.sell(2)
    refund = await world.refund(order, RefundScope(whole=True))
    await world.stock_in.carry_out()
    assert await world.returns_of(refund) == []
    assert await world.available(pairs) == [8]


async def test_a_repeat_of_the_refund_and_of_the_pass_books_it_once(world: World) -> None:
    order, pairs = await world.sell(2)
    wanted = asks(order.order_id, WHOLE, idempotency_key="key")
    refund = await created(world.book, wanted)
    await world.book.create(wanted)
    world.transport.lost = 1
    for _ in range(3):
        await world.stock_in.carry_out()
        await world.book.create(wanted)
    assert await world.returns_of(refund) == [(2, "done")]
    assert await world.available(pairs) == [10]
    await world.books_agree()


async def test_only_the_units_that_came_back_do(world: World) -> None:
    order, pairs = await world.sell(4)
    [line] = order.lines
    refund = await world.refund(order, units(line.variant_id, (1, True), (1, False)))
    assert await world.returns_of(refund) == [(1, "pending")]
    rest = await world.refund(order, WHOLE)
    assert await world.returns_of(rest) == [(2, "pending")]
    await world.stock_in.carry_out()
    assert await world.available(pairs) == [9]
    await world.books_agree()


async def test_what_was_promised_beyond_the_stock_cannot_come_back(world: World) -> None:
    order, _ = await world.sell(2, backordered=True)
    assert (await refused(world.book, asks(order.order_id, WHOLE))).name == "restock_not_possible"
    assert await world.pool.fetchval("SELECT count(*) FROM refunds") == 0
    await world.refund(order, RefundScope(whole=True))


async def test_what_an_owner_refused_to_book_did_not_come_back(world: World) -> None:
    order, _ = await world.sell(2)
    [line] = order.lines
    first = await world.refund(order, units(line.variant_id, (1, True)))
    await world.pool.execute(
        "UPDATE stock_instructions SET status = 'refused', refusal = 'no', settled_at = now()"
    )
    assert await world.returns_of(first) == [(1, "refused")]
    second = await world.refund(order, WHOLE)
    assert await world.returns_of(second) == [(1, "pending")]


async def test_many_at_once_bring_back_no_more_than_was_bought(world: World) -> None:
    order, pairs = await world.sell(3)
    [line] = order.lines
    one = units(line.variant_id, (1, True))
    made = await asyncio.gather(*[world.book.create(asks(order.order_id, one)) for _ in range(6)])
    assert sum(1 for each in made if hasattr(each, "refund")) == 3
    await world.stock_in.carry_out()
    assert await world.available(pairs) == [10]
    await world.books_agree()
