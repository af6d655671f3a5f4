"""Whatever is bought, wherever it goes, whatever is taken off: the parts add up to the totals."""

from __future__ import annotations

import random
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.exchange import rate_table
from domain.money import AMOUNT_MINOR_MAX, SCALES
from domain.price_explanations import (
    explain_line,
    explain_shipping,
    explain_totals,
    percent,
    record_of,
)
from domain.pricing import Quote, quote_order
from domain.promotions import CouponRefusal, Line, Promotion, offers_of
from domain.shipping import METHODS
from domain.tax import PPM, TaxAnswer
from domain.tax_rates import COUNTRIES, tax_of
from tests.domain.promotion_samples import NOW, line, promotion, some_lines, some_promotions

RATES = rate_table("USD", date(2026, 11, 26), {"EUR": "0.92", "JPY": "151.3", "KWD": "0.307"})


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Line], dict[str, Any], list[Promotion]]:
    """Lines, how they are priced, and the promotions that there are."""
    lines = draw(some_lines())
    currency = draw(st.sampled_from(["USD", "EUR", "JPY", "KWD"]))
    promotions = draw(some_promotions(currency))
    single = tax_of(
        draw(st.sampled_from([*COUNTRIES, "US", "CA"])), draw(st.sampled_from(["CA", "QC"]))
    )
    rate = st.sampled_from([0, 55_000, 70_000, 200_000]) | st.integers(0, PPM)
    rates = tuple(draw(st.lists(rate, min_size=len(lines), max_size=len(lines))))
    per_line = TaxAnswer(rates_ppm=rates, place="XX", source="service")
    arguments: dict[str, Any] = {
        "currency": currency,
        "tax": draw(st.sampled_from([single, per_line])),
        "shipping_method": draw(st.sampled_from(sorted(METHODS))),
        "now": NOW,
        "offers": offers_of(promotions),
        "coupons": draw(st.lists(st.sampled_from([f"CODE{n}" for n in range(5)]), max_size=2)),
        "conversion": RATES.conversion("USD", currency) if currency != "USD" else None,
    }
    return lines, arguments, promotions


def priced(lines: list[Line], arguments: dict[str, Any]) -> Quote | CouponRefusal:
    found = quote_order(lines, **arguments)
    if isinstance(found, CouponRefusal):  # the coupons are left out: then it is always priced
        assert arguments["coupons"]
        found = quote_order(lines, **{**arguments, "coupons": ()})
    assert isinstance(found, Quote)
    return found


@given(orders())
def test_the_parts_add_up(order: tuple[list[Line], dict[str, Any], list[Promotion]]) -> None:
    lines, arguments, _ = order
    quote = priced(lines, arguments)
    assert isinstance(quote, Quote)
    own = quote.lines
    assert quote.subtotal_minor == sum(one.gross_minor for one in own)
    assert quote.tax_minor == sum(one.tax_minor for one in own)
    goods_off = sum(one.discount_minor for one in own)
    assert quote.discount_minor == goods_off + quote.shipping_discount_minor
    assert quote.discount_minor == sum(one.total_minor for one in quote.applied)
    total = quote.subtotal_minor + quote.tax_minor + quote.shipping_minor - quote.discount_minor
    assert quote.total_minor == total
    shipping = quote.shipping_minor - quote.shipping_discount_minor
    assert total == sum(one.net_minor + one.tax_minor for one in own) + shipping
    assert 0 <= total <= AMOUNT_MINOR_MAX
    assert 0 <= quote.shipping_discount_minor <= quote.shipping_minor
    for one in own:
        assert one.gross_minor == one.unit_price_minor * one.quantity
        assert one.net_minor == one.gross_minor - one.discount_minor
        assert 0 <= one.discount_minor <= one.gross_minor
        assert one.tax_minor >= 0


@given(orders())
def test_the_tax_of_each_rate_is_half_up_of_its_goods(
    order: tuple[list[Line], dict[str, Any], list[Promotion]],
) -> None:
    lines, arguments, _ = order
    quote = priced(lines, arguments)
    assert isinstance(quote, Quote)
    for rate in {one.tax_ppm for one in quote.lines}:
        here = [one for one in quote.lines if one.tax_ppm == rate]
        net = sum(one.net_minor for one in here)
        assert sum(one.tax_minor for one in here) == (2 * net * rate + PPM) // (2 * PPM)
        for one in here:  # within a unit of what it would be alone
            assert abs(one.tax_minor * PPM - one.net_minor * rate) < 2 * PPM


