"""Charges at a payment provider, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChargeStatus = Literal["authorized", "captured", "declined", "voided", "refunded"]


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A hold to place: our own id for it, the amount in minor units, the method's token."""

    transaction_id: str
    amount_minor: int
    currency: str
    payment_token: str


@dataclass(frozen=True, slots=True)
class ChargeState:
    """What the provider says of a charge now."""

    status: ChargeStatus
    amount_minor: int
    currency: str
    decline_code: str | None = None
