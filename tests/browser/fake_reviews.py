"""The review queue of the fake shop: a few risky orders, and operators who decide about them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from domain.ids import encode
from tests.browser.fake_catalog import XSS_NAME

TOKEN = "operator_ann.1800000000000-1900000000.0123456789abcdef0123456789abcdef"
_PATH = "/api/v1/fraud/reviews"
_SHIP = {
    "name": "Ada Byron",
    "street": "12 St James's Square",
    "city": "Reno",
    "state": "NV",
    "zip": "89501",
    "country": "US",
}
_REASONS = {
    "high_velocity": (25.0, "The buyer has placed more than 5 orders in the last hour."),
    "new_payment_method": (15.0, "The buyer has not paid with this card before."),
    "address_mismatch": (10.0, "The billing address is another than the shipping address."),
    "unusually_high_value": (20.0, "The total is more than 3 times the buyer's average order."),
    "model": (8.4, "The model puts the probability of fraud at 21.0%."),
}
_ORDERS: tuple[tuple[str, float, str, tuple[str, ...], float], ...] = (
    ("Aurora Wireless Headphones", 199.0, "US", ("high_velocity", "new_payment_method"), 1_500),
    (XSS_NAME, 80.0, "BR", ("unusually_high_value", "address_mismatch"), 20_000),
    ("Trail Running Shoes with a rather long name", 1299.0, "DE", ("new_payment_method",), 80_000),
)


class FakeReviews:
    """What waits, by order id, and what was decided."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.orders: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.decisions: list[tuple[str, str, str]] = []
        """(order_id, decision, note) as they came."""
        for one in _ORDERS:
            self.add(*one)

    def add(
        self,
        name: str,
        price: float,
        country: str,
        flags: tuple[str, ...],
        seconds_left: float,
        *,
        customer: int | None = None,
    ) -> str:
        """Put an order up for review, of a customer of its own unless one is named; its id."""
        number = next(self._numbers)
        order_id = encode("order", UUID(int=number))
        reasons = [
            {"name": flag, "points": _REASONS[flag][0], "sentence": _REASONS[flag][1]}
            for flag in (*flags, "model")
        ]
        self.orders[order_id] = {
            "order_id": order_id,
            "customer": encode("user", UUID(int=(number if customer is None else customer))),
            "status": "in_review",
            "placed_at": (datetime.now(UTC) - timedelta(minutes=number)).isoformat(),
            "decide_by": (datetime.now(UTC) + timedelta(seconds=seconds_left)).isoformat(),
            "seconds_left": seconds_left,
            "total": round(2 * price * 1.08 + 5.99, 2),
            "currency": "USD",
            "payment_method": "card",
            "country": country,
            "risk_score": sum(one["points"] for one in reasons),
            "flags": list(flags),
            "reasons": reasons,
            "model_version": "2026-11-26.f29ecf7b",
            "items": [
                {"sku": f"AURORA-WL-HP-{number:03}", "name": name, "quantity": 2, "price": price}
            ],
            "decision": None,
            "failure": None,
        }
        return order_id

    def waiting(self) -> list[dict[str, Any]]:
        return [one for one in self.orders.values() if one["status"] == "in_review"]

    def decide(self, order_id: str, decision: str, *, by: str = "ann", note: str = "") -> bool:
        """An operator decides; whether it counts."""
        order = self.orders[order_id]
        if order["status"] != "in_review":
            return False
        order["status"] = "accepted" if decision == "approve" else "failed"
        if decision == "decline":
            self.fail(order_id, "fraudulent")
        order["decision"] = {
            "decision": decision,
            "by": by,
            "at": datetime.now(UTC).isoformat(),
            "note": note,
        }
        return True

    def fail(self, order_id: str, decline_code: str) -> None:
        """What the order came to: its payment was declined."""
        problem = {"type": "/problems/payment_declined", "decline_code": decline_code}
        self.orders[order_id] |= {"status": "failed", "failure": problem}

    def page(self, *, decided: bool, limit: int) -> dict[str, Any]:
        self.asked += 1
        waiting = self.waiting()
        made = [one for one in self.orders.values() if one["decision"]]
        found = sorted(made, key=lambda one: one["decision"]["at"], reverse=True)
        found = found if decided else waiting
        following = "cursor_x" if len(found) > limit else None
        return {"reviews": found[:limit], "next_cursor": following, "waiting": len(waiting)}


def _refusal(kind: str, status: int, detail: str) -> JSONResponse:
    document = {"type": f"/problems/{kind}", "title": kind, "status": status, "detail": detail}
    return JSONResponse(document, status, media_type="application/problem+json")


def add_review_answers(app: FastAPI, reviews: FakeReviews) -> None:
    """The fake answers of the queue."""

    def refused(request: Request) -> JSONResponse | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        if request.headers.get("authorization", "").startswith("Bearer user_"):
            return _refusal("forbidden", 403, "this token is a customer's; send an operator's")
        return _refusal("unauthorized", 401, "this token is not valid; send one of an operator's")

    @app.get(_PATH)
    async def _(request: Request, limit: int = 50, decided: bool = False) -> Any:
        return refused(request) or reviews.page(decided=decided, limit=limit)

    @app.get(_PATH + "/{order_id}")
    async def _(request: Request, order_id: str) -> Any:
        contact = {"email": "ada@example.com", "phone": "+1 555 0100"}
        billing = {**_SHIP, "street": "9 Elsewhere", "country": "FR"}
        personal = {"shipping_address": _SHIP, "billing_address": billing, "contact": contact}
        return refused(request) or {**reviews.orders[order_id], "personal": personal}

    @app.post(_PATH + "/{order_id}/decision")
    async def _(request: Request, order_id: str) -> Any:
        if problem := refused(request):
            return problem
        body = await request.json()
        reviews.decisions.append((order_id, body["decision"], body["note"]))
        counted = reviews.decide(order_id, body["decision"], note=body["note"])
        return {**reviews.orders[order_id], "counted": counted}