@given(orders())
def test_every_step_is_explained(
    order: tuple[list[Line], dict[str, Any], list[Promotion]],
) -> None:
    lines, arguments, _ = order
    quote = priced(lines, arguments)
    assert isinstance(quote, Quote)
    for position, one in enumerate(quote.lines):
        steps = explain_line(quote, position)
        assert sum(step.amount_minor for step in steps) == one.net_minor + one.tax_minor
        assert all(step.label for step in steps)
    shipping = sum(step.amount_minor for step in explain_shipping(quote))
    assert shipping == quote.shipping_minor - quote.shipping_discount_minor
    assert sum(step.amount_minor for step in explain_totals(quote)) == quote.total_minor


@given(orders(), st.integers())
def test_the_order_of_lines_coupons_and_promotions_does_not_matter(
    order: tuple[list[Line], dict[str, Any], list[Promotion]], seed: int
) -> None:
    lines, arguments, promotions = order
    quote = quote_order(lines, **arguments)
    chance = random.Random(seed)
    places = list(range(len(lines)))
    chance.shuffle(places)
    tax = arguments["tax"]
    if len(tax.rates_ppm) > 1:
        moved = tuple(tax.rates_ppm[place] for place in places)
        tax = TaxAnswer(rates_ppm=moved, place=tax.place, source=tax.source)
    chance.shuffle(promotions)
    coupons = arguments["coupons"][::-1]
    changed = {**arguments, "tax": tax, "offers": offers_of(promotions), "coupons": coupons}
    other = quote_order([lines[place] for place in places], **changed)
    if isinstance(quote, CouponRefusal):
        assert isinstance(other, CouponRefusal)
        return
    assert isinstance(quote, Quote)
    assert isinstance(other, Quote)
    assert other[:6] == quote[:6]
    assert other.promotion_ids == quote.promotion_ids
    by_variant = {one.variant_id: one for one in quote.lines}
    assert {one.variant_id: one for one in other.lines} == by_variant


@given(orders())
def test_a_coupon_never_makes_an_order_dearer(
    order: tuple[list[Line], dict[str, Any], list[Promotion]],
) -> None:
    """But for units of rounding: what comes first leaves other shares to what comes next."""
    lines, arguments, promotions = order
    with_coupons = quote_order(lines, **arguments)
    without = quote_order(lines, **{**arguments, "coupons": ()})
    assert isinstance(without, Quote)
    if isinstance(with_coupons, Quote):
        rounding = len(lines) * len(promotions)
        assert with_coupons.discount_minor >= without.discount_minor - rounding


def test_the_same_order_in_another_currency_is_summed_there() -> None:
    lines = [line(1_999, 3), line(101, 7)]
    conversion = RATES.conversion("USD", "EUR")
    quote = quote_order(
        lines,
        currency="EUR",
        tax=tax_of("DE", None),
        shipping_method="standard",
        conversion=conversion,
    )
    assert isinstance(quote, Quote)
    assert [one.unit_price_minor for one in quote.lines] == [1_839, 93]
    assert quote.subtotal_minor == 3 * 1_839 + 7 * 93
    assert quote.conversion == conversion
    assert record_of(quote)["conversion"] == {
        "listed": "USD",
        "charged": "EUR",
        "rate": "0.9200000000",
        "as_of": "2026-11-26",
    }
    steps = explain_line(quote, 0)
    assert [step.kind for step in steps] == ["goods", "conversion", "tax"]
    assert steps[1].label == "1 USD is 0.92 EUR, rate of 2026-11-26"


def test_the_record_says_what_was_taken_off_which_line() -> None:
    one = promotion(code="A")
    quote = quote_order(
        [line(1_000), line(500)],
        currency="USD",
        tax=tax_of("US", "CA"),
        shipping_method="express",
        now=NOW,
        offers=offers_of([one]),
        coupons=("A",),
    )
    assert isinstance(quote, Quote)
    record = record_of(quote)
    assert record["promotions"] == [
        {
            "promotion_id": str(one.promotion_id),
            "code": "A",
            "label": "percent",
            "by_line": [100, 50],
            "shipping_minor": 0,
        }
    ]
    assert record["tax"] == {"place": "US-CA", "source": "table", "rates_ppm": [80_000, 80_000]}


def test_rates_are_shown_as_people_write_them() -> None:
    shown = [percent(ppm) for ppm in (80_000, 149_750, 255_000, 0, 1)]
    assert shown == ["8 %", "14.975 %", "25.5 %", "0 %", "0.0001 %"]


def test_every_currency_ships() -> None:
    for currency in SCALES:
        quote = quote_order(
            [line()], currency=currency, tax=tax_of("XX", None), shipping_method="standard"
        )
        assert isinstance(quote, Quote)
