"""What only Postgres can decide: two incarnations, and races with an order's own transaction."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.orders import OrderDraft, confirmed_event
from domain.ports import StaleEpoch, Unavailable
from domain.stock import Closed, ReleaseStatus, Reserve, ReserveStatus
from domain.turns import Turn
from storage.orders import PostgresOrderBook
from storage.sql import load
from storage.stock_journal import PostgresStockJournal
from tests.actors.drafts import draft
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, release, running
from tests.actors.owners import reserve as _reserve
from tests.actors.postgres import (
    add_pair,
    status_of,
    stock_of,
    until_someone_waits_for_a_lock,
)
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio


def reserve(pair: bytes, quantity: int = 1, *, ttl_s: float = 600.0) -> Reserve:
    """A reservation with ids that no other test has."""
    return _reserve(pair, quantity, ttl_s=ttl_s)._replace(
        reservation_id=uuid.uuid4().bytes, order_id=uuid.uuid4().bytes
    )


class Race:
    """An order that is paid and held, and an owner who knows its pair."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.clock = Clock(time.time())
        self.book = PostgresOrderBook(pool, a_ring())
        self.owner = an_owner(PostgresStockJournal(pool), clock=self.clock)
        self.order: OrderDraft = draft()

    async def prepare(self) -> None:
        """Hold one of five units for the order."""
        self.pair = await add_pair(self.pool, 5)
        self.held = reserve(self.pair, ttl_s=60)._replace(order_id=self.order.order_id.bytes)
        await self.book.record([self.order])
        [answer] = await self.owner.call([self.held])
        assert answer.status == ReserveStatus.HELD

    async def confirm(self) -> str:
        """What the saga does when the payment has come through."""
        event = confirmed_event(uuid.uuid4(), self.order.order_id, 100, "USD")
        [status] = await self.book.confirm([(self.order.order_id, event)])
        return status

    @contextlib.asynccontextmanager
    async def confirming(self) -> AsyncIterator[None]:
        """A confirmation that has its locks and commits at the end of the `with`."""
        async with self.pool.acquire() as connection, connection.transaction():
            ids = [self.order.order_id]
            query = load("orders")["confirm"]
            await connection.fetch(query, ids, [uuid.uuid4()], ["order.confirmed"], ["{}"])
            yield


@contextlib.asynccontextmanager
async def _race(pool: asyncpg.Pool) -> AsyncIterator[Race]:
    race = Race(pool)
    async with running(race.owner):
        await race.prepare()
        yield race


async def test_an_expiry_that_comes_first_wins(pool: asyncpg.Pool) -> None:
    async with _race(pool) as race:
        race.clock.advance(60)
        await race.owner.call([])
        assert await race.confirm() == "not_held"
        assert await status_of(pool, race.held.reservation_id) == "expired"
        assert await stock_of(pool, race.pair) == (5, 0)


async def test_a_confirmation_that_comes_first_wins(pool: asyncpg.Pool) -> None:
    async with _race(pool) as race:
        assert await race.confirm() == "confirmed"
        race.clock.advance(60)
        [answer] = await race.owner.call([reserve(race.pair, 5)])
        assert answer == (ReserveStatus.OUT_OF_STOCK, 4)
        assert await status_of(pool, race.held.reservation_id) == "allocated"
        assert await stock_of(pool, race.pair) == (4, 1)
        assert (await race.owner.call([reserve(race.pair, 4)]))[0].status == ReserveStatus.HELD


async def test_an_expiry_that_waits_for_a_confirmation_gives_nothing_back(
    pool: asyncpg.Pool,
) -> None:
    async with _race(pool) as race:
        async with race.confirming():
            race.clock.advance(60)
            turn = asyncio.create_task(race.owner.call([reserve(race.pair, 4)]))
            await until_someone_waits_for_a_lock(pool)
        assert await turn == [(ReserveStatus.HELD, 0)]
        assert await status_of(pool, race.held.reservation_id) == "allocated"
        assert await stock_of(pool, race.pair) == (0, 5)


@pytest.mark.parametrize("how", ["released", "expired"])
async def test_a_confirmation_that_waits_for_a_closing_turn_is_not_held(
    pool: asyncpg.Pool, how: str
) -> None:
    async with _race(pool) as race:
        ids = [race.held.reservation_id]
        zero = {"pair_taken": [0], "pair_moved": [0], "pair_backordered": [0]}
        last = await pool.fetchval("SELECT last_turn FROM stock_turns")
        follows = {"previous": last, "number": last + 1}
        turn = Turn("pool-0", 1, **follows, pair_ids=[race.pair], pair_versions=[1], **zero)
        (turn.released_ids if how == "released" else turn.expired_ids).extend(ids)
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            journal = PostgresStockJournal(connection)  # type: ignore[arg-type]
            assert await journal.write_turn(turn) == [Closed(ids[0], race.pair, 1)]
            confirming = asyncio.create_task(race.confirm())
            await until_someone_waits_for_a_lock(pool)
            await transaction.commit()
        assert await confirming == "not_held"
        assert await status_of(pool, ids[0]) == how
        assert await stock_of(pool, race.pair) == (5, 0)


async def test_a_release_that_waits_for_a_confirmation_is_too_late(pool: asyncpg.Pool) -> None:
    async with _race(pool) as race:
        async with race.confirming():
            releasing = asyncio.create_task(race.owner.call([release(race.held)]))
            await until_someone_waits_for_a_lock(pool)
        [answer] = await releasing
        assert answer.status == ReleaseStatus.NOT_HELD
        assert await stock_of(pool, race.pair) == (4, 1)


async def test_a_release_that_comes_first_wins(pool: asyncpg.Pool) -> None:
    async with _race(pool) as race:
        [answer] = await race.owner.call([release(race.held)])
        assert answer.status == ReleaseStatus.RELEASED
        assert await race.confirm() == "not_held"
        assert await stock_of(pool, race.pair) == (5, 0)


async def test_of_two_incarnations_only_the_newer_writes(pool: asyncpg.Pool) -> None:
    """P5."""
    journal = PostgresStockJournal(pool)
    pair = await add_pair(pool, 5)
    old, new = an_owner(journal), an_owner(journal)
    await old.start()
    loop = asyncio.create_task(old.run())
    first = reserve(pair)
    await old.call([first])
    async with running(new):
        refused = asyncio.create_task(old.call([reserve(pair)]))
        with pytest.raises(StaleEpoch):
            await loop
        with pytest.raises(Unavailable):
            await refused
        # The successor knows what its predecessor held.
        assert await new.call([first]) == [(ReserveStatus.HELD, 4)]
    assert await stock_of(pool, pair) == (4, 1)


async def test_five_hundred_callers_never_oversell(pool: asyncpg.Pool) -> None:
    """P1."""
    pair = await add_pair(pool, 300)
    owner = an_owner(PostgresStockJournal(pool))
    async with running(owner):
        answers = await asyncio.gather(*[owner.call([reserve(pair)]) for _ in range(500)])
    statuses = [answer.status for [answer] in answers]
    assert statuses.count(ReserveStatus.HELD) == 300
    assert statuses.count(ReserveStatus.OUT_OF_STOCK) == 200
    assert await stock_of(pool, pair) == (0, 300)
    assert await pool.fetchval("SELECT sum(turns) FROM stock_turns") < 50
