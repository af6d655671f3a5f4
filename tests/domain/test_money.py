"""Money keeps every minor unit on its way in, out and through a rate."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import (
    AMOUNT_MINOR_MAX,
    EXPONENTS,
    PRICE_LEVELS,
    Money,
    MoneyError,
    amount_text,
    apply_rate,
    parse_wire,
    to_wire,
)

minors = st.integers(min_value=0, max_value=AMOUNT_MINOR_MAX)
currencies = st.sampled_from(sorted(EXPONENTS))


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (16_199, "USD", "161.99 USD"),
        (500, "USD", "5.00 USD"),
        (0, "USD", "0.00 USD"),
        (-5, "EUR", "-0.05 EUR"),
        (1_500, "JPY", "1,500 JPY"),
        (1, "KWD", "0.001 KWD"),
        (AMOUNT_MINOR_MAX, "USD", "10,000,000,000.00 USD"),
    ],
)
def test_an_amount_is_written_with_the_decimals_of_its_currency(
    minor: int, currency: str, text: str
) -> None:
    assert amount_text(minor, currency) == text


def test_exponents_follow_iso_4217() -> None:
    assert len(EXPONENTS) >= 35
    assert (EXPONENTS["JPY"], EXPONENTS["USD"], EXPONENTS["KWD"]) == (0, 2, 3)
    assert PRICE_LEVELS.keys() == EXPONENTS.keys()


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (129999, "USD", b"1299.99"),
        (10400, "USD", b"104.0"),
        (1, "USD", b"0.01"),
        (500, "JPY", b"500"),
        (1005, "KWD", b"1.005"),
        (999_999_999_999, "USD", b"9999999999.99"),
    ],
)
def test_wire_number_is_the_decimal_itself(minor: int, currency: str, text: bytes) -> None:
    assert orjson.dumps(to_wire(minor, currency)) == text


def test_currency_without_decimals_is_an_int_on_the_wire() -> None:
    assert type(to_wire(500, "JPY")) is int


@given(minors, currencies)
def test_what_goes_out_comes_back(minor: int, currency: str) -> None:
    dumped = orjson.dumps(to_wire(minor, currency))
    assert parse_wire(orjson.loads(dumped), currency) == minor
    assert parse_wire(Decimal(dumped.decode()), currency) == minor
    assert Fraction(dumped.decode()) == Fraction(minor, 10 ** EXPONENTS[currency])


@pytest.mark.parametrize("value", [1299.99, "1299.99", Decimal("1299.99"), "1299.990"])
def test_parse_takes_numbers_and_their_text(value: float | str | Decimal) -> None:
    assert parse_wire(value, "USD") == 129999


def test_parse_takes_whole_numbers() -> None:
    assert parse_wire(5, "USD") == 500
    assert parse_wire(5.0, "JPY") == 5
    assert parse_wire(0, "USD") == 0


@pytest.mark.parametrize(
    ("value", "currency", "says"),
    [
        (1.005, "USD", "more decimals"),
        ("1.005", "USD", "more decimals"),
        (Decimal("1E-30"), "USD", "more decimals"),
        (Decimal("1E-999999"), "USD", "more decimals"),
        (0.1 + 0.2, "USD", "more decimals"),
        (0.5, "JPY", "more decimals"),
        (float("nan"), "USD", "finite"),
        (float("inf"), "USD", "finite"),
        (Decimal("NaN"), "USD", "finite"),
        (Decimal("sNaN"), "USD", "finite"),
        (Decimal("-Infinity"), "USD", "finite"),
        (-0.01, "USD", "negative"),
        (-1, "USD", "negative"),
        (Decimal("-0.01"), "USD", "negative"),
        (10**10 + 1, "USD", "larger"),
        (1e300, "USD", "larger"),
        pytest.param(10**5000, "USD", "larger", id="5001 digits"),
        (Decimal("1E+999999"), "USD", "larger"),
        ("9" * 30, "USD", "larger"),
        ("9" * 33, "USD", "not an amount"),
        ("1e5", "USD", "not an amount"),
        ("NaN", "USD", "not an amount"),
        ("1_000", "USD", "not an amount"),
        ("١٢", "USD", "not an amount"),
        ("1\n", "USD", "not an amount"),
        ("", "USD", "not an amount"),
        (True, "USD", "not an amount"),
        (1, "usd", "not sold in"),
        (1, "XXX", "not sold in"),
    ],
)
def test_parse_refuses_by_name(value: float | str | Decimal, currency: str, says: str) -> None:
    with pytest.raises(MoneyError, match=says):
        parse_wire(value, currency)


@given(st.floats(), currencies)
def test_any_float_is_exact_or_refused(value: float, currency: str) -> None:
    try:
        minor = parse_wire(value, currency)
    except MoneyError:
        return
    assert to_wire(minor, currency) == value


def test_rate_rounds_half_up() -> None:
    assert apply_rate(129999, 800) == 10400
    assert apply_rate(50, 100) == 1  # 0.5 goes up; half even would give 0
    assert apply_rate(250, 100) == 3  # 2.5 goes up; half even would give 2
    assert apply_rate(49, 100) == 0
    assert apply_rate(-50, 100) == -1
    assert apply_rate(1000, Decimal("0.0825")) == 83


@given(minors, st.integers(min_value=0, max_value=100_000))
def test_rate_is_within_half_a_unit(minor: int, rate: int) -> None:
    share = apply_rate(minor, rate)
    assert -Fraction(1, 2) < share - Fraction(minor * rate, 10_000) <= Fraction(1, 2)
    assert share == apply_rate(minor, Decimal(rate) / 10_000)
    assert apply_rate(-minor, rate) == -share


@pytest.mark.parametrize(
    "rate", [-1, 100_001, Decimal(11), Decimal(-1), Decimal("NaN"), Decimal("1E-999999")]
)
def test_rate_out_of_range_is_refused(rate: int | Decimal) -> None:
    with pytest.raises(MoneyError, match="rate"):
        apply_rate(100, rate)


def test_money_adds_within_its_currency_only() -> None:
    price = Money(1050, "USD")
    assert price + Money(50, "USD") - price == Money(50, "USD")
    assert price.times(3) == Money(3150, "USD")
    assert (-price).to_wire() == -10.5
    with pytest.raises(MoneyError, match="USD and EUR"):
        _ = price + Money(1, "EUR")
    with pytest.raises(MoneyError, match="larger"):
        Money(AMOUNT_MINOR_MAX, "USD").times(2)
    with pytest.raises(MoneyError, match="not sold in"):
        Money(1, "???")
