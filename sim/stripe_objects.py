"""Stripe's words: forms as it reads them, objects and errors as it writes them.

Written after Stripe's API reference; `tests/sim/test_stripe_specification.py` holds the objects against
its published specification. Amounts are in the currency's smallest unit, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from domain.payments import PaymentKind
from sim.provider_rules import transfer_instructions

API_VERSION = "2026-08-26.dahlia"
FORM_FIELDS_MAX = 200
_PATH = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP = re.compile(r"\[([^\[\]]*)\]")

Form = dict[str, Any]

# What Stripe calls a state of ours; a declined intent waits for another means of payment.
STATUS = {
    "created": "requires_payment_method",
    "requires_action": "requires_action",
    "processing": "processing",
    "authorized": "requires_capture",
    "captured": "succeeded",
    "declined": "requires_payment_method",
    "voided": "canceled",
    "refunded": "succeeded",
}
# Reasons that are codes of their own; the others are decline codes of `card_declined`.
_OWN_CODES = frozenset({"expired_card", "processing_error", "incorrect_cvc"})
_MESSAGES = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "We are unable to authenticate your payment method.",
}


class StripeRefusal(Exception):  # noqa: N818 - names a condition, as in domain.ports
    """An answer other than 2xx. `intent` is shown inside it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        decline_code: str | None = None,
        param: str | None = None,
        intent: Form | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.begun = not (code or "parameter").startswith(("parameter", "url_"))
        """Stripe began to work on it: the answer stays under the request's key."""
        said = {
            "code": code,
            "decline_code": decline_code,
            "message": message,
            "param": param,
            "payment_intent": intent,
            "type": type,
        }
        self.body: Form = {"error": {name: value for name, value in said.items() if value}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A charge as the HTTP door keeps it: a row of the books."""

    intent_id: str
    transaction_id: str
    amount_minor: int
    currency: str
    status: str
    created_at: datetime
    decline_code: str | None = None
    refunded_minor: int = 0
    kind: PaymentKind = "card"
    return_url: str | None = None
    captures_at_once: bool = False
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """metadata, customer, payment_method, type, types, description, off_session …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A saved means of payment; `token` is the test means it stands for."""

    method_id: str
    token: str
    type: str
    customer_id: str | None
    created_at: datetime


def parse_form(body: str) -> Form:
    """`a[b]=1&c[0]=2` as `{"a": {"b": "1"}, "c": ["2"]}`. Raises StripeRefusal."""
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX)
    except ValueError as error:
        raise StripeRefusal(400, f"Invalid request: {error}") from error
    form: Form = {}
    for name, value in pairs:
        match = _PATH.fullmatch(name)
        if match is None:
            raise StripeRefusal(400, f"Received unknown parameter: {name}", param=name)
        place, steps = form, [match[1], *_STEP.findall(match[2])]
        for step in steps[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise StripeRefusal(400, f"Invalid object: {name}", param=name)
        last = steps[-1]
        place[str(len(place)) if last == "" else last] = value
    return {name: _with_lists(value) for name, value in form.items()}


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _with_lists(one) for name, one in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def decline_error(code: str) -> Form:
    """A refused means of payment, as it stands in answers and in `last_payment_error`."""
    decline_code = "generic_decline" if code == "card_declined" else code
    return {
        "type": "card_error",
        "code": code if code in _OWN_CODES else "card_declined",
        "decline_code": decline_code,
        "message": _MESSAGES.get(code, "The payment failed."),
    }


def seconds(when: datetime) -> int:
    """Stripe's times are whole seconds."""
    return int(when.timestamp())


def charge_id(intent: Intent) -> str:
    """Each intent has one charge here, so it needs no id of its own."""
    return f"ch_{intent.intent_id.removeprefix('pi_')}"


def intent_object(intent: Intent, pages_url: str, expand: frozenset[str] = frozenset()) -> Form:
    """A PaymentIntent."""
    details, status = intent.details, STATUS[intent.status]
    if intent.status == "created" and details.get("payment_method"):
        status = "requires_confirmation"
    taken = intent.status in ("captured", "refunded")
    charged = intent.status not in ("created", "requires_action") and not (
        intent.status == "voided" and not details.get("held")
    )
    charge: Any = None
    if charged:
        charge = charge_object(intent) if "latest_charge" in expand else charge_id(intent)
    said_no = intent.decline_code if intent.status in ("declined", "voided") else None
    return {
        "id": intent.intent_id,
        "object": "payment_intent",
        "amount": intent.amount_minor,
        "amount_capturable": intent.amount_minor if intent.status == "authorized" else 0,
        "amount_received": intent.amount_minor if taken else 0,
        "automatic_payment_methods": details.get("automatic"),
        "canceled_at": details.get("canceled_at"),
        "cancellation_reason": details.get("cancellation_reason"),
        "capture_method": "automatic" if intent.captures_at_once else "manual",
        "client_secret": f"{intent.intent_id}_secret_simulated",
        "confirmation_method": "automatic",
        "created": seconds(intent.created_at),
        "currency": intent.currency.lower(),
        "customer": details.get("customer"),
        "description": details.get("description"),
        "last_payment_error": None if said_no is None else decline_error(said_no),
        "latest_charge": charge,
        "livemode": False,
        "metadata": details.get("metadata") or {},
        "next_action": _next_action(intent, pages_url),
        "payment_method": None if intent.status == "declined" else details.get("payment_method"),
        "payment_method_options": {},
        "payment_method_types": details.get("types") or ["card"],
        "receipt_email": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "status": status,
    }


def _next_action(intent: Intent, pages_url: str) -> Form | None:
    if intent.status != "requires_action":
        return None
    if intent.kind == "bank_transfer":
        told = transfer_instructions(intent.transaction_id)
        return {
            "type": "display_bank_transfer_instructions",
            "display_bank_transfer_instructions": {
                "type": f"{_REGIONS.get(intent.currency, 'eu')}_bank_transfer",
                "amount_remaining": intent.amount_minor,
                "currency": intent.currency.lower(),
                "reference": told["reference"],
                "hosted_instructions_url": f"{pages_url}/{intent.intent_id}",
                "financial_addresses": [{"type": "iban", "iban": _iban(told)}],
            },
        }
    if intent.return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    return {
        "type": "redirect_to_url",
        "redirect_to_url": {
            "return_url": intent.return_url,
            "url": f"{pages_url}/{intent.intent_id}",
        },
    }


_REGIONS = {"GBP": "gb", "JPY": "jp", "MXN": "mx", "USD": "us"}
_ADDRESS = {"city": None, "country": "DE", "line1": None, "line2": None, "postal_code": None}


def _iban(told: Mapping[str, str]) -> Form:
    return {
        "iban": told["iban"],
        "bic": told["bic"],
        "country": "DE",
        "account_holder_name": told["account_holder"],
        "account_holder_address": {**_ADDRESS, "state": None},
        "bank_address": {**_ADDRESS, "state": None},
    }


def charge_object(intent: Intent) -> Form:
    """The Charge of an intent."""
    held = intent.status in ("authorized", "voided")
    taken = intent.status in ("captured", "refunded")
    status = "succeeded" if held or taken else "failed"
    error = decline_error(intent.decline_code) if intent.decline_code else {}
    return {
        "id": charge_id(intent),
        "object": "charge",
        "amount": intent.amount_minor,
        "amount_captured": intent.amount_minor if taken else 0,
        "amount_refunded": intent.amount_minor
        if intent.status == "voided"
        else intent.refunded_minor,
        "billing_details": {},
        "captured": taken,
        "created": seconds(intent.created_at),
        "currency": intent.currency.lower(),
        "customer": intent.details.get("customer"),
        "disputed": False,
        "failure_code": error.get("code"),
        "failure_message": error.get("message"),
        "livemode": False,
        "metadata": intent.details.get("metadata") or {},
        "paid": held or taken,
        "payment_intent": intent.intent_id,
        "payment_method": intent.details.get("payment_method"),
        "refunded": intent.status in ("refunded", "voided"),
        "status": "pending" if intent.status == "processing" else status,
    }


def refund_object(
    refund_id: str, intent: Intent, amount_minor: int, metadata: Mapping[str, Any], made: datetime
) -> Form:
    """A Refund."""
    return {
        "id": refund_id,
        "object": "refund",
        "amount": amount_minor,
        "charge": charge_id(intent),
        "created": seconds(made),
        "currency": intent.currency.lower(),
        "metadata": dict(metadata),
        "payment_intent": intent.intent_id,
        "reason": None,
        "status": "succeeded",
    }


def customer_object(customer_id: str, details: Mapping[str, Any], made: datetime) -> Form:
    """A Customer."""
    return {
        "id": customer_id,
        "object": "customer",
        "created": seconds(made),
        "description": details.get("description"),
        "email": details.get("email"),
        "livemode": False,
        "metadata": details.get("metadata") or {},
        "name": details.get("name"),
    }


def method_object(method: Method) -> Form:
    """A PaymentMethod: never more of a card than brand, last four and expiry."""
    shown: Form = {
        "id": method.method_id,
        "object": "payment_method",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "created": seconds(method.created_at),
        "customer": method.customer_id,
        "livemode": False,
        "metadata": {},
        "type": method.type,
    }
    shown[method.type] = {}
    if method.type == "card":
        brand = "mastercard" if "mastercard" in method.token else "visa"
        shown["card"] = {
            "brand": brand,
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "funding": "credit",
            "last4": "4444" if brand == "mastercard" else "4242",
        }
    return shown


def list_object(
    url: str, data: list[Form], *, has_more: bool = False, search: bool = False
) -> Form:
    """A page of a list, or of what a search found."""
    found: Form = {
        "object": "search_result" if search else "list",
        "data": data,
        "has_more": has_more,
        "url": url,
    }
    return {**found, "next_page": None} if search else found


def event_object(event_id: str, type: str, subject: Form, made: datetime) -> Form:
    """An Event, as webhooks carry it."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": seconds(made),
        "data": {"object": subject},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
    }
