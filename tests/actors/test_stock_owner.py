from __future__ import annotations

import asyncio

import pytest

from actors.stock_owner import StockOwner
from domain.ports import StaleEpoch, Unavailable
from domain.stock import (
    RESERVE_QUANTITY_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    Answer,
    Release,
    ReleaseStatus,
    Reserve,
    ReserveStatus,
)
from tests.actors.memory import Clock, Fault, MemoryBoard, MemoryJournal, MemoryMetrics
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(clock.unix)


async def _ask(owner: StockOwner, *requests: Reserve | Release) -> list[Answer]:
    return await owner.call(requests)


async def test_reserve_and_release(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held, missing = reserve(pair, 3), reserve(pair, 3)
    async with running(owner):
        assert await _ask(owner, held, missing) == [
            (ReserveStatus.HELD, 2),
            (ReserveStatus.OUT_OF_STOCK, 2),
        ]
        assert [a.status for a in await _ask(owner, release(held))] == [ReleaseStatus.RELEASED]
        assert await _ask(owner, reserve(pair, 5)) == [(ReserveStatus.HELD, 0)]
    assert journal.reservations[held.reservation_id].status == "released"
    assert missing.reservation_id not in journal.reservations
    assert journal.rows[pair].quantity == 0


async def test_an_unknown_pair_is_named_as_such(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 1)
    unknown = reserve(new_id())
    async with running(owner):
        answers = await _ask(owner, unknown, reserve(pair), release(unknown))
    assert [a.status for a in answers] == [
        ReserveStatus.UNKNOWN_PAIR,
        ReserveStatus.HELD,
        ReleaseStatus.NOT_HELD,
    ]


@pytest.mark.parametrize("quantity", [0, -1, -(2**62), RESERVE_QUANTITY_MAX + 1, 2**62])
async def test_a_quantity_out_of_bounds_is_invalid(journal: MemoryJournal, quantity: int) -> None:
    owner, pair = an_owner(journal), a_pair(journal, RESERVE_QUANTITY_MAX * 2)
    async with running(owner):
        [answer] = await _ask(owner, reserve(pair, quantity))
    assert answer.status == ReserveStatus.INVALID
    assert journal.turns == []


@pytest.mark.parametrize(
    "ttl_s", [0.0, -1.0, TTL_S_MIN - 0.001, TTL_S_MAX + 0.001, float("inf"), float("nan")]
)
async def test_a_ttl_out_of_bounds_is_invalid(journal: MemoryJournal, ttl_s: float) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 1)
    async with running(owner):
        [answer] = await _ask(owner, reserve(pair, ttl_s=ttl_s))
    assert answer.status == ReserveStatus.INVALID
    assert journal.turns == []


@pytest.mark.parametrize("together", [True, False])
async def test_a_repeat_gets_the_first_answer(journal: MemoryJournal, together: bool) -> None:
    """P4."""
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        if together:
            answers = await _ask(owner, held, held)
        else:
            answers = [*await _ask(owner, held), *await _ask(owner, held)]
    assert answers == [(ReserveStatus.HELD, 2)] * 2
    assert journal.rows[pair].quantity == 2


async def test_a_repeat_of_an_allocated_reservation_holds(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 2)
    async with running(owner):
        await _ask(owner, held)
    journal.reservations[held.reservation_id].status = "allocated"
    successor = an_owner(journal)
    async with running(successor):
        assert await _ask(successor, held) == [(ReserveStatus.HELD, 3)]
    assert journal.rows[pair].quantity == 3


@pytest.mark.parametrize("reloaded", [False, True])
async def test_an_id_with_other_content_is_a_conflict(
    journal: MemoryJournal, reloaded: bool
) -> None:
    owner, pair, other = an_owner(journal), a_pair(journal, 5), a_pair(journal, 5)
    held = reserve(pair, 3)
    different = [
        held._replace(quantity=2),
        held._replace(order_id=new_id()),
        held._replace(inventory_id=other),
    ]
    async with running(owner):
        await _ask(owner, held)
        if reloaded:  # as after a version conflict, or an operator's correction
            journal.rows[pair].version += 1
        answers = [(await _ask(owner, one))[0].status for one in different]
    assert answers == [ReserveStatus.CONFLICT] * 3
    assert (journal.rows[pair].quantity, journal.rows[other].quantity) == (2, 5)


async def test_one_id_for_two_pairs_spoils_nobody_elses_turn(journal: MemoryJournal) -> None:
    owner, pair, other = an_owner(journal), a_pair(journal, 5), a_pair(journal, 5)
    twice = reserve(pair)
    async with running(owner):
        answers = await _ask(owner, twice, twice._replace(inventory_id=other), reserve(pair))
    assert [a.status for a in answers] == [
        ReserveStatus.CONFLICT,
        ReserveStatus.CONFLICT,
        ReserveStatus.HELD,
    ]


