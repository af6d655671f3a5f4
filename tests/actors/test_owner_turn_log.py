"""The turn log on Postgres: rows follow, and whoever comes next finds all of it."""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from actors.stock_owner import StockOwner
from domain.owners import Homes, owner_number, pool_names
from domain.ports import StaleEpoch, Unavailable
from domain.stock import Closed, HandOver, PairStatus, ReserveStatus
from domain.turn_log import LogBounds
from domain.turns import Turn
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, release, running
from tests.actors.postgres import add_pair, stock_of
from tests.actors.test_stock_owner_postgres import reserve

pytestmark = pytest.mark.asyncio
BOUNDS = LogBounds()


async def _now(pool: asyncpg.Pool, pair: bytes) -> tuple[int, int]:
    row = await pool.fetchrow(
        "SELECT quantity, reserved FROM stock_now WHERE inventory_id = $1", uuid.UUID(bytes=pair)
    )
    assert row is not None
    return row["quantity"], row["reserved"]


async def _sell(owner: StockOwner, pair: bytes, quantity: int, left: int) -> None:
    [answer] = await owner.call([reserve(pair, quantity)])
    assert answer == (ReserveStatus.HELD, left)


async def test_a_row_follows_the_log_some_time_later(pool: asyncpg.Pool) -> None:
    clock = Clock()
    owner = an_owner(PostgresStockJournal(pool), clock=clock)
    pair = await add_pair(pool, 1_000)
    async with running(owner):
        for left in (990, 980):
            await _sell(owner, pair, 10, left)
        assert await stock_of(pool, pair) == (1_000, 0)
        assert await _now(pool, pair) == (980, 20)
        clock.advance(BOUNDS.behind_max_s)
        await owner.call([])
        assert await stock_of(pool, pair) == await _now(pool, pair) == (980, 20)


async def test_of_the_last_units_the_row_keeps_count(pool: asyncpg.Pool) -> None:
    owner = an_owner(PostgresStockJournal(pool))
    pair = await add_pair(pool, BOUNDS.units_min + 10)
    async with running(owner):
        await _sell(owner, pair, 10, BOUNDS.units_min)
        assert await stock_of(pool, pair) == (BOUNDS.units_min + 10, 0)
        await _sell(owner, pair, 1, BOUNDS.units_min - 1)
        assert await stock_of(pool, pair) == (BOUNDS.units_min - 1, 11)


async def test_what_is_released_was_not_lost_in_the_log(pool: asyncpg.Pool) -> None:
    owner = an_owner(PostgresStockJournal(pool))
    pair = await add_pair(pool, 1_000)
    async with running(owner):
        await _sell(owner, pair, 30, 970)
        held = reserve(pair, 5)
        await owner.call([held])
        await owner.call([release(held)])
    assert await stock_of(pool, pair) == (970, 30)


async def test_a_successor_finds_what_only_the_log_has(pool: asyncpg.Pool) -> None:
    pair = await add_pair(pool, 1_000)
    async with running(an_owner(PostgresStockJournal(pool))) as [task]:
        pass
    first, second = (an_owner(PostgresStockJournal(pool)) for _ in range(2))
    async with running(first):
        await _sell(first, pair, 300, 700)
    assert await stock_of(pool, pair) == (1_000, 0)
    async with running(second):
        await _sell(second, pair, 100, 600)
    assert await _now(pool, pair) == (600, 400)
    assert task.cancelled()


async def test_who_takes_a_pair_over_finds_it_in_the_row(pool: asyncpg.Pool) -> None:
    homes = pool_names(1)
    home = an_owner(PostgresStockJournal(pool), pool=homes)
    hot = an_owner(PostgresStockJournal(pool), name="hot-0", pool=homes)
    pair = await add_pair(pool, 1_000)
    async with running(home, hot):
        sold = 0
        for there, back in ((home, hot), (hot, home), (home, hot)):
            sold += 10
            await _sell(there, pair, 10, 1_000 - sold)
            [given] = await there.call([HandOver(pair, owner_number(back.name))])
            assert given.status == PairStatus.DONE
            assert await stock_of(pool, pair) == (1_000 - sold, sold)
        await _sell(hot, pair, 10, 1_000 - sold - 10)
    assert await _now(pool, pair) == (960, 40)


async def test_a_pool_of_another_size_finds_what_the_old_one_logged(pool: asyncpg.Pool) -> None:
    two, one = pool_names(2), pool_names(1)
    pairs = [await add_pair(pool, 1_000) for _ in range(6)]
    pair = next(one for one in pairs if Homes(two).home_of(one) == "pool-1")
    old = [an_owner(PostgresStockJournal(pool), name=name, pool=two) for name in two]
    new = an_owner(PostgresStockJournal(pool), pool=one)

    async def one_after_the_other() -> None:
        async with running(*old):
            await _sell(old[1], pair, 300, 700)
            async with running(new):
                await _sell(new, pair, 100, 600)
                with pytest.raises(Unavailable):
                    await old[1].call([reserve(pair, 500)])

    with pytest.raises(StaleEpoch):
        await one_after_the_other()
    assert await _now(pool, pair) == (600, 400)


async def test_a_pool_of_the_same_size_ends_nobody(pool: asyncpg.Pool) -> None:
    names = pool_names(2)
    owners = [an_owner(PostgresStockJournal(pool), name=name, pool=names) for name in names]
    pairs = [await add_pair(pool, 1_000) for _ in range(6)]
    async with running(*owners):
        for pair in pairs:
            owner = owners[names.index(Homes(names).home_of(pair))]
            await _sell(owner, pair, 10, 990)


class _Unheard(PostgresStockJournal):
    """Its answer to one turn is lost after the commit."""

    unheard = False

    async def write_turn(self, turn: Turn) -> list[Closed]:
        closed = await super().write_turn(turn)
        if self.unheard:
            self.unheard = False
            raise Unavailable("the answer was lost")
        return closed


async def test_after_a_turn_that_was_not_heard_of_nothing_is_counted_twice(
    pool: asyncpg.Pool,
) -> None:
    journal = _Unheard(pool)
    owner = an_owner(journal)
    pair = await add_pair(pool, 1_000)
    async with running(owner):
        await _sell(owner, pair, 10, 990)
        journal.unheard = True
        asked = reserve(pair, 20)
        [unheard] = await owner.call([asked])
        assert unheard.status == ReserveStatus.UNAVAILABLE
        assert (await owner.call([asked]))[0] == (ReserveStatus.HELD, 970)
        await _sell(owner, pair, 10, 960)
    assert await _now(pool, pair) == (960, 40)


async def test_a_turn_that_does_not_follow_the_last_one_is_not_written(pool: asyncpg.Pool) -> None:
    journal = PostgresStockJournal(pool)
    owner = an_owner(journal)
    pair = await add_pair(pool, 1_000)
    async with running(owner):
        await _sell(owner, pair, 10, 990)
        # Somebody writes as this very generation: what the owner remembers is not all any more.
        number = await journal.checkpoint(owner.name, owner.epoch)
        late = Turn(owner.name, owner.epoch, number, number + 1)
        late.logged_ids, late.logged_taken = [pair], [5]
        await journal.write_turn(late)
        await _sell(owner, pair, 10, 975)
    assert await _now(pool, pair) == (975, 25)
