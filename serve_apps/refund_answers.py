"""What is told of refunds: to an order's buyer, and in full to operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from domain import ids
from domain.money import to_wire
from domain.refunds import Refund, RefundedLine, RefundPart, RefundPartStatus, RefundStatus
from domain.returns import ReturnStatus

PREFIX = "refund"


class BuyersRefund(BaseModel):
    """A refund as the order's buyer sees it."""

    amount: float
    currency: str
    reason: str
    status: Literal["pending", "done"]
    created_at: datetime


class ReturnAnswer(BaseModel):
    """Units that go back into the stock of a warehouse."""

    warehouse: str
    quantity: int
    status: ReturnStatus = Field(description="`pending` until the stock's owner has booked it")
    refusal: str | None = Field(description="why the stock's owner refused")


class RefundLineAnswer(BaseModel):
    """Units of a line that were given back, and what they came to."""

    sku: str
    variant_id: str
    quantity: int
    amount: float
    restocked: list[ReturnAnswer] = Field(description="what of it came back")


class RefundPartAnswer(BaseModel):
    """What goes back to one means of payment."""

    payment_method: str
    gateway: str
    amount: float
    status: RefundPartStatus = Field(
        description="`settled`: the provider refused, and an operator gave it back without it"
    )
    refusal: str | None = Field(description="what the provider said, if it refused")
    settled_by: str | None = Field(description="the operator who settled it")
    settled_note: str | None = Field(description="where the money went instead")


class RefundAnswer(BaseModel):
    """A refund as operators see it."""

    refund_id: str
    order_id: str
    amount: float
    currency: str
    reason: str
    status: RefundStatus
    requested_by: str
    created_at: datetime
    done_at: datetime | None
    lines: list[RefundLineAnswer]
    shipping: float = Field(description="what of the amount was paid for shipping")
    parts: list[RefundPartAnswer]


class RefundsAnswer(BaseModel):
    """All refunds of an order, oldest first."""

    order_id: str
    refunds: list[RefundAnswer]


def refunds_view(refunds: Sequence[Refund]) -> list[dict[str, Any]]:
    """An order's refunds for its buyer: what a provider refused is ours to mend, and pending."""
    return [
        {
            "amount": to_wire(one.amount_minor, one.currency),
            "currency": one.currency,
            "reason": one.reason,
            "status": "done" if one.status == "done" else "pending",
            "created_at": one.created_at,
        }
        for one in refunds
    ]


def refund_view(refund: Refund) -> dict[str, Any]:
    """A refund for operators, amounts in major units."""
    currency = refund.currency
    return {
        "refund_id": ids.encode(PREFIX, refund.refund_id),
        "order_id": ids.encode("order", refund.order_id),
        "amount": to_wire(refund.amount_minor, currency),
        "currency": currency,
        "reason": refund.reason,
        "status": refund.status,
        "requested_by": refund.requested_by,
        "created_at": refund.created_at,
        "done_at": refund.done_at,
        "lines": [_line_view(line, currency) for line in refund.lines],
        "shipping": to_wire(refund.shipping_minor, currency),
        "parts": [_part_view(part, currency) for part in refund.parts],
    }


def _line_view(line: RefundedLine, currency: str) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "variant_id": ids.encode("var", line.variant_id),
        "quantity": line.quantity,
        "amount": to_wire(line.amount_minor, currency),
        "restocked": [
            {
                "warehouse": one.warehouse,
                "quantity": one.quantity,
                "status": one.status,
                "refusal": one.refusal,
            }
            for one in line.returns
        ],
    }


def _part_view(part: RefundPart, currency: str) -> dict[str, Any]:
    return {
        "payment_method": part.charge.kind,
        "gateway": part.gateway,
        "amount": to_wire(part.amount_minor, currency),
        "status": part.status,
        "refusal": part.refusal,
        "settled_by": part.settled_by,
        "settled_note": part.settled_note,
    }
