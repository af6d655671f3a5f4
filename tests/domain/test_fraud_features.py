"""The numbers that a model sees of an order, and what is missing among them."""

from __future__ import annotations

from decimal import Decimal
from math import isnan
from typing import Any

from domain.fraud_features import FEATURES, FraudInput, features

HOME = {"street": "1 Main St", "country": "US"}


def seen(**changes: Any) -> dict[str, float]:
    known: dict[str, Any] = {
        "payment_method": "card",
        "shipping_address": HOME,
        "total_minor": 9_000,
        "item_count": 2,
        "recent_orders": 3,
        "avg_order_minor": 6_000,
        "user_country": "US",
    }
    numbers = features(FraudInput(**(known | changes)))
    return dict(zip((feature.name for feature in FEATURES), numbers, strict=True))


def test_an_order_in_numbers() -> None:
    assert seen() == {
        "recent_orders": 3,
        "new_card": 0,
        "address_mismatch": 0,
        "other_country": 0,
        "total_usd": 90,
        "times_average": 1.5,
        "item_count": 2,
    }


def test_each_doubt_is_seen() -> None:
    doubtful = seen(payment_method="new_card", billing_address={"country": "US"}, user_country="DE")
    assert (doubtful["new_card"], doubtful["address_mismatch"]) == (1, 1)
    assert doubtful["other_country"] == 1


def test_what_is_not_known_is_missing() -> None:
    assert isnan(seen(avg_order_minor=None)["times_average"])
    for unknown in ({"user_country": None}, {"user_country": ""}, {"shipping_address": {}}):
        assert isnan(seen(**unknown)["other_country"])


def test_an_average_of_nothing_is_one_minor_unit() -> None:
    for average in (0, Decimal(0), Decimal("0.3"), 1):
        assert seen(avg_order_minor=average)["times_average"] == 9_000


def test_other_currencies_count_by_their_price_level() -> None:
    assert seen(currency="JPY", total_minor=14_000)["total_usd"] == 100
