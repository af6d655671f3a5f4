"""Rules of turns that deserve a name."""

from __future__ import annotations

from typing import Any

import pytest

from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    ExtendStatus,
    HandOver,
    Hold,
    Known,
    Movement,
    MovementKind,
    MovementStatus,
    Pair,
    PairStatus,
    Policy,
    Request,
    Reserve,
    ReserveStatus,
)
from domain.turn_log import LogBounds, TurnLog
from domain.turns import Instruction, Turn, TurnDecision
from tests.domain.turn_names import (
    CUSTOMERS,
    EXTENSIONS,
    HOT,
    MOVEMENTS,
    ORDERS,
    OWNER,
    PAIRS,
    PLAIN,
    RESERVATIONS,
    VARIANTS,
)


def _pair(available: int, policy: Policy = PLAIN) -> Pair:
    return Pair(PAIRS[0], VARIANTS[PAIRS[0]], available, 0, policy=policy)


def _reserve(number: int, quantity: int = 1) -> Reserve:
    return Reserve(RESERVATIONS[number], ORDERS[0], PAIRS[0], quantity, 60.0, CUSTOMERS[ORDERS[0]])


def _decide(pair: Pair, *requests: Request, **known: Any) -> tuple[list[Answer], Turn]:
    decision = TurnDecision(
        Turn(OWNER, 1), now=0.0, pairs={pair.inventory_id: pair}, elsewhere={}, **known
    )
    return decision.answer(requests), decision.close(_no_log(), 0.0)


def _no_log() -> TurnLog:
    """Every row is written with its turn."""
    return TurnLog(LogBounds(pairs_max=0))


def test_safety_stock_is_kept_from_who_waits_too() -> None:
    pair = _pair(5, Policy(safety_stock=5, backorder_max=10))
    [answer], _ = _decide(pair, _reserve(0, 3))
    assert answer == (ReserveStatus.BACKORDERED, 0)
    assert pair.serve_waiting() == []
    pair.available += 3
    assert pair.serve_waiting() == [(RESERVATIONS[0], 3)]
    assert pair.available == 5


def test_a_small_order_does_not_overtake_a_large_one_that_waits() -> None:
    pair = _pair(0, Policy(backorder_max=10))
    _decide(pair, _reserve(0, 5), _reserve(1, 1))
    pair.available += 3
    assert pair.serve_waiting() == []
    assert _decide(pair, _reserve(2, 1))[0] == [(ReserveStatus.BACKORDERED, 0)]
    pair.available += 4
    assert [one for one, _ in pair.serve_waiting()] == RESERVATIONS[:3]


def test_an_extension_without_an_id_is_invalid() -> None:
    pair = _pair(5)
    answers, turn = _decide(
        pair, _reserve(0), Extend(NOBODY, RESERVATIONS[0], PAIRS[0], 600.0), _reserve(0)
    )
    assert answers[1].status == ExtendStatus.INVALID
    assert turn.extensions == []
    assert pair.holds[RESERVATIONS[0]].expires_at == 60.0


@pytest.mark.parametrize("to", [-1, 1_000, 999_999, HOT + 1_000, 10**12])
def test_a_pair_is_not_handed_to_a_number_that_no_owner_has(to: int) -> None:
    [answer], turn = _decide(_pair(5), HandOver(PAIRS[0], to))
    assert answer.status == PairStatus.INVALID
    assert turn.empty


@pytest.mark.parametrize("quantity", [0, -1, 10**12])
def test_a_bad_quantity_is_invalid_whatever_the_customers_limit(quantity: int) -> None:
    [answer], turn = _decide(_pair(5, Policy(customer_max=2)), _reserve(0, quantity))
    assert answer.status == ReserveStatus.INVALID
    assert turn.empty


def test_of_two_requests_with_a_known_id_only_the_repeat_gets_its_answer() -> None:
    """P4: the answer belongs to the content, not to the id."""
    asked = _reserve(0, 2)
    known = {RESERVATIONS[0]: Known("allocated", PAIRS[0], Hold(asked.order_id, 2, 60.0))}
    requests = [asked, asked._replace(quantity=3), asked._replace(order_id=ORDERS[1]), asked]
    answers, turn = _decide(_pair(5), *requests, known=known)
    assert [one.status for one in answers] == [
        ReserveStatus.HELD,
        ReserveStatus.CONFLICT,
        ReserveStatus.CONFLICT,
        ReserveStatus.HELD,
    ]
    assert turn.empty


def test_what_is_extended_in_the_very_turn_does_not_expire() -> None:
    pair = _pair(5)
    _decide(pair, _reserve(0), _reserve(1))
    decision = TurnDecision(Turn(OWNER, 1), now=60.0, pairs={PAIRS[0]: pair}, elsewhere={})
    decision.answer([Extend(EXTENSIONS[1], RESERVATIONS[0], PAIRS[0], 60.0)])
    decision.expire([(one, PAIRS[0]) for one in RESERVATIONS[:2]])
    assert decision.close(_no_log(), 0.0).expired_ids == [RESERVATIONS[1]]


def test_a_movement_that_is_asked_for_twice_in_a_turn_moves_once() -> None:
    asked = Movement(MOVEMENTS[0], PAIRS[0], MovementKind.RECEIVE, 4)
    pending = {MOVEMENTS[0]: Instruction(PAIRS[0], MovementKind.RECEIVE, 4, "pending")}
    answers, turn = _decide(_pair(5), asked, asked, instructions=pending)
    assert answers == [(MovementStatus.RECORDED, 9)] * 2
    assert turn.movements == [(MOVEMENTS[0], PAIRS[0], 4, 9)]
    assert turn.pair_moved == [4]
