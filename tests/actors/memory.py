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
    HistoryOfCustomer,
    OrderDraft,
    OutboxEvent,
    PendingOrder,
    RecordedOrder,
    StoredOrder,
)
from domain.payments import ChargeRequest, ChargeState
from domain.ports import Unavailable
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
    payment: str = "created"
    failure: Mapping[str, Any] | None = None


@dataclass
class MemoryOrders:
    """OrderBook and Outbox, over the reservations of a MemoryJournal."""

    journal: MemoryJournal
    utc: Callable[[], datetime]
    history: HistoryOfCustomer = KNOWN_CUSTOMER
    orders: dict[UUID, _Order] = field(default_factory=dict)
    outbox: dict[UUID, OutboxEvent] = field(default_factory=dict)
    published: list[UUID] = field(default_factory=list)
    notes: list[tuple[UUID, float, str, tuple[str, ...]]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    batches: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal.is_pending = self._is_pending

    def _is_pending(self, order_id: bytes) -> bool:
        order = self.orders.get(UUID(bytes=order_id))
        return order is not None and order.status == "pending"

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
        if order.status != "pending":
            return order.status
        held = self._active(order_id)
        if sum(one.quantity for one in held) != sum(line.quantity for line in order.draft.lines):
            return "not_held"
        for one in held:
            one.status = "allocated"
        order.status, order.payment = "confirmed", "captured"
        self.outbox[event.event_id] = event
        return "confirmed"

    def _active(self, order_id: UUID) -> list[Reservation]:
        return [
            one
            for one in self.journal.reservations.values()
            if one.order_id == order_id.bytes and one.status == "active"
        ]

    async def note_fraud(self, scores: Sequence[tuple[UUID, float, str, tuple[str, ...]]]) -> None:
        self.faults.do("note_fraud", lambda: self.notes.extend(scores))

    async def fail(self, failures: Sequence[tuple[UUID, Mapping[str, Any], str]]) -> list[str]:
        return self.faults.do("fail", lambda: [self._fail(*one) for one in failures])

    def _fail(self, order_id: UUID, failure: Mapping[str, Any], payment: str) -> str:
        order = self.orders.get(order_id)
        if order is None:
            return "unknown"
        if order.status == "pending":
            order.status, order.failure, order.payment = "failed", failure, payment
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
        )

    async def holds_of(self, order_id: UUID) -> list[tuple[bytes, bytes]]:
        return [
            (reservation_id, one.inventory_id)
            for reservation_id, one in self.journal.reservations.items()
            if one.order_id == order_id.bytes and one.status == "active"
        ]

    async def stalled(self, older_than: datetime, limit: int) -> list[PendingOrder]:
        pending = [
            order
            for order in self.orders.values()
            if order.status == "pending" and order.created_at < older_than
        ]
        return [
            PendingOrder(
                order_id=order.draft.order_id,
                transaction_id=order.draft.transaction_id,
                total_minor=order.draft.total_minor,
                currency=order.draft.currency,
                user_id=order.draft.user_id,
            )
            for order in sorted(pending, key=lambda one: one.created_at)[:limit]
        ]

    async def unpublished(self, limit: int) -> list[OutboxEvent]:
        waiting = sorted(set(self.outbox) - set(self.published))
        return [self.outbox[one] for one in waiting[:limit]]

    async def mark_published(self, event_ids: Collection[UUID]) -> None:
        self.faults.do("mark_published", lambda: self.published.extend(event_ids))


def _totals(order: _Order) -> dict[str, Any]:
    names = ("order_id", "subtotal_minor", "tax_minor", "shipping_minor", "discount_minor")
    names += ("total_minor", "currency", "estimated_delivery")
    totals = {name: getattr(order.draft, name) for name in names}
    return {**totals, "status": order.status, "failure": order.failure}


class MemoryProvider:
    """PaymentProvider: `card_declined` is declined, every other card is charged."""

    name = "memory"

    def __init__(self) -> None:
        self.books: dict[str, ChargeState] = {}
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
        return self._do("authorize", lambda: self.books.setdefault(charge.transaction_id, state))

    async def capture(self, transaction_id: str) -> ChargeState:
        return self._do("capture", lambda: self._move(transaction_id, "authorized", "captured"))

    async def void(self, transaction_id: str) -> ChargeState:
        return self._do("void", lambda: self._move(transaction_id, "authorized", "voided"))

    async def refund(self, transaction_id: str) -> ChargeState:
        return self._do("refund", lambda: self._move(transaction_id, "captured", "refunded"))

    async def lookup(self, transaction_id: str) -> ChargeState | None:
        return self._do("lookup", lambda: self.books.get(transaction_id))

    def _do(self, method: str, work: Callable[[], T]) -> T:
        self.calls.append(method)
        return self.faults.do(method, work)

    def _move(self, transaction_id: str, before: str, after: Any) -> ChargeState:
        state = self.books.get(transaction_id)
        if state is None:
            state = ChargeState("voided", 0, "USD")
            if after != "voided":
                return state
        if state.status == before:
            state = replace(state, status=after)
        self.books[transaction_id] = state
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


class MemoryBus:
    """EventBus that remembers what reached it, in order."""

    def __init__(self) -> None:
        self.events: list[OutboxEvent] = []
        self.faults = Faults()

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        self.faults.do("publish", lambda: self.events.extend(events))


__all__ = ["Fault", "Faults", "MemoryJournal", "Reservation", "Row"]
