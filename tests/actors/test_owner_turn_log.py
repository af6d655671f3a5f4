"""The turn log on Postgres: rows follow, and whoever comes next finds all of it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from actors.stock_owner import StockOwner
from domain.owners import Homes, owner_number, pool_names
from domain.ports import StaleEpoch, Unavailable
from domain.stock import Closed, HandOver, PairStatus, Reserve, ReserveStatus
from domain.turn_log import LogBounds
from domain.turns import Turn
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, release, running
from tests.actors.postgres import (
    add_pair,
    now_of,
    status_of,
    stock_of,
    until_someone_waits_for_a_lock,
)
from tests.actors.test_stock_owner_postgres import reserve

pytestmark = pytest.mark.asyncio
BOUNDS = LogBounds()


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
        assert await now_of(pool, pair) == (980, 20)
        clock.advance(BOUNDS.behind_max_s)
        await owner.call([])
        assert await stock_of(pool, pair) == await now_of(pool, pair) == (980, 20)


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
    assert await now_of(pool, pair) == (600, 400)
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
    assert await now_of(pool, pair) == (960, 40)


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
    assert await now_of(pool, pair) == (600, 400)


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
    assert await now_of(pool, pair) == (960, 40)


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
    assert await now_of(pool, pair) == (975, 25)


async def _generations(pool: asyncpg.Pool, owner: str) -> list[tuple[int, bool]]:
    rows = await pool.fetch(
        "SELECT epoch, retired FROM stock_turns WHERE owner_name = $1 ORDER BY epoch", owner
    )
    return [(row["epoch"], row["retired"]) for row in rows]


async def test_pairs_are_not_taken_home_from_beside_a_generation_that_begins(
    pool: asyncpg.Pool,
) -> None:
    """P5: whichever comes second must see what the first has done."""
    journal = PostgresStockJournal(pool)
    await journal.raise_epoch("hot-0", "here", 1)
    async with pool.acquire() as connection:
        turn = connection.transaction()
        await turn.start()  # the old generation is still writing
        await connection.execute("UPDATE stock_turns SET turns = turns + 1")
        beginning = asyncio.create_task(journal.raise_epoch("hot-0", "there", 2))
        await until_someone_waits_for_a_lock(pool)
        reclaiming = asyncio.create_task(journal.reclaim("hot-0"))
        await turn.commit()
    epoch = await beginning
    await reclaiming
    assert await _generations(pool, "hot-0") == [(1, True), (2, True), (3, True)]
    with pytest.raises(StaleEpoch):
        await journal.checkpoint("hot-0", epoch)


async def test_a_release_under_another_pairs_name_ends_nobody(pool: asyncpg.Pool) -> None:
    clock = Clock()
    owner = an_owner(PostgresStockJournal(pool), clock=clock, pairs_max=1)
    held_of, other = [await add_pair(pool, 1_000) for _ in range(2)]
    held = reserve(held_of, 5)
    async with running(owner):
        await owner.call([held])
        clock.advance(BOUNDS.behind_max_s)
        await owner.call([release(held)._replace(inventory_id=other)])
        await _sell(owner, other, 10, 990)
        await _sell(owner, held_of, 10, 990 - 5 * (await _status(pool, held) == "active"))


async def _status(pool: asyncpg.Pool, held: Reserve) -> str | None:
    return await status_of(pool, held.reservation_id)
