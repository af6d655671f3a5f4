"""What is asked of a tax service and what it answers: rates, never amounts.

Amounts are computed by `domain.pricing` alone, so they add up whoever names the rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PPM = 1_000_000
PPM_PER_PERCENT = 10_000
RATE_PPM_MAX = PPM  # 100 %; a larger one is a mistake of units

TaxSource = Literal["table", "service", "fallback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxQuestion:
    """An order's destination and what goes there."""

    country: str
    """ISO 3166-1 alpha-2."""
    state: str | None
    postal_code: str | None = None
    categories: tuple[str, ...] = ()
    """The catalog's category of each line, in the order of the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxAnswer:
    """The rates for one question."""

    rates_ppm: tuple[int, ...]
    """In parts per million: one for each line, or a single one for all of them."""
    place: str
    """Where that is, such as US-CA; to be shown."""
    source: TaxSource
    """`fallback`: the table, because the service gave no answer."""
