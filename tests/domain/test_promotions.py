"""Which promotions an order gets, what each takes off, and how a coupon is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.pricing import Quote, quote_order
from domain.promotions import (
    AUTOMATIC_MAX,
    COUPONS_MAX,
    CouponRefusal,
    Kind,
    Line,
    Promotion,
    PromotionError,
    Scope,
    check,
    normal_code,
    offers_of,
)
from domain.tax_rates import tax_of
from tests.domain.promotion_samples import NOW, line, promotion


def price(
    lines: list[Line], promotions: list[Promotion], *coupons: str, **changes: Any
) -> Quote | CouponRefusal:
    given = {"currency": "USD", "tax": tax_of("US", "CA"), "shipping_method": "standard", **changes}
    priced = quote_order(lines, now=NOW, offers=offers_of(promotions), coupons=coupons, **given)
    assert isinstance(priced, Quote | CouponRefusal)
    return priced


def quoted(lines: list[Line], promotions: list[Promotion], *coupons: str, **changes: Any) -> Quote:
    priced = price(lines, promotions, *coupons, **changes)
    assert isinstance(priced, Quote), priced
    return priced


def off(priced: Quote) -> list[int]:
    return [one.discount_minor for one in priced.lines]


def test_a_percentage_comes_off_before_tax() -> None:
    priced = quoted([line(129_999)], [promotion(code="SAVE10")], " save10 ")
    assert priced.discount_minor == 13_000
    assert priced.tax_minor == 9_360  # 8 % of 1,169.99
    assert priced.total_minor == 129_999 - 13_000 + 9_360 + 999


def test_an_amount_is_split_over_the_lines_in_scope() -> None:
    lines = [line(1_000), line(2_000), line(9_000, category="Hats")]
    only_shoes = promotion(Kind.AMOUNT, scope=Scope(categories=frozenset({"shoes"})))
    assert off(quoted(lines, [only_shoes])) == [167, 333, 0]


def test_an_amount_is_never_more_than_the_goods() -> None:
    priced = quoted([line(100), line(200)], [promotion(Kind.AMOUNT, amount_minor=10**9)])
    assert off(priced) == [100, 200]
    assert (priced.tax_minor, priced.total_minor) == (0, 999)


def test_free_shipping_leaves_the_goods_alone() -> None:
    priced = quoted([line(1_000)], [promotion(Kind.FREE_SHIPPING)])
    assert off(priced) == [0]
    assert (priced.shipping_minor, priced.shipping_discount_minor) == (999, 999)
    assert priced.total_minor == 1_080


@pytest.mark.parametrize(
    ("quantities", "expected"),
    [((2, 0), [0, 0]), ((3, 0), [1_000, 0]), ((1, 2), [0, 500]), ((5, 4), [0, 1_500])],
)
def test_of_whole_groups_the_cheapest_units_are_free(
    quantities: tuple[int, int], expected: list[int]
) -> None:
    prices = (1_000, 500)
    lines = [line(unit, units) for unit, units in zip(prices, quantities, strict=True) if units]
    assert off(quoted(lines, [promotion(Kind.BUY_X_GET_Y)])) == expected[: len(lines)]


def test_what_is_got_may_be_half_price() -> None:
    half = promotion(Kind.BUY_X_GET_Y, buy_quantity=1, get_quantity=1, percent_bps=5_000)
    assert off(quoted([line(999, 2)], [half])) == [500]


def test_those_that_go_together_are_taken_off_by_priority() -> None:
    first = promotion(code="A", percent_bps=5_000, priority=1)
    then = promotion(Kind.AMOUNT, code="B", amount_minor=100, priority=2)
    assert quoted([line(1_000)], [then, first], "B", "A").discount_minor == 600
    swapped = promotion(Kind.AMOUNT, code="B", amount_minor=100, priority=0)
    assert quoted([line(1_000)], [swapped, first], "A", "B").discount_minor == 550


def test_an_exclusive_one_stands_alone_where_that_is_cheaper() -> None:
    alone = promotion(label="alone", percent_bps=3_000, exclusive=True)
    others = [promotion(percent_bps=1_000), promotion(percent_bps=1_000)]
    priced = quoted([line(1_000)], [alone, *others])
    assert [one.promotion.label for one in priced.applied] == ["alone"]
    weaker = promotion(label="alone", percent_bps=1_900, exclusive=True)
    assert len(quoted([line(1_000)], [weaker, *others]).applied) == 2


def test_a_coupon_that_takes_nothing_more_off_is_not_used_up() -> None:
    coupon = promotion(code="SMALL", percent_bps=500, exclusive=True)
    priced = quoted([line(1_000)], [coupon, promotion(percent_bps=2_000)], "SMALL")
    assert priced.discount_minor == 200
    assert coupon.promotion_id not in priced.promotion_ids
    assert [one.name for one in priced.unused] == ["coupon_not_better"]


def test_a_coupon_named_twice_counts_once() -> None:
    priced = quoted([line(1_000)], [promotion(code="A")], "A", "a", " A ")
    assert priced.discount_minor == 100


def test_automatic_ones_that_do_not_fit_are_left_out_in_silence() -> None:
    misfits = [
        promotion(currency="EUR"),
        promotion(minimum_minor=10**6, currency="USD"),
        promotion(ends_at=NOW),
        promotion(starts_at=NOW + timedelta(seconds=1)),
        promotion(used_up=True),
        promotion(scope=Scope(product_ids=frozenset({uuid4()}))),
    ]
    assert quoted([line(1_000)], misfits).applied == ()


REFUSALS: list[tuple[str, list[Promotion], tuple[str, ...]]] = [
    ("coupon_unknown", [promotion(code="A")], ("B",)),
    ("coupon_unknown", [], ("x" * 10_000,)),
    ("coupon_expired", [promotion(code="A", ends_at=NOW)], ("A",)),
    ("coupon_not_yet_valid", [promotion(code="A", starts_at=NOW + timedelta(1))], ("A",)),
    ("coupon_minimum_not_met", [promotion(code="A", minimum_minor=1_001, currency="USD")], ("A",)),
    ("coupon_wrong_currency", [promotion(code="A", currency="EUR")], ("A",)),
    ("coupon_used_up", [promotion(code="A", used_up=True)], ("A",)),
    (
        "coupon_not_applicable",
        [promotion(code="A", scope=Scope(variant_ids=frozenset({uuid4()})))],
        ("A",),
    ),
    (
        "coupon_not_stackable",
        [promotion(code="A"), promotion(code="B", exclusive=True)],
        ("A", "B"),
    ),
    ("coupons_too_many", [], tuple(f"C{number}" for number in range(COUPONS_MAX + 1))),
]


@pytest.mark.parametrize(("name", "promotions", "coupons"), REFUSALS)
def test_each_refusal_has_its_name_and_says_what_to_do(
    name: str, promotions: list[Promotion], coupons: tuple[str, ...]
) -> None:
    refused = price([line(1_000)], promotions, *coupons)
    assert isinstance(refused, CouponRefusal)
    assert refused.name == name
    assert 10 < len(refused.detail) < 200
    assert len(refused.code) <= 40


def test_a_customer_who_had_all_uses_is_refused() -> None:
    one = promotion(code="A", uses_per_customer_max=1)
    refused = price([line(1_000)], [one], "A", exhausted={one.promotion_id})
    assert isinstance(refused, CouponRefusal)
    assert refused.name == "coupon_used_up"


def test_the_minimum_is_of_the_goods_in_scope_before_discounts() -> None:
    shoes = Scope(categories=frozenset({"shoes"}))
    one = promotion(code="A", minimum_minor=1_000, currency="USD", scope=shoes, priority=5)
    half = promotion(percent_bps=5_000, priority=1)
    hat = line(9_000, category="Hats")
    assert isinstance(price([line(999), hat], [one, half], "A"), CouponRefusal)
    assert len(quoted([line(1_000), hat], [one, half], "A").applied) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "no spaces"},
        {"code": "lower"},
        {"code": "-A"},
        {"code": "A" * 41},
        {"label": ""},
        {"label": "x" * 201},
        {"label": "\u200b"},
        {"label": "two\nlines"},
        {"label": "\x1b[31mred"},
        {"label": "\ud800"},
        {"code": "STRAßE"},
        {"code": "ſALE"},
        {"scope": Scope(categories=frozenset({"shoes\ud800"}))},
        {"currency": "XXX"},
        {"minimum_minor": 5},
        {"minimum_minor": -5, "currency": "USD"},
        {"ends_at": NOW - timedelta(days=1)},
        {"uses_max": 0},
        {"code": "A", "uses_per_customer_max": 0},
        {"uses_per_customer_max": 1},
        {"priority": 1_001},
        {"percent_bps": 0},
        {"percent_bps": 10_001},
        {"amount_minor": 5},
        {"kind": Kind.AMOUNT, "amount_minor": 0},
        {"kind": Kind.AMOUNT, "currency": None},
        {"kind": Kind.AMOUNT, "percent_bps": 5},
        {"kind": Kind.FREE_SHIPPING, "percent_bps": 5},
        {"kind": Kind.BUY_X_GET_Y, "get_quantity": 0},
        {"kind": Kind.BUY_X_GET_Y, "buy_quantity": 101},
        {"kind": Kind.BUY_X_GET_Y, "percent_bps": 0},
        {"kind": Kind.BUY_X_GET_Y, "amount_minor": 5},
        {"scope": Scope(product_ids=frozenset(uuid4() for _ in range(1_001)))},
    ],
    ids=" ".join,
)
def test_a_promotion_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PromotionError):
        check(promotion(**{"kind": Kind.PERCENT, **changes}))


@pytest.mark.parametrize("kind", Kind)
def test_a_promotion_that_makes_sense_is_taken(kind: Kind) -> None:
    one = promotion(kind, code="A-1_B", uses_max=1, uses_per_customer_max=1)
    assert check(one) is one
    assert one.limited


def test_too_many_automatic_ones_are_left_out_by_priority() -> None:
    many = [promotion(priority=-number) for number in range(AUTOMATIC_MAX + 5)]
    kept = offers_of(many).automatic
    assert len(kept) == AUTOMATIC_MAX
    assert kept[0].priority == -(AUTOMATIC_MAX + 4)


def test_a_code_is_the_same_in_lower_case_and_in_no_other_letters() -> None:
    assert normal_code(" save10 ") == "SAVE10"
    for text in ("straße", "ſave10", "save１0"):
        with pytest.raises(PromotionError, match="a code is"):
            check(promotion(code=normal_code(text)))
