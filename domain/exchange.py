"""Exchange rates as values, and prices in another currency.

A shop quotes a rate as units of a currency for one unit of the base. Unit prices are converted
first, one by one, and everything else is computed in the currency that is charged: so sums add up
there, and no total is ever converted.

Rounding is half up to the minor unit, in every currency. That goes for Swiss francs, too: steps
of 0.05 are for cash, and a card is charged to the centime. Where the minor unit is out of use
(`STEPS_MINOR`), a converted price is rounded to whole units; taxes and discounts on it are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from domain.money import AMOUNT_MINOR_MAX, SCALES

RATE_DECIMALS = 10
RATE_SCALE = 10**RATE_DECIMALS
RATE_MAX = 10**9  # units for one of the base; the weakest currencies are below 10**6

STEPS_MINOR: dict[str, int] = dict.fromkeys(("COP", "HUF", "IDR", "TWD", "TZS"), 100)
"""What a converted price is a multiple of, in minor units; 1 where nothing is said."""


class ExchangeError(ValueError):
    """A rate that the house does not take; says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """One way from a currency to another, at the rates of one day; recorded with the order."""

    listed: str
    """The currency that the catalog's prices are in."""
    charged: str
    numerator: int
    denominator: int
    """One unit of `listed` is numerator / denominator units of `charged`."""
    as_of: date
    """The day of the rates."""

    @property
    def rate(self) -> Decimal:
        """Units of `charged` for one of `listed`, to RATE_DECIMALS places; to be shown."""
        return (Decimal(self.numerator) / self.denominator).quantize(Decimal(1).scaleb(-10))

    def price(self, minor: int) -> int:
        """A price in minor units of `listed` as one in `charged`.

        Half up to the currency's step (`STEPS_MINOR`). What costs something never becomes free:
        it costs one step at least.
        """
        step = STEPS_MINOR.get(self.charged, 1)
        numerator = minor * self.numerator * SCALES[self.charged]
        denominator = self.denominator * SCALES[self.listed] * step
        steps = (2 * numerator + denominator) // (2 * denominator)
        return step * max(steps, 1) if minor > 0 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """The rates of one day: units of each currency for one of the base, times RATE_SCALE."""

    base: str
    as_of: date
    scaled: Mapping[str, int]

    def conversion(self, listed: str, charged: str) -> Conversion | None:
        """From one currency to another, through the base; None if a rate is not known."""
        known = {self.base: RATE_SCALE, **self.scaled}
        if listed not in known or charged not in known:
            return None
        return Conversion(
            listed=listed,
            charged=charged,
            numerator=known[charged],
            denominator=known[listed],
            as_of=self.as_of,
        )


def parse_rate(currency: str, text: str) -> int:
    """The rate in a file as an integer times RATE_SCALE. Raises ExchangeError."""
    if currency not in SCALES:
        raise ExchangeError(
            f"currency {currency[:12]!r} is not sold in; use an ISO 4217 code such as EUR"
        )
    try:
        rate = Decimal(text.strip())
    except InvalidOperation:
        raise ExchangeError(f"{currency}: {text[:40]!r} is no rate; write 0.92") from None
    if not rate.is_finite() or not 0 < rate <= RATE_MAX:
        raise ExchangeError(f"{currency}: a rate is above 0 and at most {RATE_MAX}, not {rate}")
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -RATE_DECIMALS:
        raise ExchangeError(f"{currency}: {rate} has more than {RATE_DECIMALS} decimals; round it")
    scaled = int(rate.scaleb(RATE_DECIMALS))
    assert 0 < scaled <= AMOUNT_MINOR_MAX * RATE_SCALE
    return scaled


def rate_table(base: str, as_of: date, rates: Mapping[str, str]) -> RateTable:
    """A table from texts such as {"EUR": "0.92"}; the base itself is 1. Raises ExchangeError."""
    if base not in SCALES:
        raise ExchangeError(f"base {base[:12]!r} is not sold in; use an ISO 4217 code such as USD")
    scaled = {currency: parse_rate(currency, text) for currency, text in rates.items()}
    if scaled.pop(base, RATE_SCALE) != RATE_SCALE:
        raise ExchangeError(f"the rate of {base} to itself is 1; name another base")
    if not scaled:
        raise ExchangeError("there is no rate in it; name at least one currency and its rate")
    return RateTable(base=base, as_of=as_of, scaled=scaled)