async def test_a_closed_id_stays_closed(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        await _ask(owner, held)
        await _ask(owner, release(held))
        [answer, fresh] = await _ask(owner, held, reserve(pair, 1))
    assert answer == (ReserveStatus.CLOSED, 5)
    assert fresh.status == ReserveStatus.HELD
    assert journal.rows[pair].quantity == 4


async def test_a_repeated_release_gets_the_first_answer_and_gives_back_once(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        await _ask(owner, held)
        for asked in (2, 1):  # in one turn, and in another one
            answers = await _ask(owner, *[release(held)] * asked)
            assert {a.status for a in answers} == {ReleaseStatus.RELEASED}
    assert journal.rows[pair].quantity == 5


async def test_what_was_never_held_or_is_allocated_cannot_be_released(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        await _ask(owner, held)
        journal.reservations[held.reservation_id].status = "allocated"
        answers = await _ask(owner, Release(new_id(), pair), release(held))
    assert [a.status for a in answers] == [ReleaseStatus.NOT_HELD] * 2
    assert journal.rows[pair].quantity == 2


async def test_a_release_under_another_pair_changes_nothing(journal: MemoryJournal) -> None:
    owner, pair, other = an_owner(journal), a_pair(journal, 5), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        await _ask(owner, held)
        [answer] = await _ask(owner, Release(held.reservation_id, other))
    assert answer.status == ReleaseStatus.NOT_HELD
    assert (journal.rows[pair].quantity, journal.rows[other].quantity) == (2, 5)


async def test_a_hold_expires_exactly_when_its_time_is_over(
    journal: MemoryJournal, clock: Clock
) -> None:
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)
    async with running(owner):
        await _ask(owner, held)
        clock.advance(59.999)
        assert (await _ask(owner, reserve(pair)))[0].status == ReserveStatus.OUT_OF_STOCK
        assert journal.reservations[held.reservation_id].status == "active"
        clock.advance(0.001)
        await _ask(owner, reserve(pair))  # this turn lets it expire
        assert journal.reservations[held.reservation_id].status == "expired"
        assert await _ask(owner, reserve(pair)) == [(ReserveStatus.HELD, 0)]
        [answer] = await _ask(owner, release(held))
    assert answer.status == ReleaseStatus.NOT_HELD


async def test_a_hold_expires_though_nobody_asks(journal: MemoryJournal, clock: Clock) -> None:
    owner = an_owner(journal, clock=clock)
    pair, other = a_pair(journal, 1), a_pair(journal, 1)
    held, later = reserve(pair, ttl_s=60), reserve(other, ttl_s=61)
    expiring = asyncio.Event()
    # The clock jumps while the first turn commits; the second one is the owner's own.
    journal.before_write.extend([lambda: clock.advance(60), expiring.set])
    async with running(owner):
        await _ask(owner, held, later)
        await expiring.wait()
    assert journal.reservations[held.reservation_id].status == "expired"
    assert journal.reservations[later.reservation_id].status == "active"
    assert journal.rows[pair].quantity == 1


async def test_holds_of_a_predecessor_expire_after_a_reload(
    journal: MemoryJournal, clock: Clock
) -> None:
    first, pair = an_owner(journal, clock=clock), a_pair(journal, 1)
    held = reserve(pair, ttl_s=60)
    async with running(first):
        await _ask(first, held)
    second = an_owner(journal, clock=clock)
    async with running(second):
        clock.advance(59)
        assert (await _ask(second, reserve(pair)))[0].status == ReserveStatus.OUT_OF_STOCK
        clock.advance(1)
        await _ask(second, reserve(pair))
        assert await _ask(second, reserve(pair)) == [(ReserveStatus.HELD, 0)]
    assert journal.reservations[held.reservation_id].status == "expired"


async def test_settled_holds_are_forgotten_and_open_ones_kept(
    journal: MemoryJournal, clock: Clock
) -> None:
    metrics = MemoryMetrics()
    owner = an_owner(
        journal, clock=clock, metrics=metrics, tidy_every_s=0.001, settled_after_s=30.0
    )
    pair = a_pair(journal, 5)
    settled, held = reserve(pair, 2), reserve(pair)
    async with running(owner):
        await _ask(owner, settled, held)
        journal.reservations[settled.reservation_id].status = "allocated"
        clock.advance(31)
        await journal.found.wait()
        # The settled one is looked up again when it is repeated; the open one is remembered.
        assert await _ask(owner, settled) == [(ReserveStatus.HELD, 2)]
        assert await _ask(owner, held) == [(ReserveStatus.HELD, 2)]
    assert journal.rows[pair].quantity == 2


async def test_releasing_what_expires_in_the_same_turn_counts_once(
    journal: MemoryJournal, clock: Clock
) -> None:
    owner, pair = an_owner(journal, clock=clock), a_pair(journal, 3)
    held = reserve(pair, 2, ttl_s=60)
    async with running(owner):
        await _ask(owner, held)
        clock.advance(60)
        first = await _ask(owner, release(held))
        repeat = await _ask(owner, release(held))
    assert [first[0].status, repeat[0].status] == [ReleaseStatus.RELEASED] * 2
    assert journal.turns[1].expired_ids == []
    assert journal.rows[pair].quantity == 3


async def test_five_hundred_callers_never_oversell_and_share_turns(
    journal: MemoryJournal,
) -> None:
    """P1, and the group commit that a hot pair lives from."""
    owner, pair = an_owner(journal), a_pair(journal, 300)
    async with running(owner):
        answers = await asyncio.gather(*[_ask(owner, reserve(pair)) for _ in range(500)])
    statuses = [answer.status for [answer] in answers]
    assert statuses.count(ReserveStatus.HELD) == 300
    assert statuses.count(ReserveStatus.OUT_OF_STOCK) == 200
    assert journal.rows[pair].quantity == 0
    assert len(journal.turns) < 10


async def test_the_next_turn_gathers_while_one_commits(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 100)
    go, committing = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        committing.set()
        await go.wait()

    journal.before_write.append(wait)
    async with running(owner):
        first = asyncio.create_task(_ask(owner, reserve(pair)))
        await committing.wait()
        rest = [asyncio.create_task(_ask(owner, reserve(pair))) for _ in range(50)]
        await asyncio.sleep(0)
        assert not first.done()  # P3: nobody is told before it is written
        go.set()
        await asyncio.gather(first, *rest)
    assert [len(turn.reservation_ids) for turn in journal.turns] == [1, 50]


async def test_a_turn_takes_no_more_calls_once_it_is_full(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal, turn_max=10), a_pair(journal, 100)
    async with running(owner):
        await asyncio.gather(*[_ask(owner, reserve(pair)) for _ in range(35)])
    assert max(len(turn.reservation_ids) for turn in journal.turns) == 10


async def test_over_its_bound_an_owner_is_busy_at_once(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal, queue_max=20), a_pair(journal, 100)
    waiting = [asyncio.create_task(_ask(owner, reserve(pair))) for _ in range(10)]
    await asyncio.sleep(0)
    refused = await _ask(owner, reserve(pair), Release(new_id(), pair))
    assert [a.status for a in refused] == [ReserveStatus.BUSY, ReleaseStatus.BUSY]
    assert all(0 < a.available <= 5_000 for a in refused)  # ms to wait
    async with running(owner):
        answers = await asyncio.gather(*waiting)
        assert {answer.status for [answer] in answers} == {ReserveStatus.HELD}
        assert (await _ask(owner, reserve(pair)))[0].status == ReserveStatus.HELD


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_repeat_after_a_lost_commit_holds_once(
    journal: MemoryJournal, fault: Fault
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    journal.faults.plan("write_turn", fault)
    held = reserve(pair, 3)
    async with running(owner):
        assert (await _ask(owner, held))[0].status == ReserveStatus.UNAVAILABLE
        assert await _ask(owner, held) == [(ReserveStatus.HELD, 2)]
    assert journal.rows[pair].quantity == 2
    assert journal.rows[pair].reserved == 3


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_release_after_a_lost_commit_gives_back_once(
    journal: MemoryJournal, fault: Fault
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair, 3)
    async with running(owner):
        await _ask(owner, held)
        journal.faults.plan("write_turn", fault)
        assert (await _ask(owner, release(held)))[0].status == ReleaseStatus.UNAVAILABLE
        assert (await _ask(owner, release(held)))[0].status == ReleaseStatus.RELEASED
        assert (await _ask(owner, reserve(pair, 5)))[0].status == ReserveStatus.HELD


@pytest.mark.parametrize("method", ["load", "find"])
async def test_a_read_that_fails_is_unavailable_and_passes(
    journal: MemoryJournal, method: str
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    held = reserve(pair)
    journal.faults.plan(method, Fault.BEFORE)
    async with running(owner):
        answers = await _ask(owner, held, Release(new_id(), pair))
        assert {a.status for a in answers} == {ReserveStatus.UNAVAILABLE}
        assert (await _ask(owner, held))[0].status == ReserveStatus.HELD
    assert journal.rows[pair].quantity == 4


async def test_a_row_that_changed_behind_its_back_is_decided_again(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    async with running(owner):
        await _ask(owner, reserve(pair))
        journal.rows[pair].quantity = 2  # an operator's correction
        journal.rows[pair].version += 1
        answers = await _ask(owner, reserve(pair, 2), reserve(pair, 1))
    assert answers == [(ReserveStatus.HELD, 0), (ReserveStatus.OUT_OF_STOCK, 0)]
    assert journal.rows[pair].quantity == 0


async def test_a_row_that_keeps_changing_is_given_up_for_now(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)

    def change() -> None:
        journal.rows[pair].version += 1

    journal.before_write.extend([change] * 3)
    async with running(owner):
        assert (await _ask(owner, reserve(pair)))[0].status == ReserveStatus.UNAVAILABLE
        assert (await _ask(owner, reserve(pair))) == [(ReserveStatus.HELD, 4)]


async def test_of_two_incarnations_only_the_newer_writes(journal: MemoryJournal) -> None:
    """P5."""
    old, new, pair = an_owner(journal), an_owner(journal), a_pair(journal, 5)
    await old.start()
    old_loop = asyncio.create_task(old.run())
    await _ask(old, reserve(pair))
    async with running(new):
        refused = asyncio.create_task(_ask(old, reserve(pair)))
        with pytest.raises(StaleEpoch):
            await old_loop
        with pytest.raises(Unavailable):
            await refused
        assert await _ask(new, reserve(pair)) == [(ReserveStatus.HELD, 3)]
    assert [turn.epoch for turn in journal.turns] == [1, 2]


async def test_an_owner_that_has_stopped_leaves_nobody_waiting(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    committing = asyncio.Event()

    async def commit_for_ever() -> None:
        committing.set()
        await asyncio.Event().wait()

    journal.before_write.append(commit_for_ever)
    async with running(owner):
        deciding = asyncio.create_task(_ask(owner, reserve(pair)))
        await committing.wait()
        queued = asyncio.create_task(_ask(owner, reserve(pair)))
        await asyncio.sleep(0)
    for waiting in (deciding, queued):
        with pytest.raises(Unavailable):
            await waiting
    with pytest.raises(Unavailable):
        await _ask(owner, reserve(pair))


async def test_who_hung_up_does_not_hurt_the_others(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    gone, stays = (asyncio.create_task(_ask(owner, reserve(pair))) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    async with running(owner):
        assert (await stays)[0].status == ReserveStatus.HELD


async def test_pairs_that_hold_nothing_make_room(journal: MemoryJournal) -> None:
    owner = an_owner(journal, pairs_max=10)
    pairs = [a_pair(journal, 5) for _ in range(30)]
    held = reserve(pairs[0])
    async with running(owner):
        await _ask(owner, held)
        for pair in pairs[1:]:
            assert (await _ask(owner, reserve(pair, 9)))[0].available == 5
        loads = len(journal.loads)
        assert await _ask(owner, held) == [(ReserveStatus.HELD, 4)]
        assert len(journal.loads) == loads  # what holds something has stayed
        assert (await _ask(owner, reserve(pairs[1])))[0].status == ReserveStatus.HELD
        assert len(journal.loads) == loads + 1


async def test_making_room_spares_the_pairs_of_this_very_turn(journal: MemoryJournal) -> None:
    owner = an_owner(journal, pairs_max=2)
    known, other, fresh = (a_pair(journal, 5) for _ in range(3))
    async with running(owner):
        await _ask(owner, reserve(known, 9), reserve(other, 9))
        answers = await _ask(owner, reserve(fresh), reserve(known))
    assert [a.status for a in answers] == [ReserveStatus.HELD] * 2


async def test_many_pairs_are_loaded_in_bounded_batches(journal: MemoryJournal) -> None:
    owner = an_owner(journal, load_max=10)
    pairs = [a_pair(journal, 5) for _ in range(25)]
    async with running(owner):
        answers = await _ask(owner, *[reserve(pair) for pair in pairs])
    assert {a.status for a in answers} == {ReserveStatus.HELD}
    assert sorted(len(one) for one in journal.loads) == [5, 10, 10]


async def test_availability_and_figures_are_published(journal: MemoryJournal, clock: Clock) -> None:
    board, metrics = MemoryBoard(), MemoryMetrics()
    board.broken = True  # a failure of the board does not stop selling or publishing
    owner = an_owner(
        journal,
        clock=clock,
        board=board,
        metrics=metrics,
        publish_every_s=0.001,
        report_every_s=0.001,
    )
    pair = a_pair(journal, 5)
    key = (journal.rows[pair].variant_id, pair)
    async with running(owner):
        await _ask(owner, reserve(pair, 2))
        while board.available.get(key) != 3:
            board.changed.clear()
            await board.changed.wait()
        metrics.changed.clear()
        await metrics.changed.wait()
    shown = metrics.shown["owners", "pool-0"]
    assert shown["epoch"] == 1
    assert shown["pairs"] == 1
    assert shown["reservations_total"] == 1
