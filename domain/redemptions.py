"""Uses of promotions: what an order asks for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class RedemptionStatus(StrEnum):
    """What came of an order's uses, as a whole."""

    REDEEMED = "redeemed"
    USED_UP = "used_up"
    """Of one of them as many uses as there may be are taken."""
    CUSTOMER_USED_UP = "customer_used_up"
    """This customer has had as many uses of one of them as a customer may have."""
    RETURNED = "returned"
    """The order's uses were given back, or it asked for others before: it gets none."""
    UNKNOWN = "unknown"
    """There is no such promotion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """The promotions that an order makes use of, each once."""

    order_id: UUID
    user_id: UUID
    promotion_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedemptionOutcome:
    """What came of it, and which promotion was the reason if it is no."""

    status: RedemptionStatus
    promotion_id: UUID | None = None
