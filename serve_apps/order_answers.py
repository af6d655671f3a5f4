"""What checkout and orders answer: the shapes, and how an order is put into them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from domain import ids
from domain.money import to_wire
from domain.orders import OrderDraft, RecordedOrder, StoredOrder
from serve_apps.http import Problem


class CheckoutAnswer(BaseModel):
    """A confirmed order."""

    order_id: str
    status: Literal["confirmed"]
    total: float = Field(description="the goods; tax and shipping come on top")
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


def order_view(order: StoredOrder) -> dict[str, Any]:
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
        **({"failure": failure_problem(order.failure).as_json()} if order.failure else {}),
    }
