"""Two incarnations of one owner never both write: real processes, killed and stopped under load."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import asyncpg
import pytest

from domain.stock import ReserveStatus
from tests.fault.callers import (
    Callers,
    a_reservation,
    ask_directly,
    audited,
    check_books,
    is_refused,
)
from tests.fault.incarnations import Incarnation, Incarnations
from tests.fault.owner_process import NAME

pytestmark = [pytest.mark.fault, pytest.mark.asyncio, pytest.mark.timeout(60)]

BACK_WITHIN_S = 3.0
TIMED = "DOORBUSTER_TIMED"  # set where nothing else runs: only there a time is a promise
WARM_UP_ANSWERS = 300
ROUNDS = 3
STOPPED_AT_TURN = 20
_TURNS = "SELECT turns FROM stock_turns WHERE owner_name = $1 AND epoch = $2"
_BREAK_THE_FENCE = "UPDATE stock_turns SET retired = false WHERE owner_name = $1 AND epoch = $2"


async def _turns(pool: asyncpg.Pool, owner: Incarnation) -> int:
    """Turns that an incarnation has written."""
    return await pool.fetchval(_TURNS, NAME, owner.epoch)


async def test_a_killed_owners_successor_sells_on(
    owners: Incarnations,
    callers: Callers,
    pool: asyncpg.Pool,
    print_line: Callable[[str], None],
) -> None:
    first = await owners.start()
    async with callers.busy():
        await callers.answers(WARM_UP_ANSWERS)
        told = len(callers.held)
        struck = time.monotonic()
        first.kill()
        second = await owners.start()
        back_s = await callers.first_answer_after(second.ready_at) - struck
        await callers.answers(WARM_UP_ANSWERS)
    print_line(
        f"owner killed: {told} held before; its successor answers after {back_s:.2f} s;"
        f" {len(callers.answered_at)} answers, {callers.unknown} repeated"
    )
    assert second.epoch == first.epoch + 1
    await check_books(pool, callers)
    if os.environ.get(TIMED):
        assert back_s < BACK_WITHIN_S


async def test_an_owner_stopped_at_any_moment_writes_nothing_when_it_wakes_up(
    owners: Incarnations,
    callers: Callers,
    pool: asyncpg.Pool,
    print_line: Callable[[str], None],
) -> None:
    newest = await owners.start()
    waited: list[float] = []
    async with callers.busy():
        for _ in range(ROUNDS):
            old = newest
            await callers.answers(random.randint(20, WARM_UP_ANSWERS))
            old.stop()
            struck = time.monotonic()
            newest = await owners.start()
            waited.append(await callers.first_answer_after(newest.ready_at) - struck)
            await callers.answers(WARM_UP_ANSWERS)
            old.wake_up()
            await is_refused(old, pool, next(iter(callers.stock)))
    print_line(f"owner stopped: its successor answers after {waited} s")
    await check_books(pool, callers)


@pytest.mark.parametrize("moment", ["stop_before_write", "stop_after_write"])
async def test_an_owner_stopped_around_its_write_takes_nothing_twice(
    owners: Incarnations, callers: Callers, pool: asyncpg.Pool, moment: str
) -> None:
    """Between decision and write, and between the commit and the answers."""
    old = await owners.start(**{moment: STOPPED_AT_TURN})
    async with callers.busy():
        await old.stopped()
        written_before = await _turns(pool, old)
        successor = await owners.start()
        await callers.first_answer_after(successor.ready_at)
        await callers.answers(WARM_UP_ANSWERS)
        old.wake_up()
        await is_refused(old, pool, next(iter(callers.stock)))
    assert successor.epoch == old.epoch + 1
    assert await _turns(pool, old) == written_before
    assert written_before == STOPPED_AT_TURN - (moment == "stop_before_write")
    await check_books(pool, callers)


async def test_the_audit_would_see_two_writers(
    owners: Incarnations, callers: Callers, pool: asyncpg.Pool
) -> None:
    """The same with the fence taken away: the late owner writes, and P5 does not hold.

    Nor need P2: what it logs is of a turn that the rows have passed.
    """
    old = await owners.start(stop_before_write=STOPPED_AT_TURN)
    async with callers.busy():
        await old.stopped()
        successor = await owners.start()
        await callers.first_answer_after(successor.ready_at)
    await check_books(pool, callers)
    await pool.execute(_BREAK_THE_FENCE, NAME, old.epoch)
    old.wake_up()
    answer = await ask_directly(old.address, a_reservation(list(callers.stock)[-1]))
    assert answer.status == ReserveStatus.HELD
    report = await audited(pool)
    broken = {verdict.promise.id for verdict in report.verdicts if not verdict.ok}
    assert "P5" in broken
    assert broken <= {"P2", "P5"}
