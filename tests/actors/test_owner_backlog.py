"""What an owner still has to do after a turn that could not be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from actors import stock_owner
from actors.stock_owner import StockOwner
from domain.stock import Extend, Pair, Policy, ReserveStatus
from tests.actors.memory import Clock, Fault, MemoryJournal
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(clock.unix)


async def _until(owner: StockOwner, holds: Callable[[], bool]) -> None:
    """Turns that ask for nothing, until it holds."""
    for _ in range(20):
        if holds():
            return
        await owner.call([])
    raise AssertionError("20 turns have not brought it about")


@pytest.mark.parametrize("failure", ["before", "after", "conflict"])
async def test_holds_that_were_due_in_a_turn_that_failed_expire_though_nobody_asks(
    journal: MemoryJournal, clock: Clock, failure: str
) -> None:
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)

    def change() -> None:
        journal.rows[pair].version += 1

    async with running(owner):
        await owner.call([held])
        if failure == "conflict":
            journal.before_write.append(change)
        else:
            journal.faults.plan("write_turn", Fault(failure))
        clock.advance(60)
        await _until(owner, lambda: journal.reservations[held.reservation_id].status == "expired")
        assert await owner.call([reserve(pair)]) == [(ReserveStatus.HELD, 0)]


async def test_holds_of_a_pair_that_left_memory_expire_though_nobody_asks(
    journal: MemoryJournal, clock: Clock
) -> None:
    """A turn that could not be written takes its pairs out of memory; their holds are watched."""
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 5)
    held = reserve(pair, ttl_s=60)
    async with running(owner):
        await owner.call([held])
        journal.faults.plan("write_turn", Fault.BEFORE)
        await owner.call([reserve(pair)])
        clock.advance(59.9)
        await owner.call([])
        assert journal.reservations[held.reservation_id].status == "active"
        clock.advance(0.1)
        await _until(owner, lambda: journal.reservations[held.reservation_id].status == "expired")


async def test_who_was_to_be_served_in_a_turn_that_failed_is_served(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 1)
    journal.rows[pair].policy = Policy(backorder_max=5)
    first, second = reserve(pair), reserve(pair)
    waiting = journal.reservations

    def fail() -> None:
        journal.faults.plan("write_turn", Fault.BEFORE)

    async with running(owner):
        await owner.call([first])
        assert (await owner.call([second]))[0].status == ReserveStatus.BACKORDERED
        journal.before_write.extend([lambda: None, fail])  # the release is written, serving is not
        await owner.call([release(first)])
        await _until(owner, lambda: not waiting[second.reservation_id].backordered)
    assert (journal.rows[pair].quantity, journal.rows[pair].backordered) == (0, 0)


async def test_while_postgres_is_away_what_is_due_is_tried_again_with_pauses(
    journal: MemoryJournal, clock: Clock
) -> None:
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)
    async with running(owner):
        await owner.call([held])
        journal.faults.plan("write_turn", *[Fault.BEFORE] * 2)
        clock.advance(60)
        before, loop = len(journal.loads), asyncio.get_running_loop()
        began = loop.time()
        await _until(owner, lambda: journal.reservations[held.reservation_id].status == "expired")
    assert loop.time() - began >= 2 * stock_owner._PAUSE_AFTER_FAILURE_S  # pyright: ignore[reportPrivateUsage]
    assert len(journal.loads) - before <= 3


async def test_a_hold_expires_within_a_look_when_the_clock_jumps(
    journal: MemoryJournal, clock: Clock
) -> None:
    """An owner sleeps until the next expiry by the clock of the moment, and looks up regularly."""
    owner, pair = an_owner(journal, clock=clock, look_every_s=0.005), a_pair(journal, 1)
    held = reserve(pair, ttl_s=600)
    expired = asyncio.Event()
    journal.before_write.extend([lambda: None, expired.set])
    async with running(owner):
        await owner.call([held])
        await asyncio.sleep(0)
        clock.advance(600)  # nobody tells the owner
        async with asyncio.timeout(5):
            await expired.wait()
            await owner.call([])
    assert journal.reservations[held.reservation_id].status == "expired"


async def test_the_clock_may_step_back_in_the_middle_of_an_expiry(
    journal: MemoryJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, pair, other = an_owner(journal, clock=clock), a_pair(journal, 1), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)
    async with running(owner):
        await owner.call([held])
        clock.advance(60)
        load = journal.load

        async def step_back(ids: Sequence[bytes]) -> list[Pair]:
            clock.advance(-5)
            return await load(ids)

        monkeypatch.setattr(journal, "load", step_back)
        await owner.call([reserve(other)])
        await owner.call([])
    assert journal.reservations[held.reservation_id].status == "expired"


async def test_an_extended_hold_does_not_expire_early_and_not_late(
    journal: MemoryJournal, clock: Clock
) -> None:
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)
    extend = Extend(new_id(), held.reservation_id, pair, 100.0)
    async with running(owner):
        await owner.call([held])
        clock.advance(59)
        assert (await owner.call([extend]))[0].status == 0
        clock.advance(99.9)
        assert (await owner.call([extend]))[0].status == 0  # a repeat gives no more time
        assert (await owner.call([reserve(pair)]))[0].status == ReserveStatus.OUT_OF_STOCK
        clock.advance(0.1)
        await owner.call([])
    assert journal.reservations[held.reservation_id].status == "expired"
