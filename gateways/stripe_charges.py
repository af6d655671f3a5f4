"""Charges in Stripe's words: what is asked of PaymentIntents and what their answers mean. Pure.

Sources: Stripe's API reference (PaymentIntents, Refunds), "Supported currencies" and "Decline
codes" of its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from domain.payments import (
    ChargeRequest,
    ChargeState,
    ChargeStatus,
    NextAction,
    PaymentKind,
    SavedMethod,
)

Body = Mapping[str, Any]
"""JSON as Stripe sent it."""

# ISK and UGX have no minor unit any more, but Stripe still counts hundredths of them.
_TIMES_HUNDRED = frozenset({"ISK", "UGX"})
# Three decimals; card networks behind Stripe want the last one to be 0.
_LAST_DIGIT_ZERO = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_NOT_CHARGED = frozenset({"IQD", "LYD"})

Wallet = Literal["paypal", "amazon_pay", "revolut_pay"]
WALLETS: tuple[Wallet, ...] = get_args(Wallet)
"""Wallets that can hold money (manual capture) and send the buyer to a page of their own."""
BANK_TRANSFER = "bank_transfer"
"""The token of a transfer that the buyer starts at his bank; others name a saved bank account."""
_TRANSFER_TYPES = {
    "EUR": "eu_bank_transfer",
    "GBP": "gb_bank_transfer",
    "JPY": "jp_bank_transfer",
    "MXN": "mx_bank_transfer",
    "USD": "us_bank_transfer",
}
_DEBIT_TYPES = {"EUR": "sepa_debit", "GBP": "bacs_debit", "USD": "us_bank_account"}

# Stripe: tell the buyer no more than that it was declined, or a thief learns something.
_KEPT_FROM_THE_BUYER = frozenset(
    {"fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card"}
)
_STATUSES: dict[str, ChargeStatus] = {
    "requires_capture": "authorized",
    "processing": "processing",
    "canceled": "voided",
}
_KIND_OF_TYPE: dict[str, PaymentKind] = {
    "card": "card",
    **dict.fromkeys(WALLETS, "wallet"),
    **dict.fromkeys(_DEBIT_TYPES.values(), "bank_transfer"),
}


class NotChargeable(ValueError):  # noqa: N818 - names a condition, as in domain.ports
    """Stripe has no way to express the charge; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer other than 2xx that is certain."""

    status: int
    type: str
    code: str | None
    decline_code: str | None
    param: str | None
    intent: Body | None
    """The PaymentIntent as it was when the answer was made."""
    replayed: bool
    request_id: str | None

    def wrong_state(self) -> bool:
        """The intent is past the step that was asked for."""
        return self.code == "payment_intent_unexpected_state"

    def other_parameters(self) -> bool:
        """The key was used before, with something else."""
        return self.type == "idempotency_error"

    def reason(self) -> str:
        """A decline code of ours for it."""
        if self.status == 402:
            return decline_code_of({"code": self.code, "decline_code": self.decline_code})
        if self.code == "resource_missing" and self.param == "payment_method":
            return "unknown_payment_method"
        return self.code or "invalid_request"


def to_stripe(amount_minor: int, currency: str) -> int:
    """Our minor units in Stripe's smallest unit. Raises NotChargeable."""
    if currency in _NOT_CHARGED:
        raise NotChargeable("currency_not_supported", f"Stripe does not charge in {currency}")
    if currency in _LAST_DIGIT_ZERO and amount_minor % 10:
        raise NotChargeable(
            "amount_not_chargeable",
            f"Stripe charges {currency} in steps of ten: {amount_minor} does not end in 0",
        )
    return amount_minor * 100 if currency in _TIMES_HUNDRED else amount_minor


def from_stripe(amount: int, currency: str) -> int:
    """The inverse of `to_stripe`, rounding down what is no whole unit of ours."""
    return amount // 100 if currency in _TIMES_HUNDRED else amount


def needs_customer(charge: ChargeRequest) -> bool:
    """A transfer that the buyer starts is booked on a customer at Stripe."""
    return charge.kind == "bank_transfer" and charge.payment_token == BANK_TRANSFER


def create_params(charge: ChargeRequest, customer: str | None) -> dict[str, Any]:
    """An unconfirmed PaymentIntent: it holds no money. The same for every repeat.

    Raises NotChargeable.
    """
    params: dict[str, Any] = {
        "amount": to_stripe(charge.amount_minor, charge.currency),
        "currency": charge.currency.lower(),
        "capture_method": "automatic" if charge.kind == "bank_transfer" else "manual",
        "payment_method_types": [method_type(charge)],
        "metadata": {"transaction_id": charge.transaction_id},
    }
    if charge.payer:
        params["metadata"]["payer"] = charge.payer
    if customer:
        params["customer"] = customer
    return params


