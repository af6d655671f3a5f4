"""Ways to ship: what each costs and when it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from domain.money import PRICE_LEVELS, SCALES, scale_of

SUNDAY = 6  # as date.weekday() counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingMethod:
    """One way to ship."""

    name: str
    price_usd_minor: int
    """Per order, in US cents; other currencies get the same price point at their level."""
    transit_days: int
    """Delivery days, Monday to Saturday, from the day after the order."""


METHODS: dict[str, ShippingMethod] = {
    method.name: method
    for method in (
        ShippingMethod(name="standard", price_usd_minor=999, transit_days=5),
        ShippingMethod(name="express", price_usd_minor=2499, transit_days=2),
    )
}


def price_minor(method: str, currency: str) -> int:
    """What shipping an order costs, in minor units of `currency`.

    ValueError names an unknown method, or a currency that is not sold in.
    """
    scale_of(currency)
    _known(method)
    return PRICES_MINOR[method, currency]


def estimated_delivery(placed: date, method: str) -> date:
    """The day an order placed on `placed` arrives; Sundays do not count, nor is one the answer.

    ValueError names an unknown method.
    """
    _known(method)
    return placed + _TRANSIT[method][placed.weekday()]


def _known(method: str) -> None:
    if method not in METHODS:
        raise ValueError(
            f"there is no shipping method {method[:40]!r}; choose one of {', '.join(METHODS)}"
        )


def _price(method: ShippingMethod, currency: str) -> int:
    """The price point in a currency: at a level above 1, whole units, since 9.99 × 140 is odd."""
    level, scale = PRICE_LEVELS[currency], SCALES[currency]
    if level == 1:
        return method.price_usd_minor * scale // 100
    return -(-method.price_usd_minor * level // 100) * scale


def _transit(weekday: int, delivery_days: int) -> timedelta:
    """Calendar days until that many days other than Sundays have passed."""
    passed = 0
    while delivery_days > 0:
        passed += 1
        if (weekday + passed) % 7 != SUNDAY:
            delivery_days -= 1
    return timedelta(days=passed)


PRICES_MINOR: dict[tuple[str, str], int] = {
    (name, currency): _price(method, currency)
    for name, method in METHODS.items()
    for currency in SCALES
}
"""By (method, currency), in minor units."""

_TRANSIT = {
    name: tuple(_transit(weekday, method.transit_days) for weekday in range(7))
    for name, method in METHODS.items()
}
