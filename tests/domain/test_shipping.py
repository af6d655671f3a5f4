"""Shipping: price points by currency, and days that skip Sundays."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import EXPONENTS
from domain.shipping import METHODS, SUNDAY, estimated_delivery, price_minor


def test_the_worked_example() -> None:
    assert price_minor("standard", "USD") == 999
    assert estimated_delivery(date(2024, 1, 15), "standard") == date(2024, 1, 20)


@pytest.mark.parametrize(
    ("placed", "method", "arrives"),
    [
        (date(2024, 1, 19), "express", date(2024, 1, 22)),  # Friday: Saturday, Monday
        (date(2024, 1, 20), "express", date(2024, 1, 23)),  # Saturday: Monday, Tuesday
        (date(2024, 1, 21), "express", date(2024, 1, 23)),  # Sunday: Monday, Tuesday
        (date(2024, 1, 16), "standard", date(2024, 1, 22)),  # Tuesday: Wed–Sat, Monday
        (date(2023, 12, 30), "express", date(2024, 1, 2)),  # over the year's end
        (date(2024, 2, 28), "express", date(2024, 3, 1)),  # over a leap day
    ],
)
def test_sundays_do_not_count(placed: date, method: str, arrives: date) -> None:
    assert estimated_delivery(placed, method) == arrives


@given(st.dates(max_value=date(9999, 1, 1)), st.sampled_from(sorted(METHODS)))
def test_exactly_the_transit_days_pass(placed: date, method: str) -> None:
    arrives = estimated_delivery(placed, method)
    days = [placed + timedelta(days=n) for n in range(1, (arrives - placed).days + 1)]
    assert sum(day.weekday() != SUNDAY for day in days) == METHODS[method].transit_days
    assert arrives.weekday() != SUNDAY


@given(st.dates(max_value=date(9999, 1, 1)))
def test_express_is_sooner_and_dearer(placed: date) -> None:
    assert estimated_delivery(placed, "express") < estimated_delivery(placed, "standard")
    for currency in EXPONENTS:
        assert price_minor("express", currency) > price_minor("standard", currency) > 0


def test_other_currencies_have_their_own_price_point() -> None:
    assert price_minor("standard", "EUR") == 999
    assert price_minor("standard", "JPY") == 1399
    assert price_minor("standard", "KWD") == 9990


def test_unknown_method_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="standard, express"):
        estimated_delivery(date(2024, 1, 15), "pigeon")
    with pytest.raises(ValueError, match="standard, express"):
        price_minor("pigeon", "USD")
    with pytest.raises(ValueError, match="not sold in"):
        price_minor("standard", "XXX")
