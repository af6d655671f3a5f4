"""What is known about an order when its risk is scored, and the numbers a model sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import nan

from domain.money import PRICE_LEVELS, SCALES

VELOCITY_WINDOW_MINUTES = 60
NEW_CARD = "new_card"

_USD_MINOR = {currency: SCALES[currency] * level for currency, level in PRICE_LEVELS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudInput:
    """What is known about an order when it is scored."""

    payment_method: str
    """`new_card` for one not used by this buyer before; anything else counts as known."""
    shipping_address: Mapping[str, str | None]
    """As given, with `country` in ISO 3166-1 alpha-2."""
    total_minor: int
    """What the order comes to, in minor units of `currency`; 0 or more."""
    item_count: int
    """Units over all lines."""
    recent_orders: int = 0
    """Other orders of the buyer in the last VELOCITY_WINDOW_MINUTES."""
    avg_order_minor: int | Decimal | None = None
    """The buyer's average order, same units; None without a history."""
    billing_address: Mapping[str, str | None] | None = None
    """None: the same as the shipping address."""
    user_country: str | None = None
    """Where the buyer is known to be; None if that is not known."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number that the model sees of an order; a larger one never makes it less risky."""

    name: str
    meaning: str


FEATURES = (
    Feature(name="recent_orders", meaning="other orders of the buyer in the last hour"),
    Feature(name="new_card", meaning="1 if the card was not used by this buyer before, else 0"),
    Feature(name="address_mismatch", meaning="1 if billing and shipping address differ, else 0"),
    Feature(
        name="other_country",
        meaning="1 if shipped to another country than the buyer's, else 0; missing if unknown",
    ),
    Feature(name="total_usd", meaning="total in US dollars, other currencies by price level"),
    Feature(
        name="times_average",
        meaning="total over the buyer's average order; missing without a history",
    ),
    Feature(name="item_count", meaning="units over all lines"),
)


def features(order: FraudInput) -> tuple[float, ...]:
    """The order in numbers, in the order of FEATURES; NaN for what is not known."""
    total, average, known = order.total_minor, order.avg_order_minor, order.user_country
    country = order.shipping_address.get("country")
    return (
        order.recent_orders,
        1.0 if order.payment_method == NEW_CARD else 0.0,
        1.0 if addresses_differ(order) else 0.0,
        (1.0 if country != known else 0.0) if known and country else nan,
        total / _USD_MINOR[order.currency],
        # An average of less than one minor unit is no yardstick: count it as one.
        nan if average is None else total / (float(average) if average > 1 else 1.0),
        order.item_count,
    )


def dollars(order: FraudInput) -> float:
    """The total in US dollars, other currencies by their price level."""
    return order.total_minor / _USD_MINOR[order.currency]


def addresses_differ(order: FraudInput) -> bool:
    """True if a billing address is given that is not the shipping address."""
    billing = order.billing_address
    return billing is not None and billing != order.shipping_address


def countries_differ(order: FraudInput) -> bool:
    """True if both countries are known and are not the same."""
    known = order.user_country
    if not known:
        return False
    country = order.shipping_address.get("country")
    return bool(country) and country != known