def method_type(charge: ChargeRequest) -> str:
    """Stripe's type of the payment method. Raises NotChargeable."""
    token = charge.payment_token
    match charge.kind:
        case "card":
            return "card"
        case "wallet":
            return token if token in WALLETS else "paypal"
        case "bank_transfer" if token == BANK_TRANSFER:
            if charge.currency in _TRANSFER_TYPES:
                return "customer_balance"
        case "bank_transfer":
            if charge.currency in _DEBIT_TYPES:
                return _DEBIT_TYPES[charge.currency]
        case _:
            raise NotChargeable("kind_not_supported", f"Stripe does not know {charge.kind}")
    raise NotChargeable(
        "currency_not_supported", f"Stripe has no bank transfers in {charge.currency}"
    )


def confirm_params(charge: ChargeRequest, transfer_country: str) -> dict[str, Any]:
    """How the intent is paid. `transfer_country`: where transfers in EUR go to."""
    params: dict[str, Any] = {"expand": ["latest_charge"]}
    if needs_customer(charge):
        transfer: dict[str, Any] = {"type": _TRANSFER_TYPES[charge.currency]}
        if charge.currency == "EUR":
            transfer["eu_bank_transfer"] = {"country": transfer_country}
        params["payment_method_data"] = {"type": "customer_balance"}
        params["payment_method_options"] = {
            "customer_balance": {"funding_type": "bank_transfer", "bank_transfer": transfer}
        }
        return params
    if charge.kind == "wallet" and charge.payment_token in WALLETS:
        params["payment_method_data"] = {"type": charge.payment_token}
    else:
        params["payment_method"] = charge.payment_token
    if charge.return_url:
        params["return_url"] = charge.return_url
    return params


def state_of(intent: Body) -> ChargeState | None:
    """What an intent says of its charge; None while no payment of it was ever tried."""
    currency = str(intent["currency"]).upper()
    amount_minor = from_stripe(intent["amount"], currency)
    status = intent["status"]
    if status == "succeeded":
        return _taken(intent, amount_minor, currency)
    if status == "requires_action":
        action = next_action(intent.get("next_action") or {})
        return ChargeState("requires_action", amount_minor, currency, next_action=action)
    if status in _STATUSES:
        return ChargeState(_STATUSES[status], amount_minor, currency)
    # requires_payment_method or requires_confirmation: after a failure, or before any try
    if error := intent.get("last_payment_error"):
        return ChargeState("declined", amount_minor, currency, decline_code_of(error))
    return None


def _taken(intent: Body, amount_minor: int, currency: str) -> ChargeState:
    refunded = from_stripe(_refunded(intent), currency)
    status = "refunded" if refunded >= amount_minor else "captured"
    return ChargeState(status, amount_minor, currency, refunded_minor=refunded)


def _refunded(intent: Body) -> int:
    charge = intent.get("latest_charge")  # the id alone unless it was asked for
    return int(charge.get("amount_refunded") or 0) if isinstance(charge, Mapping) else 0


def decline_code_of(error: Body) -> str:
    """The decline code that a buyer may see, of an error or a `last_payment_error`."""
    code = error.get("decline_code") or error.get("code") or "card_declined"
    return "generic_decline" if code in _KEPT_FROM_THE_BUYER else str(code)


def next_action(action: Body) -> NextAction:
    """What the buyer has to do. A `redirect` without address: the charge had no return_url."""
    if details := action.get("display_bank_transfer_instructions"):
        return NextAction(
            "transfer", details.get("hosted_instructions_url"), _instructions(details)
        )
    redirect = action.get("redirect_to_url") or {}
    return NextAction("redirect", redirect.get("url"))


def _instructions(details: Body) -> dict[str, str]:
    """Reference and account, in one level: `iban.bic`, `aba.routing_number` …"""
    found = {
        name: str(details[name])
        for name in ("reference", "amount_remaining", "currency")
        if details.get(name) is not None
    }
    for account in details.get("financial_addresses") or ():
        kind = str(account.get("type"))
        for name, value in (account.get(kind) or {}).items():
            if isinstance(value, (str, int)):
                found[f"{kind}.{name}"] = str(value)
    return found


def saved_method_of(method: Body, customer: str) -> SavedMethod:
    """Token, kind, brand, last four and expiry; nothing else of it is kept."""
    type_ = str(method["type"])
    details: Body = method.get(type_) or {}
    return SavedMethod(
        token=method["id"],
        customer=customer,
        kind=_KIND_OF_TYPE.get(type_, "wallet"),
        brand=str(details.get("brand") or details.get("bank_name") or type_),
        last_four=str(details.get("last4") or ""),
        expiry_month=details.get("exp_month"),
        expiry_year=details.get("exp_year"),
    )
