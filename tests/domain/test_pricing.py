"""An order's price adds up, to the cent, or is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cart import LINE_QUANTITY_MAX, LINES_MAX, Refusal
from domain.money import AMOUNT_MINOR_MAX, EXPONENTS, to_wire
from domain.pricing import Quote, quote
from domain.shipping import METHODS
from domain.tax_rates import CA_PROVINCES, COUNTRIES, US_STATES, rate_ppm


def price(
    *lines: tuple[int, int],
    currency: str = "USD",
    country: str = "US",
    state: str | None = "CA",
    method: str = "standard",
) -> Quote | Refusal:
    return quote(lines, currency=currency, country=country, state=state, shipping_method=method)


def test_the_worked_example_to_the_cent() -> None:
    priced = price((129999, 1))
    assert isinstance(priced, Quote)
    wire = [
        to_wire(minor, priced.currency)
        for minor in (
            priced.subtotal_minor,
            priced.tax_minor,
            priced.shipping_minor,
            priced.total_minor,
        )
    ]
    assert wire == [1299.99, 104.00, 9.99, 1413.98]


@given(
    st.lists(
        st.tuples(st.integers(0, 10**12), st.integers(1, LINE_QUANTITY_MAX)),
        min_size=1,
        max_size=LINES_MAX,
    ),
    st.sampled_from(sorted(EXPONENTS)),
    st.sampled_from([*COUNTRIES, "US", "XX", ""]),
    st.sampled_from([None, "", *(code for code, _, _ in US_STATES)]),
    st.sampled_from(sorted(METHODS)),
)
def test_parts_always_add_up(
    lines: list[tuple[int, int]], currency: str, country: str, state: str | None, method: str
) -> None:
    priced = price(*lines, currency=currency, country=country, state=state, method=method)
    if isinstance(priced, Refusal):
        assert priced.name == "amount_too_large"
        return
    assert priced.subtotal_minor == sum(unit * quantity for unit, quantity in lines)
    assert priced.total_minor == (
        priced.subtotal_minor + priced.tax_minor + priced.shipping_minor - priced.discount_minor
    )
    assert min(priced[:5]) >= 0
    assert priced.total_minor <= AMOUNT_MINOR_MAX


@pytest.mark.parametrize("quantity", [0, -1, LINE_QUANTITY_MAX + 1, 10**30])
def test_quantity_out_of_range_is_refused(quantity: int) -> None:
    refused = price((100, 1), (100, quantity))
    assert isinstance(refused, Refusal)
    assert refused.name == "quantity_out_of_range"


@pytest.mark.parametrize(
    ("refused", "name"),
    [
        (price(), "lines_out_of_range"),
        (price(*[(1, 1)] * (LINES_MAX + 1)), "lines_out_of_range"),
        (price((-1, 1)), "price_negative"),
        (price((AMOUNT_MINOR_MAX, 2)), "amount_too_large"),
        (price((AMOUNT_MINOR_MAX - 1, 1), state=None), "amount_too_large"),
        (price((1, 1), currency="ZZZ"), "currency_unknown"),
        (price((1, 1), method="teleport"), "shipping_method_unknown"),
    ],
)
def test_each_refusal_has_its_name(refused: Quote | Refusal, name: str) -> None:
    assert isinstance(refused, Refusal)
    assert refused.name == name
    assert refused.detail


def test_the_largest_order_is_still_priced() -> None:
    priced = price((AMOUNT_MINOR_MAX - 999, 1), state="OR")
    assert isinstance(priced, Quote)
    assert priced.total_minor == AMOUNT_MINOR_MAX


def test_refused_shipping_method_lists_the_valid_ones() -> None:
    refused = price((1, 1), method="drone")
    assert isinstance(refused, Refusal)
    assert "express, standard" in refused.detail


@pytest.mark.parametrize(
    ("country", "state", "rate"),
    [
        ("US", "CA", 80_000),
        ("us", " ca ", 80_000),
        ("US", "California", 80_000),
        ("US", "MN", 68_750),
        ("CA", "QC", 149_750),
        ("CA", "british columbia", 120_000),
        ("CA", None, 50_000),
        ("CA", "Atlantis", 50_000),
        ("US", "OR", 0),
        ("US", None, 0),
        ("US", "Atlantis", 0),
        ("DE", "CA", 190_000),
        ("XX", None, 0),
        ("", "CA", 0),
    ],
)
def test_tax_rate_of_a_place(country: str, state: str | None, rate: int) -> None:
    assert rate_ppm(country, state) == rate


def test_rates_are_rates() -> None:
    assert len({code for code, _, _ in US_STATES}) == len(US_STATES) == 51
    assert len({code for code, _, _ in CA_PROVINCES}) == len(CA_PROVINCES) == 13
    assert len(COUNTRIES) >= 30
    assert not {"US", "CA"} & set(COUNTRIES)
    states = [rate for _, _, rate in (*US_STATES, *CA_PROVINCES)]
    assert all(0 <= rate <= 300_000 for rate in [*COUNTRIES.values(), *states])
