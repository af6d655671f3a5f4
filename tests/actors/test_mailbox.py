"""The owner's queue: fair between callers, bounded, and honest about when to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from actors.mailbox import RETRY_AFTER_MS_MAX, RETRY_AFTER_MS_MIN, Call, Mailbox
from domain.stock import Answer, Load, ReserveStatus
from tests.actors.memory import Clock, MemoryJournal
from tests.actors.owners import a_pair, an_owner, reserve, running

pytestmark = pytest.mark.asyncio
TURN_MAX = 100


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_call(size: int) -> Call:
    """So many requests."""
    return Call([Load(bytes(16))] * size, asyncio.get_running_loop().create_future())


def sizes(calls: list[Call]) -> list[int]:
    """How many requests each has."""
    return [len(call.requests) for call in calls]


async def test_a_greedy_caller_delays_a_small_one_by_no_turn(clock: Clock) -> None:
    mailbox = Mailbox(20_000, clock.unix)
    while mailbox.put("greedy", a_call(50)):
        pass
    small = a_call(1)
    assert mailbox.queued > 50 * TURN_MAX
    assert mailbox.put("small", small)
    assert small in mailbox.take(TURN_MAX)


@hypothesis.given(
    greedy=st.integers(1, 12), size=st.integers(1, TURN_MAX), queue_max=st.integers(2_000, 20_000)
)
async def test_a_small_caller_waits_for_one_call_of_each_other_caller_at_most(
    greedy: int, size: int, queue_max: int
) -> None:
    mailbox = Mailbox(queue_max, Clock().unix)
    for name in range(greedy):
        while mailbox.put(name, a_call(size)):
            pass
    small = a_call(1)
    if not mailbox.put("small", small):
        assert mailbox.queued == queue_max
        return
    others = 0
    while small not in (turn := mailbox.take(TURN_MAX)):
        others += len(turn)
    assert others <= greedy


async def test_callers_are_served_in_turn_and_each_in_its_own_order(clock: Clock) -> None:
    mailbox = Mailbox(1_000, clock.unix)
    for name, size in [("a", 1), ("a", 2), ("a", 3), ("b", 10), ("b", 20), ("c", 100)]:
        assert mailbox.put(name, a_call(size))
    assert sizes(mailbox.take(1_000)) == [1, 10, 100, 2, 20, 3]
    assert not mailbox
    assert mailbox.queued == 0


async def test_a_turn_ends_where_it_is_full_and_a_large_call_is_not_cut(clock: Clock) -> None:
    mailbox = Mailbox(1_000, clock.unix)
    for name, size in enumerate((60, 60, 200, 1)):
        assert mailbox.put(name, a_call(size))
    assert [sizes(mailbox.take(TURN_MAX)) for _ in range(3)] == [[60, 60], [200], [1]]
    assert mailbox.take(TURN_MAX) == []


async def test_the_bound_is_shared(clock: Clock) -> None:
    mailbox = Mailbox(1_000, clock.unix)

    def fill(name: str) -> int:
        before = mailbox.queued
        while mailbox.put(name, a_call(10)):
            pass
        return mailbox.queued - before

    assert [fill("a"), fill("b"), fill("a")] == [500, 330, 0]
    assert not mailbox.put("a", a_call(1))  # it has its part already
    assert mailbox.put("c", a_call(100))  # who has nothing yet finds room
    assert not mailbox.put("d", a_call(mailbox.queued))  # but the whole is bounded
    while mailbox.take(TURN_MAX):
        pass
    assert mailbox.put("a", a_call(500))


async def test_one_large_call_of_a_new_caller_is_let_in(clock: Clock) -> None:
    mailbox = Mailbox(100, clock.unix)
    assert mailbox.put("a", a_call(100))
    assert not mailbox.put("b", a_call(1))
    assert not Mailbox(100, clock.unix).put("a", a_call(101))


@hypothesis.given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 3), st.integers(0, 40)),
            st.just("take"),
        ),
        max_size=60,
    )
)
async def test_nothing_is_lost_or_counted_twice(steps: list[Any]) -> None:
    mailbox = Mailbox(200, Clock().unix)
    waiting: list[Call] = []
    for step in steps:
        if step == "take":
            taken = mailbox.take(50)
            assert sum(sizes(taken)) < 50 + 40
            waiting = [one for one in waiting if one not in taken]
        elif mailbox.put(step[0], call := a_call(step[1])):
            waiting.append(call)
        assert mailbox.queued == sum(sizes(waiting)) <= 200
        assert bool(mailbox) == bool(waiting)
    assert sorted(map(id, mailbox.clear())) == sorted(map(id, waiting))
    assert not mailbox
    assert mailbox.queued == 0


async def _turns(mailbox: Mailbox, clock: Clock, turns: int, seconds: float) -> None:
    """Turns that are full, with more waiting behind them."""
    for _ in range(turns):
        while mailbox.queued <= 2 * TURN_MAX:
            assert mailbox.put("a", a_call(TURN_MAX))
        mailbox.take(TURN_MAX)
        clock.advance(seconds)


async def test_come_back_when_what_waits_is_done(clock: Clock) -> None:
    mailbox = Mailbox(100_000, clock.unix)
    await _turns(mailbox, clock, 20, 0.010)  # 10,000 a second
    assert mailbox.put("a", a_call(10_000 - mailbox.queued))
    assert mailbox.retry_after_ms == pytest.approx(1_000, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1e-6, RETRY_AFTER_MS_MIN), (1e3, RETRY_AFTER_MS_MAX)]
)
async def test_when_to_come_back_is_bounded(clock: Clock, seconds: float, expected: int) -> None:
    mailbox = Mailbox(100_000, clock.unix)
    await _turns(mailbox, clock, 5, seconds)
    assert mailbox.retry_after_ms == expected


async def test_a_quiet_hour_does_not_make_an_owner_look_slow(clock: Clock) -> None:
    """How fast requests arrive says nothing about how fast they are answered."""
    fresh = Mailbox(100_000, clock.unix)
    assert RETRY_AFTER_MS_MIN <= fresh.retry_after_ms <= RETRY_AFTER_MS_MAX // 10
    for _ in range(100):
        assert fresh.put("a", a_call(1))
        fresh.take(TURN_MAX)
        clock.advance(36.0)
    assert fresh.retry_after_ms <= RETRY_AFTER_MS_MAX // 10
    await _turns(fresh, clock, 3, 0.010)
    assert fresh.put("a", a_call(1_000 - fresh.queued))
    assert fresh.retry_after_ms == pytest.approx(100, rel=0.05)


async def test_a_slow_journal_makes_callers_come_back_at_once_and_loses_nothing(
    clock: Clock,
) -> None:
    journal = MemoryJournal(clock.unix)
    owner, pair = an_owner(journal, queue_max=100), a_pair(journal, 1_000)
    go, committing = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        committing.set()
        await go.wait()

    journal.before_write.append(slow)
    async with running(owner):
        first = asyncio.create_task(owner.call([reserve(pair)], "a"))
        await committing.wait()
        calls = [asyncio.create_task(owner.call([reserve(pair)], n % 4)) for n in range(400)]
        refused = [reserve(pair), reserve(pair)]
        for _ in range(3):  # all have begun; who was refused has ended
            await asyncio.sleep(0)
        done = [one.result()[0] for one in calls if one.done()]
        assert {one.status for one in done} == {ReserveStatus.BUSY}
        assert all(RETRY_AFTER_MS_MIN <= a.available <= RETRY_AFTER_MS_MAX for a in done)
        assert 300 <= len(done) < 400
        assert not first.done()
        busy: list[Answer] = await owner.call(refused, 0)
        assert [one.status for one in busy] == [ReserveStatus.BUSY] * 2
        go.set()
        answers = [answer for [answer] in await asyncio.gather(first, *calls)]
        held = sum(one.status == ReserveStatus.HELD for one in answers)
        assert held == 401 - len(done)
        assert (await owner.call([reserve(pair)], 0))[0].status == ReserveStatus.HELD
    assert journal.now_of(pair) == (1_000 - held - 1, held + 1)
    assert len(journal.reservations) == held + 1
