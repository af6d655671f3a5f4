"""The fake shop's till: prices with coupons, every way to pay, and orders that wait."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi.responses import JSONResponse

from domain.ids import encode

DECLINES = {
    "card_declined": "card_declined",
    "card_insufficient_funds": "insufficient_funds",
    "card_expired": "expired_card",
    "card_processing_error": "processing_error",
}
SHIPPING = {"standard": 9.99, "express": 24.99}
TAX = 0.0825
INSTRUCTIONS = {
    "iban": "XX00000000000000000000",
    "bic": "COBADEFFXXX",
    "account_holder": "Doorbuster, simulated",
    "reference": "DB0123456789AB",
}
DENIED = "authentication_required"
DUE_ON = "2031-01-15"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A problem document that the fake answers with, once."""

    kind: str
    status: int
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    after_work: bool = False
    """Whether the request is carried out all the same, and only its answer is lost."""

    @property
    def document(self) -> dict[str, Any]:
        document = {"type": f"/problems/{self.kind}", "title": self.kind, "status": self.status}
        return {**document, "detail": f"The fake shop says {self.kind}.", **self.extra}

    def response(self) -> JSONResponse:
        return JSONResponse(self.document, self.status, media_type="application/problem+json")


class Till:
    """What a test may arrange about prices and payments, and the orders that came of them."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.coupons = {"SAVE10": 10, "HALF": 50, "ALL": 100}
        """Per cent off the goods; of all of them, the shipping is free, too."""
        self.refused = {"OLD": "is not valid any more; leave it out"}
        """Coupons that are refused, and in what words."""
        self.surcharge = 0.0
        """Raised by a test so that everything costs more."""
        self.gift_cards: dict[str, float] = {}
        self.good_until: date | None = None
        """The last day of all gift cards."""
        self.methods: list[dict[str, Any]] = []
        """Saved means of payment, in the API's shape."""
        self.store_credit = 0.0
        self.transfer_minor = 10_041
        """What is left for a transfer to pay, of an order that is paid in parts."""
        self.invoice_limit = 0.0
        self.reviews = False
        """Whether the next orders are looked at first."""
        self.has_resume = True
        self.resumed = 0
        self.quotes = 0
        self.bodies: list[dict[str, Any]] = []
        """The checkouts that were decided."""
        self.return_urls: dict[str, str] = {}
        self._agreed: dict[str, bool] = {}

    def quote(self, cart: dict[str, Any], body: dict[str, Any]) -> dict[str, Any] | Refusal:
        """What a cart costs, in the API's shape."""
        self.quotes += 1
        codes = body.get("coupons", [])
        for code in codes:
            words = self.refused.get(code, None if code in self.coupons else "is not known")
            if words is not None:
                extra = {"coupon": code, "reason": "coupon", "detail": f"coupon {code} {words}"}
                return Refusal(kind="coupon_refused", status=422, extra=extra)
        currency, goods = cart["currency"], round(cart["total"] + self.surcharge, 2)
        best = max((self.coupons[code] for code in codes), default=0)
        off = round(goods * best / 100, 2)
        tax = round((goods - off) * TAX, 2)
        method = body.get("shipping_method", "standard")
        shipping = 0.0 if best == 100 else SHIPPING[method]
        promotions = [
            _step("promotion", f"{self.coupons[code]} % off", -off, code)
            for code in codes
            if self.coupons[code] == best and off
        ]
        taxed = _step("tax", "8.25 % tax, US-NV", tax, "US-NV")
        sent = _step("shipping", f"{method} shipping", shipping, method)
        return {
            "cart_id": cart["cart_id"],
            "items": [
                {
                    **item,
                    "discount": round(item["subtotal"] * best / 100, 2),
                    "net": item["subtotal"],
                    "tax": round(item["subtotal"] * TAX, 2),
                    "explanation": [
                        _step("goods", f"{item['quantity']} units", item["subtotal"], currency),
                        *promotions,
                    ],
                }
                for item in cart["items"]
            ],
            "total": goods,
            "discount": off,
            "tax": tax,
            "shipping": shipping,
            "grand_total": round(goods - off + tax + shipping, 2),
            "currency": currency,
            "explanation": [_step("goods", "goods", goods), *promotions, taxed, sent],
            "shipping_explanation": [sent],
            "unused_coupons": [
                {
                    "coupon": code,
                    "reason": "coupon_not_better",
                    "detail": f"coupon {code} takes nothing more off",
                }
                for code in codes
                if self.coupons[code] != best
            ],
            "conversion": None,
        }

    def refusal(self, quote: dict[str, Any], body: dict[str, Any]) -> Refusal | None:
        """Why these means of payment do not pay that; takes nothing."""
        expected, total = body.get("expected_total"), quote["grand_total"]
        if expected is not None and expected != total:
            extra = {"expected_total": expected, "grand_total": total, "currency": "USD"}
            return Refusal(kind="total_changed", status=409, extra=extra)
        for method in _methods(body):
            code = DECLINES.get(method.get("card_id", ""))
            amount = method.get("amount", total)
            if method["type"] == "gift_card":
                balance = self.gift_cards.get(method["code"])
                code = "gift_card_unknown" if balance is None else None
                code = "insufficient_credit" if balance and balance < amount else code
            if method["type"] == "store_credit" and amount > self.store_credit:
                code = "insufficient_credit"
            if method["type"] == "invoice" and total > self.invoice_limit:
                code = "credit_limit_exceeded"
            if code:
                extra = {"decline_code": code}
                return Refusal(kind="payment_declined", status=402, extra=extra)
        return None

    def record(
        self, cart: dict[str, Any], quote: dict[str, Any], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """An order: 201 and what is confirmed, or 202 and what it waits for."""
        self.bodies.append(body)
        order_id = encode("order", uuid.uuid4())
        placed = datetime.now(UTC)
        names = ("total", "discount", "tax", "shipping", "grand_total", "currency")
        sums = {name: quote[name] for name in names}
        arrives = (placed + timedelta(days=5)).date().isoformat()
        keep = ("product_id", "variant_id", "sku", "name", "quantity", "price")
        status, actions, waits = self._how(order_id, body)
        waiting = {"next_actions": actions, "waits_until": (placed + waits).isoformat()}
        waiting = {} if status == "confirmed" else waiting
        self.orders[order_id] = {
            "order_id": order_id,
            "status": status,
            "placed_at": placed.isoformat(),
            "shipped_at": None,
            "estimated_delivery": arrives,
            "items": [{name: item[name] for name in keep} for item in cart["items"]],
            "shipment": None,
            "timeline": [{"status": "placed", "timestamp": placed.isoformat()}],
            "payments": self._payments(quote, body, status),
            "refunds": [],
            **sums,
            **waiting,
        }
        if status == "confirmed":
            self.decide(order_id)
        answer = {"order_id": order_id, "status": status, **sums, **waiting}
        answer |= {"estimated_delivery": arrives, "tracking_url": f"/#/order/{order_id}"}
        return (201 if status == "confirmed" else 202), answer

    def _payments(
        self, quote: dict[str, Any], body: dict[str, Any], status: str
    ) -> list[dict[str, Any]]:
        """How an order is paid, in the API's shape."""
        methods, total = _methods(body), quote["grand_total"]
        said = sum(method.get("amount", 0) for method in methods)
        saved = {one["method_id"]: one["last_four"] for one in self.methods}
        paid = []
        for method in methods if total else []:
            part = {"type": method["type"], "currency": quote["currency"]}
            part["amount"] = method.get("amount", round(total - said, 2))
            part["status"] = "captured" if status == "confirmed" else "created"
            if method["type"] == "gift_card":
                part["last_four"] = method["code"][-4:]
            if "method_id" in method:
                part["last_four"] = saved[method["method_id"]]
            if method["type"] == "invoice":
                part["invoice"] = {"number": "INV-000042", "due_on": DUE_ON, "open": part["amount"]}
            paid.append(part)
        return paid

    def _how(
        self, order_id: str, body: dict[str, Any]
    ) -> tuple[str, list[dict[str, Any]], timedelta]:
        if self.reviews:
            return "in_review", [], timedelta(days=1)
        for method in _methods(body):
            if method["type"] == "wallet" or method.get("card_id") == "card_3ds":
                self.return_urls[order_id] = method["return_url"]
                url = f"/simulated-provider/{order_id}"
                action = {"kind": "redirect", "url": url, "instructions": {}}
                action |= {"amount": None, "amount_minor": None, "currency": None}
                return "awaiting_payment", [action], timedelta(minutes=15)
            if method["type"] == "bank_transfer":
                minor = self.transfer_minor
                action = {"kind": "transfer", "url": None, "instructions": INSTRUCTIONS}
                action |= {"amount": minor / 100, "amount_minor": minor, "currency": "USD"}
                return "awaiting_payment", [action], timedelta(days=7)
        return "confirmed", [], timedelta()

    def decide(self, order_id: str, failure: Refusal | None = None) -> None:
        """The order is confirmed, or failed."""
        order = self.orders[order_id]
        order.pop("next_actions", None)
        order.pop("waits_until", None)
        order["status"] = "failed" if failure else "confirmed"
        now = datetime.now(UTC).isoformat()
        order["timeline"].append({"status": order["status"], "timestamp": now})
        if failure:
            order["failure"] = failure.document
        for payment in order["payments"]:
            payment["status"] = "voided" if failure else "captured"

    def agree(self, order_id: str, *, is_agreed: bool) -> str:
        """The buyer's answer on the provider's page; gives where to go back to."""
        self._agreed[order_id] = is_agreed
        base, _, view = self.return_urls[order_id].partition("#")
        return f"{base}?redirect_status={'succeeded' if is_agreed else 'failed'}#{view}"

    def settle(self, order_id: str) -> None:
        """Ask the provider about an order, and decide it."""
        agreed = self._agreed.pop(order_id, None)
        if agreed is None:
            return
        extra = {"decline_code": DENIED}
        self.decide(
            order_id,
            None if agreed else Refusal(kind="payment_declined", status=402, extra=extra),
        )

    def credit(self) -> dict[str, Any]:
        """The customer's credit, in the API's shape."""
        own = {"currency": "USD", "available": self.store_credit, "held": 0.0}
        limit = self.invoice_limit
        terms = {"currency": "USD", "approved": True, "limit": limit, "owed": 0.0, "held": 0.0}
        terms |= {"available": limit, "net_days": 30}
        return {
            "store_credit": [own] if self.store_credit else [],
            "terms": [terms] if limit else [],
            "invoices": [],
        }

    def balance(self, code: str) -> dict[str, Any] | Refusal:
        """What is on a gift card."""
        if code not in self.gift_cards:
            return Refusal(kind="not_found", status=404)
        found = {"balance": self.gift_cards[code], "currency": "USD", "last_four": code[-4:]}
        told = {"expires_at": None, "good_until": None, "expired": False}
        if self.good_until is not None:
            told["good_until"] = self.good_until.isoformat()
            told["expires_at"] = f"{self.good_until + timedelta(days=1)}T00:00:00Z"
        return {**found, **told}


def _step(kind: str, label: str, amount: float, code: str = "") -> dict[str, Any]:
    return {"kind": kind, "code": code, "label": label, "amount": amount}


def _methods(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body.get("payment_methods") or [body["payment_method"]]


PROVIDER_PAGE = """<!doctype html><html lang="en"><title>Simulated payment provider</title>
<h1>Simulated payment provider</h1><form method="post" action="{path}/approve">
<button>Approve</button><button formaction="{path}/deny">Deny</button></form></html>"""
