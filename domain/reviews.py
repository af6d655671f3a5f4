"""Orders that a person has to look at: what is shown of them, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

NOTE_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecision:
    """What an operator decided about an order in review."""

    approve: bool
    by: str
    """The operator's name."""
    note: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewLine:
    """One line of what is bought."""

    sku: str
    name: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """An order that was put up for review, as it is now."""

    order_id: UUID
    user_id: UUID
    status: str
    risk_score: float
    flags: tuple[str, ...]
    reasons: tuple[Mapping[str, Any], ...]
    """`name`, `points`, `sentence`; none for orders from before they were kept."""
    model_version: str | None
    total_minor: int
    currency: str
    payment_method: str
    country: str | None
    """Where it goes, ISO 3166-1 alpha-2."""
    placed_at: datetime
    waits_until: datetime | None
    """Until when it can be decided; None when it waits for nobody any more."""
    lines: tuple[ReviewLine, ...]
    decision: ReviewDecision | None
    failure: Mapping[str, Any] | None = None
    """The problem that ended the order, if it failed: `kind`, `detail` and what belongs to it."""
