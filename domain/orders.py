"""Orders as they are drafted, recorded and read back. Money in minor units, times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One line: what was bought, how many, at what price each."""

    product_id: UUID
    variant_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price_minor: int

    @property
    def subtotal_minor(self) -> int:
        """Price of the whole line."""
        return self.quantity * self.unit_price_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDraft:
    """A checkout that is about to be recorded as a pending order."""

    order_id: UUID
    user_id: UUID
    cart_id: UUID
    idempotency_key: str
    request_hash: bytes
    lines: tuple[OrderLine, ...]
    subtotal_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    total_minor: int
    currency: str
    payment_method: str
    payment_token: str
    shipping_method: str
    shipping_address: Mapping[str, Any]
    billing_address: Mapping[str, Any] | None
    estimated_delivery: date
    payment_id: UUID
    transaction_id: str
    gateway: str
    contact: Mapping[str, str] | None = None
    """`email`, `phone`."""


@dataclass(frozen=True, slots=True)
class HistoryOfCustomer:
    """What fraud scoring wants to know of the customer's earlier orders."""

    orders_last_hour: int
    average_total_minor: float | None
    last_country: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOrder:
    """An order that an idempotency key already belongs to."""

    order_id: UUID
    request_hash: bytes
    status: str
    failure: Mapping[str, Any] | None
    subtotal_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    total_minor: int
    currency: str
    estimated_delivery: date


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """An order as its buyer may read it."""

    order_id: UUID
    status: str
    failure: Mapping[str, Any] | None
    subtotal_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    total_minor: int
    currency: str
    estimated_delivery: date
    created_at: datetime
    confirmed_at: datetime | None
    failed_at: datetime | None
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOrder:
    """A checkout that stopped halfway, as recovery finds it."""

    order_id: UUID
    transaction_id: str
    total_minor: int
    currency: str
    user_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """Something that happened: CloudEvents' id, type, subject and data."""

    event_id: UUID
    type: str
    subject: UUID
    data: Mapping[str, Any]


ORDER_CONFIRMED = "order.confirmed"


def confirmed_event(event_id: UUID, order_id: UUID, total_minor: int, currency: str) -> OutboxEvent:
    """The event that a confirmed order leaves in the outbox."""
    data = {"order_id": str(order_id), "total_minor": total_minor, "currency": currency}
    return OutboxEvent(event_id=event_id, type=ORDER_CONFIRMED, subject=order_id, data=data)
