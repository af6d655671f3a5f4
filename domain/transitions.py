"""The state machines of the house: one table of transitions each.

The states are spelled as the database's enums. Anything that moves state goes by these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar


class ReservationState(StrEnum):
    """Of `inventory_reservations.status`; `active` is what the glossary calls reserved."""

    ACTIVE = "active"
    ALLOCATED = "allocated"
    RELEASED = "released"
    EXPIRED = "expired"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


class OrderState(StrEnum):
    """Of `orders.status`."""

    PENDING = "pending"
    IN_REVIEW = "in_review"
    ACCEPTED = "accepted"
    AWAITING_PAYMENT = "awaiting_payment"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class PaymentState(StrEnum):
    """Of `payments.status`; a provider's charge knows all of them but `created`."""

    CREATED = "created"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    REFUNDED = "refunded"


RESERVATION_TRANSITIONS: Mapping[ReservationState, frozenset[ReservationState]] = {
    ReservationState.ACTIVE: frozenset(
        {ReservationState.ALLOCATED, ReservationState.RELEASED, ReservationState.EXPIRED}
    ),
    ReservationState.ALLOCATED: frozenset({ReservationState.SHIPPED, ReservationState.CANCELLED}),
    ReservationState.RELEASED: frozenset(),
    ReservationState.EXPIRED: frozenset(),
    ReservationState.SHIPPED: frozenset(),
    ReservationState.CANCELLED: frozenset(),
}

ORDER_TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {
    OrderState.PENDING: frozenset(
        {
            OrderState.CONFIRMED,
            OrderState.FAILED,
            OrderState.IN_REVIEW,
            OrderState.AWAITING_PAYMENT,
        }
    ),
    # An operator lets it pass, or not; or nobody decides in time.
    OrderState.IN_REVIEW: frozenset({OrderState.ACCEPTED, OrderState.FAILED}),
    # Charged by recovery, as its buyer has gone long since.
    OrderState.ACCEPTED: frozenset(
        {OrderState.CONFIRMED, OrderState.FAILED, OrderState.AWAITING_PAYMENT}
    ),
    # The buyer or a bank has done what was missing, or not in time.
    OrderState.AWAITING_PAYMENT: frozenset({OrderState.CONFIRMED, OrderState.FAILED}),
    OrderState.CONFIRMED: frozenset({OrderState.PROCESSING, OrderState.CANCELLED}),
    OrderState.FAILED: frozenset(),
    OrderState.PROCESSING: frozenset({OrderState.SHIPPED, OrderState.CANCELLED}),
    OrderState.SHIPPED: frozenset({OrderState.DELIVERED}),
    OrderState.DELIVERED: frozenset(),
    OrderState.CANCELLED: frozenset(),
}

PAYMENT_TRANSITIONS: Mapping[PaymentState, frozenset[PaymentState]] = {
    PaymentState.CREATED: frozenset(
        {
            PaymentState.REQUIRES_ACTION,
            PaymentState.PROCESSING,
            PaymentState.AUTHORIZED,
            PaymentState.DECLINED,
            PaymentState.VOIDED,
        }
    ),
    PaymentState.REQUIRES_ACTION: frozenset(
        {
            PaymentState.PROCESSING,
            PaymentState.AUTHORIZED,
            PaymentState.DECLINED,
            PaymentState.VOIDED,
        }
    ),
    # What knows no hold, a bank transfer, is taken when it arrives.
    PaymentState.PROCESSING: frozenset(
        {
            PaymentState.AUTHORIZED,
            PaymentState.CAPTURED,
            PaymentState.DECLINED,
            PaymentState.VOIDED,
        }
    ),
    PaymentState.AUTHORIZED: frozenset({PaymentState.CAPTURED, PaymentState.VOIDED}),
    PaymentState.CAPTURED: frozenset({PaymentState.REFUNDED}),
    PaymentState.DECLINED: frozenset(),
    PaymentState.VOIDED: frozenset(),
    PaymentState.REFUNDED: frozenset(),
}

OPEN_ORDERS: tuple[OrderState, ...] = (
    OrderState.PENDING,
    OrderState.IN_REVIEW,
    OrderState.ACCEPTED,
    OrderState.AWAITING_PAYMENT,
)
"""Neither confirmed nor over: they hold stock, and somebody will settle them."""

# Looked up by the state's type: `cancelled` of an order and `cancelled` of a reservation are
# equal strings and must not meet in one table.
_TABLES: Mapping[type[StrEnum], Mapping[Any, frozenset[Any]]] = {
    ReservationState: RESERVATION_TRANSITIONS,
    OrderState: ORDER_TRANSITIONS,
    PaymentState: PAYMENT_TRANSITIONS,
}

State = TypeVar("State", ReservationState, OrderState, PaymentState)


def allowed(before: State, after: State) -> bool:
    """True if the state may move from `before` to `after` in one step.

    Staying is not a step. Raises KeyError for a state of no known machine.
    """
    return after in _TABLES[type(before)][before]


def reachable(before: State, after: State) -> bool:
    """True if one or more allowed steps lead from `before` to `after`."""
    seen: set[State] = set()
    ahead: list[State] = [before]
    while ahead:
        steps: frozenset[State] = _TABLES[type(before)][ahead.pop()]
        ahead += steps - seen
        seen |= steps
    return after in seen
