"""Orders as they are drafted, recorded and read back. Money in minor units, times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from domain.payments import ChargeRequest, NextAction


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentPart:
    """What one means of payment pays of an order, and who is asked for it."""

    payment_id: UUID
    gateway: str
    charge: ChargeRequest

    @property
    def transaction_id(self) -> str:
        """Our own id of the charge."""
        return self.charge.transaction_id


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One line: what was bought, how many, at what price each."""

    product_id: UUID
    variant_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price_minor: int
    discount_minor: int = 0
    tax_minor: int | None = None
    """Its share of the order's tax; None for orders from before shares were kept."""

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
    """Kind of the means of payment; `split` if there are several, `none` if nothing is to pay."""
    parts: tuple[PaymentPart, ...]
    """Add up to the total; none if that is 0."""
    shipping_method: str
    shipping_address: Mapping[str, Any]
    billing_address: Mapping[str, Any] | None
    estimated_delivery: date
    contact: Mapping[str, str] | None = None
    """`email`, `phone`."""
    promotions: tuple[tuple[UUID, str], ...] = ()
    """What the price makes use of: (promotion id, what it is called)."""
    pricing: Mapping[str, Any] | None = None
    """What made the price beside the lines: promotions, exchange rate."""


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
    waits_until: datetime | None = None
    actions: tuple[NextAction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceOfPayment:
    """The invoice that a part of a payment was issued as; what is open may be paid by now."""

    number: int
    due_on: date
    open_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOfOrder:
    """A part of an order's payment as its buyer may see it: nothing that could pay again."""

    kind: str
    amount_minor: int
    currency: str
    status: str
    last_four: str | None = None
    """Of a saved means of payment or a gift card; what was not saved is not known."""
    invoice: InvoiceOfPayment | None = None


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
    waits_until: datetime | None = None
    actions: tuple[NextAction, ...] = ()
    """What its buyer has to do before it goes on."""
    payments: tuple[PaymentOfOrder, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that is neither confirmed nor failed, as whoever settles it finds it."""

    order_id: UUID
    user_id: UUID
    status: str
    total_minor: int
    currency: str
    parts: tuple[PaymentPart, ...]
    waits_until: datetime | None = None
    """When an order that waits for its buyer, a bank or an operator is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """An order that has to wait: for what, until when, and what its buyer has to do."""

    order_id: UUID
    status: str
    """`awaiting_payment` or `in_review`."""
    waits_until: datetime
    actions: tuple[tuple[UUID, str, NextAction | None], ...] = ()
    """(payment_id, the charge's status, what to do) of each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """Something that happened: CloudEvents' id, type, subject and data."""

    event_id: UUID
    type: str
    subject: UUID
    data: Mapping[str, Any]


FAILED_BEFORE = "failed_before"
"""What is said of an order that had failed already, perhaps for another reason."""
ORDER_CONFIRMED = "order.confirmed"


def confirmed_event(event_id: UUID, order_id: UUID, total_minor: int, currency: str) -> OutboxEvent:
    """The event that a confirmed order leaves in the outbox."""
    data = {"order_id": str(order_id), "total_minor": total_minor, "currency": currency}
    return OutboxEvent(event_id=event_id, type=ORDER_CONFIRMED, subject=order_id, data=data)
