"""What checkout and orders answer: the shapes, and how an order is put into them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from actors.checkout import Waiting
from domain import ids
from domain.money import to_wire
from domain.orders import OrderDraft, PaymentOfOrder, RecordedOrder, StoredOrder
from domain.payments import NextAction
from domain.refunds import Refund
from serve_apps.credit_app import invoice_name
from serve_apps.http import Problem
from serve_apps.refund_answers import BuyersRefund, refunds_view

PaymentStatus = Literal[
    "created",
    "requires_action",
    "processing",
    "authorized",
    "captured",
    "declined",
    "voided",
    "refunded",
]


class CheckoutAnswer(BaseModel):
    """A confirmed order."""

    order_id: str
    status: Literal["confirmed"]
    total: float = Field(description="the goods; tax and shipping come on top")
    tax: float
    shipping: float
    grand_total: float
    currency: str
    discount: float
    estimated_delivery: date
    tracking_url: str


class NextActionAnswer(BaseModel):
    """What the buyer has to do before the order goes on."""

    kind: Literal["redirect", "transfer"]
    url: str | None = Field(description="redirect: where to approve the payment")
    instructions: dict[str, str] = Field(description="transfer: what the buyer's bank is told")
    amount: float | None = Field(
        description="what this payment comes to, perhaps not the whole order"
    )
    amount_minor: int | None = Field(description="the same in minor units")
    currency: str | None


class WaitingAnswer(BaseModel):
    """An order that waits: for its buyer or a bank, or for somebody to look at it."""

    order_id: str
    status: Literal["awaiting_payment", "in_review", "accepted"]
    waits_until: datetime
    next_actions: list[NextActionAnswer]
    total: float = Field(description="the goods; tax and shipping come on top")
    discount: float
    tax: float
    shipping: float
    grand_total: float
    currency: str
    estimated_delivery: date
    tracking_url: str


class OrderItem(BaseModel):
    """One line of an order, at the price it was bought for."""

    product_id: str
    variant_id: str
    sku: str
    name: str
    quantity: int
    price: float


class TimelineStep(BaseModel):
    """When an order became what."""

    status: str
    timestamp: datetime


class InvoiceOfOrder(BaseModel):
    """The invoice that an order was bought on, or a part of it."""

    number: str
    due_on: date
    open: float = Field(description="what is not paid, refunded or written off yet")


class OrderPayment(BaseModel):
    """A part of an order's payment, as far as its buyer has to know it."""

    type: Literal["card", "wallet", "bank_transfer", "gift_card", "store_credit", "invoice"]
    amount: float
    currency: str
    status: PaymentStatus
    last_four: str | None = Field(
        default=None, description="of a saved card or a gift card; what was not saved is not known"
    )
    invoice: InvoiceOfOrder | None = Field(
        default=None, description="only there once the order is sold on invoice"
    )


class OrderAnswer(BaseModel):
    """An order as its buyer sees it."""

    order_id: str
    status: str
    placed_at: datetime
    shipped_at: datetime | None
    estimated_delivery: date
    items: list[OrderItem]
    shipment: dict[str, Any] | None
    timeline: list[TimelineStep]
    total: float
    tax: float
    shipping: float
    grand_total: float
    currency: str
    discount: float
    payments: list[OrderPayment] = Field(description="how it was paid; none if it cost nothing")
    refunds: list[BuyersRefund]
    waits_until: datetime | None = Field(
        default=None, description="when an order that waits is given up"
    )
    next_actions: list[NextActionAnswer] = Field(
        default=[], description="what the buyer has to do before the order goes on"
    )
    failure: dict[str, Any] | None = Field(
        default=None, description="the problem that ended it; only there if it failed"
    )


def failure_problem(failure: Any) -> Problem:
    details = {name: value for name, value in failure.items() if name not in ("kind", "detail")}
    return Problem(failure["kind"], failure["detail"], **details)


def _money_view(order: OrderDraft | RecordedOrder | StoredOrder) -> dict[str, Any]:
    currency = order.currency
    return {
        "total": to_wire(order.subtotal_minor, currency),
        "tax": to_wire(order.tax_minor, currency),
        "shipping": to_wire(order.shipping_minor, currency),
        "grand_total": to_wire(order.total_minor, currency),
        "currency": currency,
        "discount": to_wire(order.discount_minor, currency),
    }


def confirmed_view(order: OrderDraft | RecordedOrder) -> dict[str, Any]:
    order_id = ids.encode("order", order.order_id)
    return {
        "order_id": order_id,
        "status": "confirmed",
        **_money_view(order),
        "estimated_delivery": order.estimated_delivery,
        "tracking_url": f"/#/order/{order_id}",
    }


def waiting_view(
    order: OrderDraft | RecordedOrder, waiting: Waiting | RecordedOrder
) -> dict[str, Any]:
    """An order that is not decided yet: until when, and what its buyer has to do."""
    return {
        **confirmed_view(order),
        "status": waiting.status,
        "waits_until": waiting.waits_until,
        "next_actions": _actions_view(waiting.actions),
    }


def _actions_view(actions: Sequence[NextAction]) -> list[dict[str, Any]]:
    return [
        {
            "kind": one.kind,
            "url": one.url,
            "instructions": dict(one.instructions),
            "amount": _amount(one),
            "amount_minor": one.amount_minor,
            "currency": one.currency,
        }
        for one in actions
    ]


def _amount(action: NextAction) -> float | None:
    if action.amount_minor is None or action.currency is None:
        return None
    return to_wire(action.amount_minor, action.currency)


def _payment_view(payment: PaymentOfOrder) -> dict[str, Any]:
    currency, invoice = payment.currency, payment.invoice
    view: dict[str, Any] = {
        "type": payment.kind,
        "amount": to_wire(payment.amount_minor, currency),
        "currency": currency,
        "status": payment.status,
    }
    if payment.last_four:
        view["last_four"] = payment.last_four
    if invoice is not None:
        view["invoice"] = {
            "number": invoice_name(invoice.number),
            "due_on": invoice.due_on,
            "open": to_wire(invoice.open_minor, currency),
        }
    return view


def order_view(order: StoredOrder, refunds: Sequence[Refund] = ()) -> dict[str, Any]:
    steps = [("placed", order.created_at)]
    steps += [("confirmed", order.confirmed_at)] if order.confirmed_at else []
    steps += [("failed", order.failed_at)] if order.failed_at else []
    return {
        "order_id": ids.encode("order", order.order_id),
        "status": order.status,
        "placed_at": order.created_at,
        "shipped_at": None,
        "estimated_delivery": order.estimated_delivery,
        "items": [
            {
                "product_id": ids.encode("prod", line.product_id),
                "variant_id": ids.encode("var", line.variant_id),
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "price": to_wire(line.unit_price_minor, order.currency),
            }
            for line in order.lines
        ],
        "shipment": None,
        "timeline": [{"status": name, "timestamp": at} for name, at in steps],
        **_money_view(order),
        "payments": [_payment_view(one) for one in order.payments],
        "refunds": refunds_view(refunds),
        **(
            {"waits_until": order.waits_until, "next_actions": _actions_view(order.actions)}
            if order.waits_until
            else {}
        ),
        **({"failure": failure_problem(order.failure).as_json()} if order.failure else {}),
    }
