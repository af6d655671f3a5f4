"""Money: integer minor units with a currency, and the way to and from a JSON number.

Inside the house an amount is an `int` of minor units (cents, yen, fils). On the wire it is
a JSON number in major units beside its currency. Binary floating point appears only at that
border, and only where it gives back exactly what went in.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

AMOUNT_MINOR_MAX = 10**12
"""No price, line or order is larger. Far below 2**53, so a float names each amount exactly."""

BASIS_POINTS = 10_000  # in one whole: 825 basis points are 8.25 %
RATE_MAX = 10  # 1,000 %: above every tax or fee; a larger rate is a mistake of units
RATE_DECIMALS_MAX = 18
WIRE_TEXT_LENGTH_MAX = 32

# ISO 4217 list one: decimals of each currency that a shop may sell in.
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "RWF", "UGX", "VND", "XAF", "XOF"), 0),
    **dict.fromkeys(
        (
            *("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CNY", "COP", "CZK", "DKK", "EGP"),
            *("EUR", "GBP", "GHS", "HKD", "HUF", "IDR", "ILS", "INR", "KES", "MAD", "MXN", "MYR"),
            *("NGN", "NOK", "NZD", "PEN", "PHP", "PKR", "PLN", "QAR", "RON", "SAR", "SEK", "SGD"),
            *("THB", "TRY", "TWD", "TZS", "UAH", "USD", "UYU", "ZAR"),
        ),
        2,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

# Minor units in one unit of the currency.
SCALES: dict[str, int] = {currency: 10**digits for currency, digits in EXPONENTS.items()}

# About how many units a shop asks where it would ask one US dollar. Price points and risk
# bands are set with it; it is no exchange rate and nothing is converted by it.
PRICE_LEVELS: dict[str, int] = {
    **dict.fromkeys(EXPONENTS, 1),
    **dict.fromkeys(("AED", "BRL", "ILS", "MYR", "PEN", "PLN", "QAR", "RON", "SAR"), 4),
    **dict.fromkeys(("CNY", "DKK", "HKD"), 7),
    **dict.fromkeys(("GHS", "MAD", "NOK", "SEK"), 10),
    **dict.fromkeys(("MXN", "ZAR"), 18),
    **dict.fromkeys(("CZK",), 25),
    **dict.fromkeys(("THB", "TRY", "TWD", "UAH", "UYU"), 40),
    **dict.fromkeys(("EGP", "PHP"), 50),
    **dict.fromkeys(("INR",), 80),
    **dict.fromkeys(("ISK", "JPY", "KES"), 140),
    **dict.fromkeys(("PKR",), 280),
    **dict.fromkeys(("HUF",), 350),
    **dict.fromkeys(("XAF", "XOF"), 600),
    **dict.fromkeys(("ARS", "CLP"), 1_000),
    **dict.fromkeys(("IQD", "KRW", "NGN", "RWF"), 1_400),
    **dict.fromkeys(("TZS",), 2_500),
    **dict.fromkeys(("COP", "UGX"), 4_000),
    **dict.fromkeys(("PYG",), 7_500),
    **dict.fromkeys(("IDR",), 16_000),
    **dict.fromkeys(("VND",), 25_000),
}

_PLAIN_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class MoneyError(ValueError):
    """An amount, rate or currency from outside that the house does not take; says which."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of integer minor units in one currency; negative where it is given back."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        scale_of(self.currency)
        if abs(self.amount_minor) > AMOUNT_MINOR_MAX:
            raise _too_large()

    def __add__(self, other: Money) -> Money:
        self._must_match(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._must_match(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def times(self, quantity: int) -> Money:
        """`quantity` of this amount; exact."""
        return Money(self.amount_minor * quantity, self.currency)

    def to_wire(self) -> int | float:
        """The amount as a JSON number in major units."""
        return to_wire(self.amount_minor, self.currency)

    def _must_match(self, other: Money) -> None:
        if self.currency != other.currency:
            raise MoneyError(
                f"{self.currency} and {other.currency} do not add up; convert one of them first"
            )


def scale_of(currency: str) -> int:
    """Minor units in one unit of `currency` (100 for USD); MoneyError if it is unknown."""
    scale = SCALES.get(currency)
    if scale is None:
        raise MoneyError(
            f"currency {currency[:12]!r} is not sold in; use an ISO 4217 code such as USD"
        )
    return scale


def to_wire(minor: int, currency: str) -> int | float:
    """Minor units as a JSON number in major units: 129999 USD is 1299.99, 500 JPY is 500.

    Exact for |minor| < 2**53: the division gives the double nearest to the decimal, whose
    shortest text is that decimal.
    """
    scale = SCALES.get(currency) or scale_of(currency)
    return minor if scale == 1 else minor / scale


def amount_text(minor: int, currency: str) -> str:
    """An amount as people read it: 129999 USD is `1,299.99 USD`, 500 JPY is `500 JPY`."""
    scale_of(currency)
    digits = EXPONENTS[currency]
    return f"{Decimal(minor).scaleb(-digits):,.{digits}f} {currency}"


def parse_wire(value: int | float | str | Decimal, currency: str) -> int:
    """A number in major units as minor units of `currency`; the inverse of `to_wire`.

    Takes a JSON number, or its text in plain digits (`"1299.99"`). What counts is the value:
    `"5.000"` is 5 dollars. MoneyError for more decimals than the currency has, negatives,
    NaN, infinities, anything above AMOUNT_MINOR_MAX, and for what is not a number.
    """
    scale = scale_of(currency)
    if isinstance(value, bool):
        raise MoneyError(f"{value!r} is not an amount; give a number such as 12.99")
    if isinstance(value, float):
        return _minor_of_float(value, scale, currency)
    if isinstance(value, str):
        if len(value) > WIRE_TEXT_LENGTH_MAX or not _PLAIN_NUMBER.fullmatch(value):
            raise MoneyError(f"{value[:40]!r} is not an amount; give plain digits such as 12.99")
        value = Decimal(value)
    if isinstance(value, Decimal) and not value.is_finite():
        raise MoneyError(f"{value} is not an amount; give a finite number")
    if value < 0:
        raise MoneyError("an amount cannot be negative; give it without a sign")
    if value > AMOUNT_MINOR_MAX:
        raise _too_large()
    if isinstance(value, int):
        return _bounded(value * scale)
    # A coefficient or exponent of any length may arrive; these bounds keep the next line cheap.
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) > WIRE_TEXT_LENGTH_MAX or exponent < -WIRE_TEXT_LENGTH_MAX:
        raise _too_precise(value, currency)
    numerator, denominator = value.as_integer_ratio()
    minor, rest = divmod(numerator * scale, denominator)
    if rest:
        raise _too_precise(value, currency)
    return _bounded(minor)


def apply_rate(minor: int, rate: Decimal | int) -> int:
    """A share of an amount in minor units, rounded half up (half away from zero).

    `rate` is basis points as an int (825 is 8.25 %) or a Decimal fraction (`0.0825`), from 0
    to RATE_MAX. Half up, not half even, because sales tax is: the Streamlined Sales and Use
    Tax Agreement, section 324, carries the tax to the third decimal and rounds up from 5,
    per line or per invoice. Away from zero, so that a refund mirrors its charge.
    """
    if isinstance(rate, int):
        numerator, denominator = rate, BASIS_POINTS
        if not 0 <= rate <= RATE_MAX * BASIS_POINTS:
            raise _rate_refused(rate)
    else:
        if not rate.is_finite() or not 0 <= rate <= RATE_MAX:
            raise _rate_refused(rate)
        exponent = rate.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -RATE_DECIMALS_MAX:
            raise _rate_refused(rate)
        numerator, denominator = rate.as_integer_ratio()
    share = (2 * abs(minor) * numerator + denominator) // (2 * denominator)
    return share if minor >= 0 else -share


def _minor_of_float(value: float, scale: int, currency: str) -> int:
    if not math.isfinite(value):
        raise MoneyError(f"{value} is not an amount; give a finite number")
    if value < 0:
        raise MoneyError("an amount cannot be negative; give it without a sign")
    if value > AMOUNT_MINOR_MAX:
        raise _too_large()
    minor = round(value * scale)
    # The double nearest to a decimal within the currency's places comes back; no other does.
    if minor / scale != value:
        raise _too_precise(value, currency)
    return _bounded(minor)


def _bounded(minor: int) -> int:
    if minor > AMOUNT_MINOR_MAX:
        raise _too_large()
    return minor


def _too_large() -> MoneyError:
    # The value is not shown: Python refuses to make text of an int of many digits.
    return MoneyError(
        f"the amount is larger than the {AMOUNT_MINOR_MAX} minor units that are taken; lower it"
    )


def _too_precise(value: float | Decimal, currency: str) -> MoneyError:
    digits = EXPONENTS[currency]
    return MoneyError(
        f"{str(value)[:40]} has more decimals than {currency} has ({digits}); round it first"
    )


def _rate_refused(rate: Decimal | int) -> MoneyError:
    return MoneyError(
        f"rate {str(rate)[:40]} is not between 0 and {RATE_MAX} (basis points as an int, or a "
        f"Decimal of at most {RATE_DECIMALS_MAX} places)"
    )
