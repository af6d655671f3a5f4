"""Physical stock comes in and goes out through its owner."""

from __future__ import annotations

import asyncio

import pytest

from domain.stock import (
    MOVEMENT_QUANTITY_MAX,
    ON_HAND_MAX,
    Movement,
    MovementKind,
    MovementStatus,
    ReserveStatus,
)
from domain.turns import Instruction
from tests.actors.memory import Clock, Fault, MemoryJournal
from tests.actors.owners import a_pair, an_owner, new_id, reserve, running

pytestmark = pytest.mark.asyncio


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(Clock().unix)


def instructed(
    journal: MemoryJournal, pair: bytes, kind: MovementKind, quantity: int, status: str = "pending"
) -> Movement:
    """A movement that was asked for."""
    movement = Movement(new_id(), pair, kind, quantity)
    journal.asked[movement.movement_id] = Instruction(pair, kind, quantity, status)
    return movement


@pytest.mark.parametrize(
    ("kind", "quantity", "available"),
    [
        (MovementKind.RECEIVE, 4, 7),
        (MovementKind.RETURN, 4, 7),
        (MovementKind.TRANSFER_IN, 4, 7),
        (MovementKind.TRANSFER_OUT, 3, 0),
        (MovementKind.ADJUST, 4, 7),
        (MovementKind.ADJUST, -3, 0),
        (MovementKind.COUNT, 9, 7),  # 2 of them are held
        (MovementKind.COUNT, 5, 3),
        (MovementKind.COUNT, 2, 0),
    ],
)
async def test_a_movement_changes_what_is_available(
    journal: MemoryJournal, kind: MovementKind, quantity: int, available: int
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    movement = instructed(journal, pair, kind, quantity)
    async with running(owner):
        await owner.call([reserve(pair, 2)])
        assert await owner.call([movement]) == [(MovementStatus.RECORDED, available)]
    assert journal.rows[pair].quantity == available
    assert journal.ledger == [(movement.movement_id, pair, available - 3, available + 2)]
    assert journal.asked[movement.movement_id].status == "done"


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [(MovementKind.TRANSFER_OUT, 4), (MovementKind.ADJUST, -4), (MovementKind.COUNT, 1)],
)
async def test_what_is_held_is_not_moved_away(
    journal: MemoryJournal, kind: MovementKind, quantity: int
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    async with running(owner):
        await owner.call([reserve(pair, 2)])
        answers = await owner.call([instructed(journal, pair, kind, quantity)])
    assert answers == [(MovementStatus.SHORT, 3)]
    assert journal.ledger == []


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [
        *[(kind, -1) for kind in MovementKind if kind != MovementKind.ADJUST],
        *[(kind, 0) for kind in MovementKind if kind != MovementKind.COUNT],
        *[(kind, MOVEMENT_QUANTITY_MAX + 1) for kind in MovementKind],
        (MovementKind.ADJUST, -(10**12)),
        (7, 1),
        (0, 1),
    ],
)
async def test_a_movement_out_of_bounds_is_invalid(
    journal: MemoryJournal, kind: int, quantity: int
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    movement = Movement(new_id(), pair, kind, quantity)
    journal.asked[movement.movement_id] = Instruction(pair, kind, quantity, "pending")
    async with running(owner):
        assert await owner.call([movement]) == [(MovementStatus.INVALID, 5)]
    assert journal.turns == []


async def test_more_than_a_row_can_hold_is_invalid(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, ON_HAND_MAX - 5)
    over, full = (instructed(journal, pair, MovementKind.RECEIVE, units) for units in (6, 5))
    async with running(owner):
        answers = await owner.call([over, full])
    assert [one.status for one in answers] == [MovementStatus.INVALID, MovementStatus.RECORDED]
    assert journal.rows[pair].quantity == ON_HAND_MAX


@pytest.mark.parametrize("together", [True, False])
async def test_a_repeat_moves_nothing_and_gets_the_first_answer(
    journal: MemoryJournal, together: bool
) -> None:
    """P4."""
    owner, pair = an_owner(journal), a_pair(journal, 5)
    movement = instructed(journal, pair, MovementKind.RECEIVE, 4)
    async with running(owner):
        if together:
            answers = await owner.call([movement, movement])
        else:
            answers = [*await owner.call([movement]), *await owner.call([movement])]
    assert answers == [(MovementStatus.RECORDED, 9)] * 2
    assert len(journal.ledger) == 1


async def test_a_movement_is_what_was_asked_for_or_nothing(journal: MemoryJournal) -> None:
    owner, pair, other = an_owner(journal), a_pair(journal, 5), a_pair(journal, 5)
    asked = instructed(journal, pair, MovementKind.RECEIVE, 4)
    answers = [
        asked._replace(quantity=5),
        asked._replace(kind=MovementKind.RETURN),
        asked._replace(inventory_id=other),
        Movement(new_id(), pair, MovementKind.RECEIVE, 4),
        instructed(journal, pair, MovementKind.TRANSFER_OUT, 4, "refused"),
        Movement(new_id(), new_id(), MovementKind.RECEIVE, 4),
    ]
    async with running(owner):
        statuses = [one.status for one in await owner.call(answers)]
    assert statuses == [
        *[MovementStatus.CONFLICT] * 3,
        MovementStatus.INVALID,
        MovementStatus.SHORT,
        MovementStatus.UNKNOWN_PAIR,
    ]
    assert journal.turns == []


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_movement_whose_commit_is_lost_moves_once(
    journal: MemoryJournal, fault: Fault
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    movement = instructed(journal, pair, MovementKind.RECEIVE, 4)
    journal.faults.plan("write_turn", fault)
    async with running(owner):
        assert (await owner.call([movement]))[0].status == MovementStatus.UNAVAILABLE
        assert await owner.call([movement]) == [(MovementStatus.RECORDED, 9)]
    assert len(journal.ledger) == 1
    assert journal.rows[pair].quantity == 9


async def test_a_movement_that_another_owner_settled_meanwhile_is_not_repeated(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 5)
    movement = instructed(journal, pair, MovementKind.RECEIVE, 4)
    asked = journal.asked[movement.movement_id]

    def settle() -> None:
        journal.asked[movement.movement_id] = asked._replace(status="done")

    journal.before_write.append(settle)
    async with running(owner):
        assert await owner.call([movement]) == [(MovementStatus.RECORDED, 5)]
    assert journal.ledger == []


async def test_what_comes_in_can_be_reserved_in_the_same_turn(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), a_pair(journal, 1)
    receive = instructed(journal, pair, MovementKind.RECEIVE, 2)
    async with running(owner):
        answers = await owner.call([reserve(pair, 3), receive, reserve(pair, 3)])
    assert [one.status for one in answers] == [
        ReserveStatus.OUT_OF_STOCK,
        MovementStatus.RECORDED,
        ReserveStatus.HELD,
    ]
    assert len(journal.turns) == 1


async def test_sales_and_movements_at_once_balance(journal: MemoryJournal) -> None:
    """P2: what the ledger says is what is available and what is held."""
    owner, pair = an_owner(journal, turn_max=7), a_pair(journal, 50)
    kinds = [MovementKind.RECEIVE, MovementKind.TRANSFER_OUT, MovementKind.RETURN]
    movements = [instructed(journal, pair, kinds[n % 3], n % 4 + 1) for n in range(60)]
    requests = [[one] for one in movements] + [[reserve(pair, n % 3 + 1)] for n in range(120)]
    async with running(owner):
        answers = await asyncio.gather(*[owner.call(one) for one in requests])
    held = [
        one.quantity
        for [one], [answer] in zip(requests[60:], answers[60:], strict=True)
        if answer.status == ReserveStatus.HELD
    ]
    row = journal.rows[pair]
    assert 50 + sum(change for _, _, change, _ in journal.ledger) == row.quantity + row.reserved
    assert row.reserved == sum(held)
    assert row.quantity >= 0
    on_hand = 50
    for _, _, change, balance in journal.ledger:
        on_hand += change
        assert balance == on_hand
