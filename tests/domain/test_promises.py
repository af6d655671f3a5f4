from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domain.promises import (
    PROMISES,
    RESERVATIONS_OF_ORDER,
    SOLD,
    AuditReport,
    Verdict,
    payment_agrees,
    payment_lags,
)
from domain.transitions import (
    ORDER_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    OrderState,
    PaymentState,
    ReservationState,
    allowed,
    reachable,
)

MIGRATIONS = Path(__file__).parents[2] / "storage" / "migrations"


def _verdict(number: int, *violations: str, total: int | None = None) -> Verdict:
    total = len(violations) if total is None else total
    return Verdict(
        promise=PROMISES[number - 1],
        ok=total == 0,
        checked=7,
        violations=violations,
        violations_total=total,
    )


def test_the_promises_are_p1_to_p10() -> None:
    assert [promise.id for promise in PROMISES] == [f"P{n}" for n in range(1, 11)]
    assert all(promise.title and promise.statement.endswith(".") for promise in PROMISES)


def test_a_report_is_ok_if_every_verdict_is() -> None:
    assert AuditReport(verdicts=(_verdict(1), _verdict(2))).ok
    assert not AuditReport(verdicts=(_verdict(1), _verdict(2, "pair x"))).ok


def test_the_report_as_json() -> None:
    report = AuditReport(verdicts=(_verdict(1), _verdict(2, "pair x", total=3)))
    assert report.as_json() == {
        "ok": False,
        "promises": {
            "P1": {"ok": True, "checked": 7, "violations": []},
            "P2": {"ok": False, "checked": 7, "violations": ["pair x", "and 2 more"]},
        },
    }


@pytest.mark.parametrize(
    ("states", "table"),
    [
        (list(ReservationState), RESERVATION_TRANSITIONS),
        (list(OrderState), ORDER_TRANSITIONS),
        (list(PaymentState), PAYMENT_TRANSITIONS),
    ],
)
def test_every_state_has_its_row_and_leads_only_forward(
    states: list[Any], table: Mapping[Any, frozenset[Any]]
) -> None:
    assert set(table) == set(states)
    assert not any(reachable(state, state) for state in states)


@pytest.mark.parametrize(
    ("states", "name"),
    [
        (ReservationState, "reservation_status"),
        (OrderState, "order_status"),
        (PaymentState, "payment_status"),
    ],
)
def test_the_states_are_the_databases(states: type[StrEnum], name: str) -> None:
    text = "".join(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql")))
    values = text.split(f"CREATE TYPE {name} AS ENUM")[1].split(")")[0]
    known = {part.strip(" \n('") for part in values.split(",")}
    known |= set(re.findall(rf"ALTER TYPE {name} ADD VALUE '(\w+)'", text))
    assert known == {str(state) for state in states}


@pytest.mark.parametrize(
    "way",
    [
        (ReservationState.ACTIVE, ReservationState.ALLOCATED, ReservationState.SHIPPED),
        (ReservationState.ACTIVE, ReservationState.ALLOCATED, ReservationState.CANCELLED),
        (ReservationState.ACTIVE, ReservationState.EXPIRED),
        (
            OrderState.PENDING,
            OrderState.CONFIRMED,
            OrderState.PROCESSING,
            OrderState.SHIPPED,
            OrderState.DELIVERED,
        ),
        (OrderState.CONFIRMED, OrderState.CANCELLED),
        (
            PaymentState.CREATED,
            PaymentState.AUTHORIZED,
            PaymentState.CAPTURED,
            PaymentState.REFUNDED,
        ),
    ],
)
def test_ways_that_are_open(way: tuple[Any, ...]) -> None:
    assert all(allowed(before, after) for before, after in pairwise(way))
    assert reachable(way[0], way[-1])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ReservationState.EXPIRED, ReservationState.ALLOCATED),
        (ReservationState.ALLOCATED, ReservationState.EXPIRED),
        (ReservationState.ACTIVE, ReservationState.SHIPPED),
        (ReservationState.SHIPPED, ReservationState.CANCELLED),
        (OrderState.FAILED, OrderState.CONFIRMED),
        (OrderState.SHIPPED, OrderState.CANCELLED),
        (PaymentState.VOIDED, PaymentState.CAPTURED),
        (PaymentState.CREATED, PaymentState.CAPTURED),
        (PaymentState.CAPTURED, PaymentState.CAPTURED),
    ],
)
def test_steps_that_are_closed(before: OrderState, after: OrderState) -> None:
    assert not allowed(before, after)


def test_a_sold_order_holds_only_bound_stock() -> None:
    assert set(RESERVATIONS_OF_ORDER) == {None, *OrderState}
    for state in SOLD:
        bound = {ReservationState.ALLOCATED, ReservationState.SHIPPED}
        assert RESERVATIONS_OF_ORDER[state] <= bound


@pytest.mark.parametrize(
    ("payment", "charge", "agrees", "lags"),
    [
        (PaymentState.CREATED, None, True, False),
        (PaymentState.CREATED, PaymentState.CAPTURED, False, True),
        (PaymentState.AUTHORIZED, None, False, False),
        (PaymentState.CAPTURED, PaymentState.CAPTURED, True, False),
        (PaymentState.CAPTURED, PaymentState.REFUNDED, False, True),
        (PaymentState.CAPTURED, PaymentState.AUTHORIZED, False, False),
        (PaymentState.VOIDED, None, True, False),
        (PaymentState.DECLINED, PaymentState.VOIDED, True, False),
        (PaymentState.DECLINED, PaymentState.AUTHORIZED, False, False),
        (PaymentState.VOIDED, PaymentState.CAPTURED, False, False),
    ],
)
def test_payment_and_charge(
    payment: PaymentState, charge: PaymentState | None, agrees: bool, lags: bool
) -> None:
    assert payment_agrees(payment, charge) is agrees
    assert payment_lags(payment, charge) is lags
