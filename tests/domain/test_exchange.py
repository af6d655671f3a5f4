"""Converting prices: half up, within bounds there and back, never for nothing."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.exchange import STEPS_MINOR, ExchangeError, RateTable, rate_table
from domain.money import SCALES

DAY = date(2026, 11, 26)
CURRENCIES = sorted(SCALES)
RATE = st.decimals(min_value="0.0001", max_value="100000", places=6)


@st.composite
def tables(draw: st.DrawFn) -> tuple[RateTable, str, str]:
    """A table and two currencies that are in it."""
    listed, charged = draw(
        st.lists(st.sampled_from(CURRENCIES), min_size=2, max_size=2, unique=True)
    )
    rates = {one: str(draw(RATE)) for one in (listed, charged) if one != "USD"}
    return rate_table("USD", DAY, rates), listed, charged


@given(tables(), st.integers(0, 10**9))
def test_a_price_is_half_up_of_the_exact_one(case: tuple[RateTable, str, str], minor: int) -> None:
    table, listed, charged = case
    conversion = table.conversion(listed, charged)
    assert conversion is not None
    rate = Fraction(conversion.numerator, conversion.denominator)
    exact = Fraction(minor, SCALES[listed]) * rate * SCALES[charged]
    step = STEPS_MINOR.get(charged, 1)
    price = conversion.price(minor)
    assert price % step == 0
    assert (price > 0) == (minor > 0)
    if exact >= step:
        assert -Fraction(step, 2) < price - exact <= Fraction(step, 2)


@given(tables(), st.integers(0, 10**9))
def test_there_and_back_is_within_half_a_step_of_either(
    case: tuple[RateTable, str, str], minor: int
) -> None:
    table, listed, charged = case
    there, back = table.conversion(listed, charged), table.conversion(charged, listed)
    assert there is not None
    assert back is not None
    price = there.price(minor)
    returned = back.price(price)
    if price > STEPS_MINOR.get(charged, 1):
        per_unit = Fraction(back.numerator * SCALES[listed], back.denominator * SCALES[charged])
        half_there = Fraction(STEPS_MINOR.get(charged, 1), 2) * per_unit
        assert abs(returned - minor) <= half_there + STEPS_MINOR.get(listed, 1)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
def test_what_costs_more_never_costs_less_elsewhere(prices: list[int]) -> None:
    conversion = rate_table("USD", DAY, {"JPY": "151.37"}).conversion("USD", "JPY")
    assert conversion is not None
    low, high = sorted(prices)
    assert conversion.price(low) <= conversion.price(high)


@pytest.mark.parametrize(
    ("currency", "rate", "usd", "expected"),
    [
        ("EUR", "0.92", 1_999, 1_839),  # 18.3908
        ("JPY", "151.5", 100, 152),  # 151.5, half up
        ("KWD", "0.307", 100, 307),  # three decimals
        ("CHF", "0.8833", 1_000, 883),  # to the centime, not to 0.05
        ("HUF", "361.27", 100, 36_100),  # whole forints
        ("IDR", "15873", 100, 1_587_300),
        ("EUR", "0.0001", 1, 1),  # never for nothing
    ],
)
def test_rounding_by_currency(currency: str, rate: str, usd: int, expected: int) -> None:
    conversion = rate_table("USD", DAY, {currency: rate}).conversion("USD", currency)
    assert conversion is not None
    assert conversion.price(usd) == expected


def test_other_pairs_go_through_the_base() -> None:
    table = rate_table("USD", DAY, {"EUR": "0.8", "GBP": "0.6"})
    conversion = table.conversion("EUR", "GBP")
    assert conversion is not None
    assert str(conversion.rate) == "0.7500000000"
    assert conversion.price(1_000) == 750
    assert table.conversion("EUR", "SEK") is None


@pytest.mark.parametrize(
    ("base", "rates"),
    [
        ("XXX", {"EUR": "1"}),
        ("USD", {}),
        ("USD", {"USD": "1"}),
        ("USD", {"USD": "2", "EUR": "1"}),
        ("USD", {"XYZ": "1"}),
        ("USD", {"EUR": "0"}),
        ("USD", {"EUR": "-1"}),
        ("USD", {"EUR": "NaN"}),
        ("USD", {"EUR": "Infinity"}),
        ("USD", {"EUR": "about 1"}),
        ("USD", {"EUR": "1e10"}),
        ("USD", {"EUR": "0.00000000001"}),
    ],
)
def test_rates_that_are_none_are_refused(base: str, rates: dict[str, str]) -> None:
    with pytest.raises(ExchangeError):
        rate_table(base, DAY, rates)
