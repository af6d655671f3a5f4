"""The simulated provider's rules: test means of payment, what they come to, which step moves what.

Both doors obey them: the in-process twin (`sim.provider`) and the HTTP server
(`sim.stripe_server`). docs/payments-simulator.md lists the means for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from domain.payments import ChargeState, ChargeStatus, NextAction, PaymentKind

UNKNOWN_METHOD = "unknown_payment_method"
AUTHENTICATION = "authentication_required"
MEANS_REMEMBERED_MAX = 4_096

DECLINES: Mapping[str, str] = {
    "card_declined": "card_declined",
    "card_insufficient_funds": "insufficient_funds",
    "card_expired": "expired_card",
    "card_processing_error": "processing_error",
    "pm_card_chargeDeclined": "card_declined",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_chargeDeclinedProcessingError": "processing_error",
    "pm_card_visa_chargeDeclined": "card_declined",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "tok_chargeDeclined": "card_declined",
    "tok_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "tok_chargeDeclinedExpiredCard": "expired_card",
    "tok_chargeDeclinedProcessingError": "processing_error",
}
"""Cards that are refused, and why."""
CHALLENGED = frozenset(
    {
        "card_3ds",
        "pm_card_threeDSecure2Required",
        "pm_card_threeDSecureRequired",
        "pm_card_authenticationRequired",
        "tok_threeDSecure2Required",
    }
)
"""Cards whose bank wants to hear from the buyer first."""
_CARDS = ("card_", "pm_card_", "tok_")
SLOW_TRANSFER = "bank_processing"
"""A bank account that is debited: nobody has to do anything, but it takes its time."""

# Nobody's account: the example of the standard for such numbers.
_ACCOUNT = {"iban": "DE89370400440532013000", "bic": "COBADEFFXXX", "account_holder": "Doorbuster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a means of payment comes to when it is asked for money."""

    status: ChargeStatus
    decline_code: str | None = None


_AUTHORIZED = Outcome(status="authorized")
_CAPTURED = Outcome(status="captured")
_WAITS = Outcome(status="requires_action")
_PROCESSING = Outcome(status="processing")
_UNKNOWN = Outcome(status="declined", decline_code=UNKNOWN_METHOD)
_DECLINED = {code: Outcome(status="declined", decline_code=code) for code in DECLINES.values()}


def is_known(token: str, kind: PaymentKind) -> bool:
    """True if the provider has a means of payment of that name."""
    if kind == "card":
        return token.startswith(_CARDS)
    return kind in ("wallet", "bank_transfer") and not token.startswith("unknown")


@lru_cache(MEANS_REMEMBERED_MAX)
def outcome_of(token: str, kind: PaymentKind, *, captures_at_once: bool = False) -> Outcome:
    """What happens to a charge with this means, as far as it happens at once."""
    if not is_known(token, kind):
        return _UNKNOWN
    if kind == "card" and token in DECLINES:
        return _DECLINED[DECLINES[token]]
    if token == SLOW_TRANSFER and kind == "bank_transfer":
        return _PROCESSING
    if kind != "card" or token in CHALLENGED:
        return _WAITS
    return _CAPTURED if captures_at_once else _AUTHORIZED


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of a charge: from which states, to which, for which kinds.

    `to` is "captured" where it says "authorized" and the charge captures at once.
    """

    before: tuple[str, ...]
    to: ChargeStatus
    kinds: tuple[str, ...] = ("card", "wallet", "bank_transfer")
    decline_code: str | None = None


_BUYERS = ("card", "wallet")
STEPS: Mapping[str, Step] = {
    "capture": Step(before=("authorized",), to="captured"),
    "void": Step(before=("created", "requires_action", "authorized"), to="voided"),
    # Over HTTP a declined charge can be tried again, so it can be cancelled, too.
    "cancel": Step(before=("created", "declined", "requires_action", "authorized"), to="voided"),
    "approve": Step(before=("requires_action",), to="authorized", kinds=_BUYERS),
    "deny": Step(
        before=("requires_action",), to="declined", kinds=_BUYERS, decline_code=AUTHENTICATION
    ),
    "settle": Step(
        before=("requires_action", "processing"), to="captured", kinds=("bank_transfer",)
    ),
    "fail_transfer": Step(
        before=("requires_action", "processing"),
        to="declined",
        kinds=("bank_transfer",),
        decline_code="transfer_failed",
    ),
    "expire": Step(
        before=("requires_action", "processing"),
        to="declined",
        kinds=("bank_transfer",),
        decline_code="transfer_expired",
    ),
}
"""All that can happen to a charge after it was made, but refunds."""


def transfer_instructions(transaction_id: str) -> dict[str, str]:
    """Where the buyer's bank is to send the money, and how it will be recognised."""
    digest = hashlib.sha256(transaction_id.encode()).hexdigest()
    return {**_ACCOUNT, "reference": f"DB{digest[:12].upper()}"}


def next_action(
    status: str, kind: PaymentKind, transaction_id: str, pages_url: str
) -> NextAction | None:
    """What the buyer has to do, if anything. `pages_url` is where the provider's pages are."""
    if status != "requires_action":
        return None
    if kind == "bank_transfer":
        return NextAction("transfer", instructions=transfer_instructions(transaction_id))
    return NextAction("redirect", url=f"{pages_url}/{transaction_id}")


def state_of(row: Iterable[Any], pages_url: str) -> ChargeState:
    """A row of the books as the port tells it.

    `row` is (transaction_id, status, amount_minor, currency, decline_code, refunded_minor, kind).
    """
    transaction_id, status, amount_minor, currency, decline_code, refunded_minor, kind = row
    action = None
    if status == "requires_action":
        action = next_action(status, kind, transaction_id, pages_url)
    return ChargeState(status, amount_minor, currency, decline_code, refunded_minor, action)
