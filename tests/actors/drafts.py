"""Orders to check out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date
from typing import Any

from domain.orders import OrderDraft, OrderLine, PaymentPart
from domain.payments import ChargeRequest

TAX_MINOR = 80
SHIPPING_MINOR = 500
ADDRESS = {"name": "Ada", "street": "1 Main", "city": "X", "zip": "1", "country": "US"}


def line(quantity: int = 1, *, variant_id: uuid.UUID | None = None) -> OrderLine:
    """One line at 10.00 each."""
    return OrderLine(
        product_id=uuid.uuid4(),
        variant_id=variant_id or uuid.uuid4(),
        sku="MUG",
        name="Mug",
        quantity=quantity,
        unit_price_minor=1_000,
    )


def draft(lines: Sequence[OrderLine] = (), **changes: Any) -> OrderDraft:
    """An order of these lines, one mug if none are given; `changes` go into the draft."""
    lines = tuple(lines) or (line(),)
    token = changes.pop("payment_token", "card_1")
    subtotal_minor = sum(one.subtotal_minor for one in lines)
    order_id = uuid.uuid4()
    values: dict[str, Any] = {
        "order_id": order_id,
        "user_id": uuid.uuid4(),
        "cart_id": uuid.uuid4(),
        "idempotency_key": "key",
        "request_hash": b"hash",
        "lines": lines,
        "subtotal_minor": subtotal_minor,
        "tax_minor": TAX_MINOR,
        "shipping_minor": SHIPPING_MINOR,
        "discount_minor": 0,
        "total_minor": subtotal_minor + TAX_MINOR + SHIPPING_MINOR,
        "currency": "USD",
        "payment_method": "card",
        "shipping_method": "standard",
        "shipping_address": ADDRESS,
        "billing_address": None,
        "estimated_delivery": date(2026, 12, 1),
    }
    values |= changes
    if "parts" not in values:
        values["parts"] = (part(values["order_id"], values["total_minor"], token),)
    return OrderDraft(**values)


def part(
    order_id: uuid.UUID,
    amount_minor: int,
    token: str = "card_1",
    *,
    name: str = "charge",
    gateway: str = "simulated",
    **about: Any,
) -> PaymentPart:
    """A payment of an order; `about` goes into its charge."""
    charge = ChargeRequest(f"{name}-{order_id}", amount_minor, "USD", token, **about)
    return PaymentPart(payment_id=uuid.uuid4(), gateway=gateway, charge=charge)


def transaction_of(order: OrderDraft) -> str:
    """Our id of the order's only charge."""
    [only] = order.parts
    return only.transaction_id
