"""Charges at a payment provider, as values.

A charge is one part of an order's payment at one provider. Its id is our own, is written down
before the first call and names the charge in every call after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

ChargeStatus = Literal[
    "requires_action",  # the buyer has to do something: `next_action`
    "processing",  # money is on its way, for hours or days; nothing is certain yet
    "authorized",  # held, not taken
    "captured",  # taken, perhaps given back in part: `refunded_minor`
    "declined",
    "voided",  # the hold was dropped, or the charge can never be made any more
    "refunded",  # taken and given back in full
]
PaymentKind = Literal["card", "wallet", "bank_transfer", "gift_card", "store_credit", "invoice"]
PAYMENT_KINDS: tuple[PaymentKind, ...] = get_args(PaymentKind)

OPEN: frozenset[ChargeStatus] = frozenset({"requires_action", "processing"})
"""Neither held nor over: the buyer or a bank has to do something first."""

ALIVE: frozenset[ChargeStatus] = frozenset({*OPEN, "authorized", "captured"})
"""Money that is held or taken, or still may be."""


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A charge: everything that a provider needs to make it, find it and repeat any call of it."""

    transaction_id: str
    amount_minor: int
    currency: str
    payment_token: str
    """The provider's own name of the means of payment; for gift cards the code's hash."""
    kind: PaymentKind = "card"
    payer: str = ""
    """Our customer's id; credit and invoices are looked up by it."""
    customer: str | None = None
    """The provider's own name of the customer that a saved means of payment belongs to."""
    return_url: str | None = None
    """Where the buyer comes back to after doing something elsewhere."""
    asked_at: datetime | None = None
    """When the charge was written down; a provider's memory of repeats is limited."""


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the buyer has to do before a charge goes on."""

    kind: Literal["redirect", "transfer"]
    url: str | None = None
    """`redirect`: where to send the buyer (3-D Secure, a wallet)."""
    instructions: Mapping[str, str] = field(default_factory=dict[str, str])
    """`transfer`: account, reference and what else the buyer's bank wants to know."""
    amount_minor: int | None = None
    """What the charge comes to, which may be a part of the order; None where it is not told."""
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeState:
    """What the provider says of a charge now."""

    status: ChargeStatus
    amount_minor: int
    currency: str
    decline_code: str | None = None
    refunded_minor: int = 0
    """Given back so far; `refunded` once it is the whole amount."""
    next_action: NextAction | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Money to give back: our own id for it, so that a repeat gives nothing twice."""

    refund_id: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A means of payment that a customer keeps for later: never a card number."""

    token: str
    customer: str | None
    kind: PaymentKind
    brand: str
    last_four: str
    expiry_month: int | None
    expiry_year: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedMethod:
    """A means of payment that its customer has removed, and that its provider still keeps."""

    user_id: UUID
    gateway: str
    token: str
    removed_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A provider's word that something happened to a charge: a hint to go and ask, no more."""

    event_id: str
    type: str
    transaction_id: str | None
    """Our own id of the charge; None if the event is about something else."""


class ForgedEvent(Exception):  # noqa: N818 - names a condition, as in domain.ports
    """A webhook whose signature is missing, wrong or too old."""
