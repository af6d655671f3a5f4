"""Stock that is still to come: promised in bounds, and given first come, first served."""

from __future__ import annotations

import pytest

from actors.stock_owner import StockOwner
from domain.stock import (
    Load,
    Movement,
    MovementKind,
    MovementStatus,
    PairStatus,
    Policy,
    Release,
    ReleaseStatus,
    Reserve,
    ReserveStatus,
)
from domain.turns import Instruction
from tests.actors.memory import Clock, MemoryBoard, MemoryJournal
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(clock.unix)


def promising(journal: MemoryJournal, available: int, most: int = 10, safety: int = 0) -> bytes:
    """A pair that may be sold beyond its stock."""
    pair = a_pair(journal, available)
    journal.rows[pair].policy = Policy(safety, most)
    return pair


def receive(journal: MemoryJournal, pair: bytes, quantity: int) -> Movement:
    """Stock that comes in."""
    movement = Movement(new_id(), pair, MovementKind.RECEIVE, quantity)
    journal.asked[movement.movement_id] = Instruction(*movement[1:], "pending")
    return movement


async def _statuses(owner: StockOwner, *requests: Reserve | Release | Movement | Load) -> list[int]:
    return [answer.status for answer in await owner.call(requests)]


def _row(journal: MemoryJournal, pair: bytes) -> tuple[int, int, int]:
    row = journal.rows[pair]
    return row.quantity, row.reserved, row.backordered


async def test_beyond_the_stock_is_promised_up_to_a_bound(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), promising(journal, 2, most=4)
    waits = reserve(pair, 3)
    async with running(owner):
        assert await _statuses(owner, reserve(pair, 2), waits, reserve(pair, 2), waits) == [
            ReserveStatus.HELD,
            ReserveStatus.BACKORDERED,
            ReserveStatus.OUT_OF_STOCK,
            ReserveStatus.BACKORDERED,
        ]
        assert await _statuses(owner, reserve(pair, 1)) == [ReserveStatus.BACKORDERED]
    assert _row(journal, pair) == (0, 2, 4)


async def test_who_waits_is_served_before_new_buyers(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), promising(journal, 0)
    first, second = reserve(pair, 2), reserve(pair, 2)
    async with running(owner):
        await owner.call([first, second])
        answers = await owner.call([reserve(pair), receive(journal, pair, 3), reserve(pair)])
        assert [one.status for one in answers] == [
            ReserveStatus.BACKORDERED,
            MovementStatus.RECORDED,
            ReserveStatus.BACKORDERED,  # one unit is there, and it is the second one's
        ]
        assert await _statuses(owner, first, second) == [
            ReserveStatus.HELD,
            ReserveStatus.BACKORDERED,
        ]
        await owner.call([receive(journal, pair, 4)])
        assert (await owner.call([reserve(pair)])) == [(ReserveStatus.HELD, 0)]
    assert _row(journal, pair) == (0, 7, 0)


async def test_what_is_given_back_goes_to_who_waits(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), promising(journal, 2)
    held, waits = reserve(pair, 2), reserve(pair, 2)
    async with running(owner):
        await owner.call([held, waits])
        assert await _statuses(owner, release(held)) == [ReleaseStatus.RELEASED]
        assert await _statuses(owner, reserve(pair)) == [ReserveStatus.BACKORDERED]
        assert await _statuses(owner, waits) == [ReserveStatus.HELD]
    assert _row(journal, pair) == (0, 2, 1)


@pytest.mark.parametrize("how", ["release", "expiry"])
async def test_who_waits_no_more_makes_way(journal: MemoryJournal, clock: Clock, how: str) -> None:
    owner, pair = an_owner(journal, clock=clock), promising(journal, 1)
    large, small = reserve(pair, 5, ttl_s=60), reserve(pair, 1)
    async with running(owner):
        await owner.call([large, small])
        if how == "release":
            assert await _statuses(owner, release(large)) == [ReleaseStatus.RELEASED]
            assert await _statuses(owner, release(large)) == [ReleaseStatus.RELEASED]
        else:
            clock.advance(60)
            await owner.call([])
        await owner.call([])
        assert await _statuses(owner, small) == [ReserveStatus.HELD]
    assert _row(journal, pair) == (0, 1, 0)


async def test_a_confirmed_order_keeps_its_place(journal: MemoryJournal, clock: Clock) -> None:
    owner, pair = an_owner(journal, clock=clock), promising(journal, 0)
    first, second = reserve(pair, 2, ttl_s=60), reserve(pair, 1)
    async with running(owner):
        await owner.call([first, second])
        journal.reservations[first.reservation_id].status = "allocated"
        clock.advance(60)  # its hold runs out, and the order does not
        await owner.call([receive(journal, pair, 2)])
        assert _row(journal, pair) == (0, 2, 1)
        await owner.call([receive(journal, pair, 1)])
        assert await _statuses(owner, second) == [ReserveStatus.HELD]
    assert not journal.reservations[first.reservation_id].backordered


async def test_a_successor_serves_in_the_same_order(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), promising(journal, 0)
    waiting = [reserve(pair, 1) for _ in range(5)]
    async with running(owner):
        await owner.call(waiting)
    successor = an_owner(journal)
    async with running(successor):
        await successor.call([receive(journal, pair, 2)])
        assert await _statuses(successor, *waiting) == [
            *[ReserveStatus.HELD] * 2,
            *[ReserveStatus.BACKORDERED] * 3,
        ]


async def test_safety_stock_is_not_sold_and_not_given_to_who_waits_for_its_sake(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), promising(journal, 5, safety=4)
    async with running(owner):
        assert await owner.call([reserve(pair)]) == [(ReserveStatus.HELD, 0)]
        waits = reserve(pair, 2)
        assert await _statuses(owner, waits, Load(pair)) == [
            ReserveStatus.BACKORDERED,
            PairStatus.DONE,
        ]
        await owner.call([Load(pair)])  # who waits is looked at when a pair is loaded
        assert _row(journal, pair) == (4, 1, 2)
        journal.rows[pair].policy = Policy(safety_stock=2, backorder_max=10)
        await owner.call([Load(pair)])
        assert await _statuses(owner, waits) == [ReserveStatus.HELD]
    assert _row(journal, pair) == (2, 3, 0)


async def test_nothing_can_be_bought_while_somebody_waits_and_readers_see_it(
    journal: MemoryJournal,
) -> None:
    board = MemoryBoard()
    owner = an_owner(journal, board=board, publish_every_s=0.0001)
    pair = promising(journal, 3)
    async with running(owner):
        answers = await owner.call([reserve(pair, 5), reserve(pair, 1)])
        assert [tuple(one) for one in answers] == [(ReserveStatus.BACKORDERED, 0)] * 2
        key = (journal.rows[pair].variant_id, pair)
        while board.available.get(key) != 0:
            board.changed.clear()
            await board.changed.wait()
    assert _row(journal, pair) == (3, 0, 6)
