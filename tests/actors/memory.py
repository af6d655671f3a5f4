"""In-memory twins of the ports, with faults to order: what tests use where Postgres adds nothing.

The journal and the provider pass the same conformance suites as the real parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from domain.orders import (
    FAILED_BEFORE,
    HistoryOfCustomer,
    OpenOrder,
    OrderDraft,
    OutboxEvent,
    Parking,
    RecordedOrder,
    StoredOrder,
)
from domain.payments import (
    ChargeRequest,
    ChargeState,
    NextAction,
    ProviderEvent,
    RefundRequest,
)
from domain.ports import FraudNote, RefundRefused, Unavailable
from domain.reviews import ReviewDecision
from domain.transitions import OPEN_ORDERS
from tests.actors.faults import Fault, Faults
from tests.actors.memory_journal import MemoryJournal, Reservation, Row

T = TypeVar("T")
KNOWN_CUSTOMER = HistoryOfCustomer(0, 5_000.0, "US")


class Clock:
    """Time that stands still until a test moves it; seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def unix(self) -> float:
        """Seconds since 1970."""
        return self.now

    def utc(self) -> datetime:
        """The same as an aware time."""
        return datetime.fromtimestamp(self.now, UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class _Order:
    draft: OrderDraft
    created_at: datetime
    status: str = "pending"
    payments: dict[str, str] = field(default_factory=dict)
    failure: Mapping[str, Any] | None = None
    waits_until: datetime | None = None
    looked_at: datetime | None = None
    actions: tuple[NextAction, ...] = ()
    decision: ReviewDecision | None = None

    @property
    def payment(self) -> str:
        """How the order's only payment stands."""
        [only] = self.draft.parts
        return self.payments.get(only.transaction_id, "created")

    @property
    def open(self) -> bool:
        """Neither confirmed nor failed."""
        return self.status in OPEN_ORDERS


@dataclass
class _Webhook:
    event: ProviderEvent
    received_at: datetime
    handled: bool = False


@dataclass
class MemoryOrders:
    """OrderBook, Outbox and the book of webhooks, over the reservations of a MemoryJournal."""

    journal: MemoryJournal
    utc: Callable[[], datetime]
    history: HistoryOfCustomer = KNOWN_CUSTOMER
    orders: dict[UUID, _Order] = field(default_factory=dict)
    outbox: dict[UUID, OutboxEvent] = field(default_factory=dict)
    webhooks: dict[tuple[str, str], _Webhook] = field(default_factory=dict)
    published: list[UUID] = field(default_factory=list)
    notes: list[FraudNote] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    batches: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal.is_pending = self._is_pending

    def _is_pending(self, order_id: bytes) -> bool:
        order = self.orders.get(UUID(bytes=order_id))
        return order is not None and order.open

    async def record(self, drafts: Sequence[OrderDraft]) -> list[HistoryOfCustomer | RecordedOrder]:
        self.batches.append(("record", len(drafts)))
        return self.faults.do("record", lambda: [self._record(draft) for draft in drafts])

    def _record(self, draft: OrderDraft) -> HistoryOfCustomer | RecordedOrder:
        known = self._by_key(draft.user_id, draft.idempotency_key)
        if known is None:
            self.orders[draft.order_id] = _Order(draft, self.utc())
        elif known.order_id != draft.order_id:
            return known
        return self.history

    async def confirm(self, confirmations: Sequence[tuple[UUID, OutboxEvent]]) -> list[str]:
        self.batches.append(("confirm", len(confirmations)))
        return self.faults.do("confirm", lambda: [self._confirm(*one) for one in confirmations])

    def _confirm(self, order_id: UUID, event: OutboxEvent) -> str:
        order = self.orders.get(order_id)
        if order is None:
            return "unknown"
        if order.status not in ("pending", "accepted", "awaiting_payment"):
            return order.status
        held = self._active(order_id)
        if sum(one.quantity for one in held) != sum(line.quantity for line in order.draft.lines):
            return "not_held"
        for one in held:
            one.status = "allocated"
        order.status, order.waits_until = "confirmed", None
        order.payments = dict.fromkeys(
            [one.transaction_id for one in order.draft.parts], "captured"
        )
        self.outbox[event.event_id] = event
        return "confirmed"

    def _active(self, order_id: UUID) -> list[Reservation]:
        return [
            one
            for one in self.journal.reservations.values()
            if one.order_id == order_id.bytes and one.status == "active"
        ]

    async def note_fraud(self, scores: Sequence[FraudNote]) -> None:
        self.faults.do("note_fraud", lambda: self.notes.extend(scores))

    async def fail(
        self, failures: Sequence[tuple[UUID, Mapping[str, Any], Mapping[str, str]]]
    ) -> list[str]:
        return self.faults.do("fail", lambda: [self._fail(*one) for one in failures])

    def _fail(self, order_id: UUID, failure: Mapping[str, Any], charges: Mapping[str, str]) -> str:
        order = self.orders.get(order_id)
        if order is None:
            return "unknown"
        if order.status == "failed":
            return FAILED_BEFORE
        if order.open:
            order.status, order.failure, order.waits_until = "failed", failure, None
            names = [one.transaction_id for one in order.draft.parts]
            order.payments = {**dict.fromkeys(names, "voided"), **charges}
        return order.status

    async def fail_review(
        self, order_id: UUID, failure: Mapping[str, Any], decision: ReviewDecision | None = None
    ) -> str:
        def fail() -> str:
            order = self.orders.get(order_id)
            if order is None:
                return "unknown"
            if order.status == "in_review":
                order.decision = decision
                self._fail(order_id, failure, {})
            return order.status

        return self.faults.do("fail_review", fail)

    async def park(self, parkings: Sequence[Parking]) -> list[str]:
        return self.faults.do("park", lambda: [self._park(one) for one in parkings])

    def _park(self, parking: Parking) -> str:
        order = self.orders[parking.order_id]
        accepted = order.status == "accepted" and parking.status == "awaiting_payment"
        if order.status == "pending" or accepted:
            order.status, order.waits_until = parking.status, parking.waits_until
            order.looked_at = order.created_at
            names = {one.payment_id: one.transaction_id for one in order.draft.parts}
            order.payments = {names[one]: status for one, status, _ in parking.actions}
            order.actions = tuple(one for _, _, one in parking.actions if one is not None)
        return order.status

    async def withdraw(self, order_ids: Sequence[UUID]) -> None:
        def forget() -> None:
            for order_id in order_ids:
                if self._is_pending(order_id.bytes):
                    del self.orders[order_id]

        self.faults.do("withdraw", forget)

    async def by_key(self, user_id: UUID, key: str) -> RecordedOrder | None:
        return self.faults.do("by_key", lambda: self._by_key(user_id, key))

    def _by_key(self, user_id: UUID, key: str) -> RecordedOrder | None:
        for order in self.orders.values():
            draft = order.draft
            if (draft.user_id, draft.idempotency_key) == (user_id, key):
                return RecordedOrder(**_totals(order), request_hash=draft.request_hash)
        return None

    async def find(self, order_id: UUID, user_id: UUID) -> StoredOrder | None:
        order = self.orders.get(order_id)
        if order is None or order.draft.user_id != user_id:
            return None
        return StoredOrder(
            **_totals(order),
            created_at=order.created_at,
            confirmed_at=order.created_at if order.status == "confirmed" else None,
            failed_at=order.created_at if order.status == "failed" else None,
            lines=order.draft.lines,
            waits_until=order.waits_until,
            actions=order.actions if order.status == "awaiting_payment" else (),
        )

    async def holds_of(self, order_id: UUID) -> list[tuple[bytes, bytes]]:
        return [
            (reservation_id, one.inventory_id)
            for reservation_id, one in self.journal.reservations.items()
            if one.order_id == order_id.bytes and one.status == "active"
        ]

    async def stalled(self, older_than: datetime, limit: int) -> list[OpenOrder]:
        pending = [
            order
            for order in self.orders.values()
            if order.status == "pending" and order.created_at < older_than
        ]
        return [_open(order) for order in sorted(pending, key=lambda one: one.created_at)[:limit]]

    async def waiting(
        self, now: datetime, looked_at_before: datetime, limit: int
    ) -> list[OpenOrder]:
        due = [
            order
            for order in self.orders.values()
            if order.waits_until is not None
            and order.looked_at is not None
            and (
                order.waits_until <= now
                or (
                    order.status != "in_review"
                    and (order.looked_at < looked_at_before or self._told_of(order))
                )
            )
        ]
        for order in due:
            order.looked_at = now
        return [_open(order) for order in due[:limit]]

    async def open_by_charge(self, transaction_id: str) -> OpenOrder | None:
        for order in self.orders.values():
            if transaction_id in [one.transaction_id for one in order.draft.parts]:
                return _open(order)
        return None

    async def open_by_id(self, order_id: UUID) -> OpenOrder | None:
        order = self.orders.get(order_id)
        return None if order is None else _open(order)

    async def switch_gateway(self, transaction_id: str, gateway: str, age_max_s: float) -> bool:
        for order in self.orders.values():
            draft = order.draft
            order.draft = replace(
                draft,
                parts=tuple(
                    replace(one, gateway=gateway) if one.transaction_id == transaction_id else one
                    for one in draft.parts
                ),
            )
        return True

    def _told_of(self, order: _Order) -> bool:
        names = {one.transaction_id for one in order.draft.parts}
        return any(
            not one.handled and one.event.transaction_id in names for one in self.webhooks.values()
        )

    async def note_event(self, gateway: str, event: ProviderEvent) -> bool:
        return self.faults.do("note_event", lambda: self._note_event(gateway, event))

    def _note_event(self, gateway: str, event: ProviderEvent) -> bool:
        fresh = _Webhook(event, self.utc())
        return self.webhooks.setdefault((gateway, event.event_id), fresh) is fresh

    async def event_handled(self, gateway: str, event_id: str) -> None:
        self.faults.do("event_handled", lambda: self._event_handled(gateway, event_id))

    def _event_handled(self, gateway: str, event_id: str) -> None:
        self.webhooks[gateway, event_id].handled = True

    async def events_settled(self, received_before: datetime) -> None:
        for webhook in self.webhooks.values():
            if webhook.received_at <= received_before and not self._is_awaited(webhook):
                webhook.handled = True

    def _is_awaited(self, webhook: _Webhook) -> bool:
        for order in self.orders.values():
            if webhook.event.transaction_id in [one.transaction_id for one in order.draft.parts]:
                if order.waits_until is None or order.looked_at is None:
                    return order.status == "pending"
                return order.looked_at < webhook.received_at
        return False

    async def unpublished(self, limit: int) -> list[OutboxEvent]:
        waiting = sorted(set(self.outbox) - set(self.published))
        return [self.outbox[one] for one in waiting[:limit]]

    async def mark_published(self, event_ids: Collection[UUID]) -> None:
        self.faults.do("mark_published", lambda: self.published.extend(event_ids))


def _open(order: _Order) -> OpenOrder:
    return OpenOrder(
        order_id=order.draft.order_id,
        user_id=order.draft.user_id,
        status=order.status,
        total_minor=order.draft.total_minor,
        currency=order.draft.currency,
        parts=order.draft.parts,
        waits_until=order.waits_until,
    )


def _totals(order: _Order) -> dict[str, Any]:
    names = ("order_id", "subtotal_minor", "tax_minor", "shipping_minor", "discount_minor")
    names += ("total_minor", "currency", "estimated_delivery")
    totals = {name: getattr(order.draft, name) for name in names}
    return {**totals, "status": order.status, "failure": order.failure}


class MemoryProvider:
    """PaymentProvider: `card_declined` is declined, `card_3ds` waits for `approve`, the rest is
    charged."""

    name = "memory"

    def __init__(self) -> None:
        self.books: dict[str, ChargeState] = {}
        self.refunds: dict[str, tuple[str, int]] = {}
        self.faults = Faults()
        self.calls: list[str] = []

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        declined = "card_declined" if charge.payment_token == "card_declined" else None
        state = ChargeState(
            "declined" if declined else "authorized",
            charge.amount_minor,
            charge.currency,
            declined,
        )
        if charge.payment_token == "card_3ds":
            action = NextAction("redirect", f"https://bank.example/{charge.transaction_id}")
            state = replace(state, status="requires_action", next_action=action)
        return self._do("authorize", lambda: self.books.setdefault(charge.transaction_id, state))

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        return self._do("capture", lambda: self._move(charge, "authorized", "captured"))

    async def void(self, charge: ChargeRequest) -> ChargeState:
        return self._do("void", lambda: self._void(charge))

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        return self._do("refund", lambda: self._give_back(charge, refund))

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        return self._do("lookup", lambda: self.books.get(charge.transaction_id))

    def approve(self, transaction_id: str) -> None:
        """The buyer has done what was asked."""
        self.books[transaction_id] = replace(
            self.books[transaction_id], status="authorized", next_action=None
        )

    def _do(self, method: str, work: Callable[[], T]) -> T:
        self.calls.append(method)
        return self.faults.do(method, work)

    def _give_back(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        state = self.books.get(charge.transaction_id)
        wanted = (charge.transaction_id, refund.amount_minor)
        if state is not None and self.refunds.get(refund.refund_id) == wanted:
            return state
        if state is None or state.status != "captured" or refund.refund_id in self.refunds:
            raise RefundRefused(f"{refund.refund_id}: nothing was taken that it could give back")
        left = state.amount_minor - state.refunded_minor
        if not 0 < refund.amount_minor <= left:
            raise RefundRefused(f"{refund.refund_id}: {left} are left to give back")
        self.refunds[refund.refund_id] = wanted
        given_back = state.refunded_minor + refund.amount_minor
        status = "refunded" if given_back == state.amount_minor else "captured"
        state = replace(state, status=status, refunded_minor=given_back)
        self.books[charge.transaction_id] = state
        return state

    def _void(self, charge: ChargeRequest) -> ChargeState:
        self._move(charge, "requires_action", "voided")
        return self._move(charge, "authorized", "voided")

    def _move(self, charge: ChargeRequest, before: str, after: Any) -> ChargeState:
        state = self.books.get(charge.transaction_id)
        if state is None:
            state = ChargeState("voided", 0, "USD")
            if after != "voided":
                return state
        if state.status == before:
            state = replace(state, status=after, next_action=None)
        self.books[charge.transaction_id] = state
        return state


class MemoryBoard:
    """AvailabilityBoard; `changed` is set at every publication."""

    def __init__(self) -> None:
        self.available: dict[tuple[bytes, bytes], int] = {}
        self.changed = asyncio.Event()
        self.broken = False

    async def publish(self, available: Mapping[tuple[bytes, bytes], int]) -> None:
        if self.broken:
            self.broken = False
            raise Unavailable("the board is away")
        self.available.update(available)
        self.changed.set()


class MemoryMetrics:
    """MetricsBoard; `changed` is set at every publication."""

    def __init__(self) -> None:
        self.shown: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.changed = asyncio.Event()

    async def publish(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        self.shown[kind, name] = values
        self.changed.set()


class MemoryLeases:
    """Leases that are never let go."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        del seconds
        return self.holders.setdefault(name, holder) == holder


class MemoryBus:
    """EventBus that remembers what reached it, in order."""

    def __init__(self) -> None:
        self.events: list[OutboxEvent] = []
        self.faults = Faults()

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        self.faults.do("publish", lambda: self.events.extend(events))


__all__ = ["Fault", "Faults", "MemoryJournal", "Reservation", "Row"]
