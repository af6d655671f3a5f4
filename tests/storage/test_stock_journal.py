"""One suite for every stock journal: Postgres, and its twin in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from domain.ports import DuplicateReservation, StaleEpoch, Unavailable, VersionConflict
from domain.stock import Closed, Hold
from storage.stock_journal import PostgresStockJournal
from tests.actors.postgres import until_someone_waits_for_a_lock
from tests.storage.journals import OWNER, PostgresWorld, World, a_turn, some_ids, write

pytestmark = pytest.mark.asyncio


async def _held(world: World, available: int = 5, quantity: int = 2) -> tuple[bytes, bytes, int]:
    """A pair, a reservation of it, and the epoch that wrote it."""
    pair = await world.add_pair(available)
    reservation, order = some_ids()
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    await write(world, a_turn(epoch, hold=[(reservation, order, pair, quantity)]))
    return pair, reservation, epoch


async def test_epochs_rise_by_owner(world: World) -> None:
    assert [await world.journal.raise_epoch(OWNER, "here", 1) for _ in range(3)] == [1, 2, 3]
    assert await world.journal.raise_epoch("pool-1", "here", 1) == 1


async def test_a_turn_moves_the_row_and_writes_the_reservation(world: World) -> None:
    pair, other = await world.add_pair(5), await world.add_pair(1)
    first, second, order = some_ids(3)
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    turn = a_turn(
        epoch,
        hold=[(first, order, pair, 2), (second, order, pair, 1)],
        expires_at=1_900_000_000.25,
    )
    assert await write(world, turn) == []
    assert await world.stock_of(pair) == (2, 3)
    assert await world.stock_of(other) == (1, 0)
    [loaded] = await world.journal.load([pair])
    assert (loaded.available, loaded.version) == (2, 1)
    assert loaded.holds[first] == Hold(order, 2, 1_900_000_000.25)
    assert set(loaded.holds) == {first, second}
    assert (await world.journal.find([first]))[first] == (
        "active",
        pair,
        Hold(order, 2, 1_900_000_000.25),
    )


async def test_unknown_pairs_and_ids_are_left_out(world: World) -> None:
    pair = await world.add_pair(5)
    [unknown] = some_ids(1)
    assert [one.inventory_id for one in await world.journal.load([unknown, pair])] == [pair]
    assert await world.journal.find([unknown]) == {}


async def test_a_reservation_without_its_pair_loads_as_nothing(world: World) -> None:
    assert await world.journal.load([await world.stray()]) == []


async def test_only_open_reservations_are_loaded(world: World) -> None:
    pair, reservation, _ = await _held(world)
    await world.set_status(reservation, "allocated")
    [loaded] = await world.journal.load([pair])
    assert loaded.holds == {}
    assert (await world.journal.find([reservation]))[reservation][0] == "allocated"


@pytest.mark.parametrize("how", ["release", "expire"])
async def test_closing_gives_the_units_back_once(world: World, how: str) -> None:
    pair, reservation, epoch = await _held(world)
    closing: dict[str, Any] = {how: (reservation,)}
    closed = await write(world, a_turn(epoch, at={pair: 1}, **closing))
    assert closed == [Closed(reservation, pair, 2)]
    assert await write(world, a_turn(epoch, at={pair: 2}, **closing)) == []
    assert await world.stock_of(pair) == (5, 0)
    assert await world.status_of(reservation) == how + ("d" if how.endswith("e") else "")


async def test_released_and_overdue_in_one_turn_counts_as_released(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    turn = a_turn(epoch, release=(reservation,), expire=(reservation,), at={pair: 1})
    assert await write(world, turn) == [Closed(reservation, pair, 2)]
    assert await world.stock_of(pair) == (5, 0)
    assert await world.status_of(reservation) in ("released", "expired")


async def test_a_reservation_may_be_made_and_released_in_one_turn(world: World) -> None:
    pair = await world.add_pair(5)
    reservation, order = some_ids()
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    turn = a_turn(epoch, hold=[(reservation, order, pair, 2)], release=(reservation,))
    assert await write(world, turn) == [Closed(reservation, pair, 2)]
    assert await world.stock_of(pair) == (5, 0)


@pytest.mark.parametrize("how", ["release", "expire"])
async def test_an_allocated_reservation_stays_allocated(world: World, how: str) -> None:
    pair, reservation, epoch = await _held(world)
    await world.set_status(reservation, "allocated")
    closing: dict[str, Any] = {how: (reservation,)}
    assert await write(world, a_turn(epoch, at={pair: 1}, **closing)) == []
    assert await world.status_of(reservation) == "allocated"
    assert await world.stock_of(pair) == (3, 2)


async def test_a_reservation_of_a_pair_outside_the_turn_is_not_closed(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    other = await world.add_pair(1)
    assert await write(world, a_turn(epoch, release=(reservation,), at={other: 0})) == []
    assert await world.status_of(reservation) == "active"
    assert await world.stock_of(pair) == (3, 2)


async def test_a_stale_epoch_writes_nothing(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    await world.journal.raise_epoch(OWNER, "there", 2)
    fresh, order = some_ids()
    turn = a_turn(epoch, hold=[(fresh, order, pair, 1)], release=(reservation,), at={pair: 1})
    with pytest.raises(StaleEpoch):
        await write(world, turn)
    assert await world.status_of(fresh) is None
    assert await world.status_of(reservation) == "active"
    assert await world.stock_of(pair) == (3, 2)


async def test_an_owner_that_never_started_cannot_write(world: World) -> None:
    pair = await world.add_pair(1)
    reservation, order = some_ids()
    with pytest.raises(StaleEpoch):
        await write(world, a_turn(1, hold=[(reservation, order, pair, 1)]))


async def test_an_old_version_writes_nothing(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    fresh, order = some_ids()
    turn = a_turn(epoch, hold=[(fresh, order, pair, 1)], release=(reservation,), at={pair: 0})
    with pytest.raises(VersionConflict):
        await write(world, turn)
    assert await world.status_of(fresh) is None
    assert await world.stock_of(pair) == (3, 2)


async def test_an_unknown_pair_writes_nothing(world: World) -> None:
    reservation, order, unknown = some_ids(3)
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    with pytest.raises(VersionConflict):
        await write(world, a_turn(epoch, hold=[(reservation, order, unknown, 1)]))
    assert await world.status_of(reservation) is None


async def test_overselling_is_refused_whatever_the_owner_believes(world: World) -> None:
    pair = await world.add_pair(5)
    reservation, order = some_ids()
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    with pytest.raises(VersionConflict):
        await write(world, a_turn(epoch, hold=[(reservation, order, pair, 6)]))
    assert await world.stock_of(pair) == (5, 0)


@pytest.mark.parametrize("twice", ["in the database", "in the turn"])
async def test_an_id_is_written_once(world: World, twice: str) -> None:
    pair, reservation, epoch = await _held(world)
    fresh, order = some_ids()
    second = reservation if twice == "in the database" else fresh
    hold = [(fresh, order, pair, 1), (second, order, pair, 1)]
    with pytest.raises(DuplicateReservation):
        await write(world, a_turn(epoch, hold=hold, at={pair: 1}))
    assert await world.status_of(fresh) is None
    assert await world.stock_of(pair) == (3, 2)


async def test_the_sweep_finds_what_nobody_will_ask_for_again(world: World) -> None:
    pair = await world.add_pair(10)
    overdue, orphan, young, waiting, done, order = some_ids(6)
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    past, orders = time.time() - 1, some_ids(4)
    turn = a_turn(epoch, hold=[(overdue, orders[0], pair, 1)], expires_at=past)
    await write(world, turn)
    hold = [
        (orphan, orders[1], pair, 1),
        (young, orders[2], pair, 1),
        (waiting, order, pair, 1),
        (done, orders[3], pair, 1),
    ]
    await write(world, a_turn(epoch, hold=hold, at={pair: 1}))
    for reservation in (orphan, waiting, done):
        await world.backdate(reservation, 60)
    await world.pending(order)
    await world.set_status(done, "allocated")
    found = await world.journal.abandoned(orphaned_for_s=30, limit=10)
    assert set(found) == {(overdue, pair, True), (orphan, pair, False)}
    assert len(await world.journal.abandoned(orphaned_for_s=30, limit=1)) == 1


async def test_a_turn_and_a_successor_wait_for_each_other(pool: asyncpg.Pool) -> None:
    """P5: the epoch cannot rise in the middle of a turn."""
    world = PostgresWorld(pool)
    pair, _, epoch = await _held(world)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        # A turn that is under way: it holds the fence.
        await connection.execute("SELECT FROM stock_owners WHERE owner_name = $1 FOR SHARE", OWNER)
        rising = asyncio.create_task(world.journal.raise_epoch(OWNER, "there", 2))
        await until_someone_waits_for_a_lock(pool)
        assert not rising.done()
        await transaction.commit()
    assert await rising == epoch + 1
    with pytest.raises(StaleEpoch):
        await write(world, a_turn(epoch, at={pair: 1}))


@pytest.mark.parametrize("code", ["deadlock_detected", "serialization_failure", "disk_full"])
async def test_what_passes_by_itself_is_unavailable(pool: asyncpg.Pool, code: str) -> None:
    """The transaction was rolled back and may be repeated; no reason for an owner to die."""
    world = PostgresWorld(pool)
    pair, reservation, epoch = await _held(world)
    await pool.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = '{code}'; END $$;"
        " CREATE TRIGGER fail BEFORE UPDATE ON inventory_reservations EXECUTE FUNCTION fail()"
    )
    with pytest.raises(Unavailable):
        await write(world, a_turn(epoch, release=(reservation,), at={pair: 1}))
    await pool.execute("DROP TRIGGER fail ON inventory_reservations")
    turn = a_turn(epoch, release=(reservation,), at={pair: 1})
    assert await write(world, turn) == [Closed(reservation, pair, 2)]


async def test_a_closed_pool_is_unavailable(pool: asyncpg.Pool) -> None:
    journal = PostgresStockJournal(pool)
    await pool.close()
    with pytest.raises(Unavailable):
        await journal.load(some_ids(1))
    with pytest.raises(Unavailable):
        await journal.write_turn(a_turn(1))
