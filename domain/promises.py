"""The promises of the house, P1 to P10, stated once: audit, simulator and tests check these.

Beside the statements are the pure rules they rest on: which states of reservation, order,
payment and charge may be seen together. The steps between states are in `domain.transitions`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from domain.payments import ChargeStatus
from domain.transitions import OrderState, PaymentState, ReservationState, reachable

GRACE_S = 30.0  # what may still be under way: a void after a failure, a turn that lets expire
RECOVERY_LIMIT_S = 120.0  # by then recovery has finished or unwound every pending order
VIOLATIONS_SHOWN_MAX = 20  # per promise; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One thing the house promises: its id, a title of a few words, the full sentence."""

    id: str
    title: str
    statement: str


def _promise(id_: str, title: str, statement: str) -> Promise:
    return Promise(id=id_, title=title, statement=statement)


PROMISES: tuple[Promise, ...] = (
    _promise(
        "P1",
        "Never oversold",
        "Available stock never goes below zero, for any pair, at any time.",
    ),
    _promise(
        "P2",
        "Conservation",
        "For every pair, received + adjusted = available + reserved + allocated + shipped"
        " − returned to stock; replaying the ledger gives the row.",
    ),
    _promise(
        "P3",
        "Durable before told",
        "A reservation is in Postgres before anyone is told that it holds.",
    ),
    _promise(
        "P4",
        "A reservation moves once",
        "A reservation moves once: reserved → allocated, released or expired;"
        " allocated → shipped or cancelled."
        " A repeat changes nothing and gets the first answer.",
    ),
    _promise(
        "P5",
        "One writer",
        "Only the owner with the newest epoch writes a pair.",
    ),
    _promise(
        "P6",
        "One order per key",
        "One order per idempotency key; the same key with another body is refused.",
    ),
    _promise(
        "P7",
        "Charged what was sold",
        "Every captured payment belongs to a confirmed order for exactly its total,"
        " or is refunded in full.",
    ),
    _promise(
        "P8",
        "Every line is allocated",
        "Every line of a confirmed order has an allocated reservation for its quantity.",
    ),
    _promise(
        "P9",
        "Every event arrives",
        "Every confirmed order's event reaches the event bus at least once.",
    ),
    _promise(
        "P10",
        "Acknowledged survives",
        "What was acknowledged survives `kill -9` of any process, Postgres included.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one promise."""

    promise: Promise
    ok: bool
    checked: int
    """How many things were looked at: pairs, reservations, orders, charges …"""
    violations: tuple[str, ...]
    """At most VIOLATIONS_SHOWN_MAX, one sentence each."""
    violations_total: int
    """All that were found, shown or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The verdicts of one audit, in the order of PROMISES."""

    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """True if every promise was kept."""
        return all(verdict.ok for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """`{"ok", "promises": {"P1": {"ok", "checked", "violations": [text, …]}, …}}`.

        Where not all violations are shown, the last text says how many more there are.
        """
        return {"ok": self.ok, "promises": {v.promise.id: _as_json(v) for v in self.verdicts}}


def _as_json(verdict: Verdict) -> dict[str, Any]:
    unseen = verdict.violations_total - len(verdict.violations)
    rest = [f"and {unseen} more"] if unseen else []
    return {
        "ok": verdict.ok,
        "checked": verdict.checked,
        "violations": [*verdict.violations, *rest],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One charge as the payment provider's own books have it; the amount in minor units."""

    transaction_id: str
    amount_minor: int
    currency: str
    status: ChargeStatus
    refunded_minor: int = 0


class ProviderBooks(Protocol):
    """Reads the payment provider's books."""

    def charges(self) -> AsyncIterator[Charge]:
        """Every charge ever made, in any order (write it as an async generator)."""
        ...


class EventBusReader(Protocol):
    """Reads back what the event bus still holds."""

    def confirmed_orders(self) -> AsyncIterator[UUID]:
        """The order of each `order.confirmed` event; repeats are fine (write a generator)."""
        ...


# The states in which an order counts as sold: its money is taken, its stock is bound.
SOLD: tuple[OrderState, ...] = (
    OrderState.CONFIRMED,
    OrderState.PROCESSING,
    OrderState.SHIPPED,
    OrderState.DELIVERED,
)

_GIVEN_BACK = frozenset({ReservationState.RELEASED, ReservationState.EXPIRED})
_OPEN_OR_GIVEN_BACK = _GIVEN_BACK | {ReservationState.ACTIVE}
_BOUND = frozenset({ReservationState.ALLOCATED, ReservationState.SHIPPED})

# P4: which reservations an order in a state may have; None is an order that was never recorded
# (its reservation was faster, or its idempotency key was taken). How long an active one may
# stay is its expiry's matter.
RESERVATIONS_OF_ORDER: Mapping[OrderState | None, frozenset[ReservationState]] = {
    None: _OPEN_OR_GIVEN_BACK,
    OrderState.PENDING: _OPEN_OR_GIVEN_BACK,
    OrderState.IN_REVIEW: _OPEN_OR_GIVEN_BACK,
    OrderState.ACCEPTED: _OPEN_OR_GIVEN_BACK,
    OrderState.AWAITING_PAYMENT: _OPEN_OR_GIVEN_BACK,
    OrderState.FAILED: _OPEN_OR_GIVEN_BACK,
    OrderState.CONFIRMED: frozenset({ReservationState.ALLOCATED}),
    OrderState.PROCESSING: _BOUND,
    OrderState.SHIPPED: _BOUND,
    OrderState.DELIVERED: frozenset({ReservationState.SHIPPED}),
    OrderState.CANCELLED: frozenset({ReservationState.CANCELLED}),
}

# Payments for which no money moved: the provider need not know them.
_UNCHARGED = frozenset({PaymentState.CREATED, PaymentState.DECLINED, PaymentState.VOIDED})


def payment_agrees(payment: PaymentState, charge: PaymentState | None) -> bool:
    """P7: our row and the provider's charge say the same; None is no charge at all.

    A declined charge may have been called off afterwards: some providers (Stripe) would let it
    be tried again until then.
    """
    if charge is None:
        return payment in _UNCHARGED
    called_off = payment == PaymentState.DECLINED and charge == PaymentState.VOIDED
    return payment == charge or called_off


def payment_lags(payment: PaymentState, charge: PaymentState | None) -> bool:
    """P7: the provider is ahead, and our row can still follow. Fine only for a while."""
    return charge is not None and reachable(payment, charge)
