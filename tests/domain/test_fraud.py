"""The six fraud checks: each boundary, and a model that only ever rises with risk."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fraud import (
    DECLINE_FROM,
    REVIEW_FROM,
    SCORECARD,
    FraudInput,
    action_for,
    model_probability,
    score,
    score_batch,
)
from domain.money import EXPONENTS, PRICE_LEVELS, SCALES

HOME = {"name": "Ann Lee", "street": "1 Main St", "city": "Reno", "zip": "89501", "country": "US"}
OFFICE = {**HOME, "street": "9 Side St"}
ORDINARY = FraudInput(
    payment_method="saved_card",
    shipping_address=HOME,
    total_minor=8000,
    item_count=2,
    recent_orders=0,
    avg_order_minor=7000,
    user_country="US",
)

orders = st.builds(
    FraudInput,
    payment_method=st.sampled_from(["new_card", "saved_card", "card"]),
    shipping_address=st.sampled_from([HOME, OFFICE]),
    billing_address=st.sampled_from([None, HOME, OFFICE]),
    total_minor=st.integers(0, 10**12),
    item_count=st.integers(0, 99_900),
    recent_orders=st.integers(0, 10_000),
    avg_order_minor=st.none()
    | st.integers(0, 10**12)
    | st.decimals(0, 10**12, places=4, allow_nan=False, allow_infinity=False),
    user_country=st.sampled_from([None, "US", "DE"]),
    currency=st.sampled_from(sorted(EXPONENTS)),
)


def no_model(_: FraudInput) -> float:
    return 0.0


def order(**changes: Any) -> FraudInput:
    return dataclasses.replace(ORDINARY, **changes)


def test_an_ordinary_order_is_approved() -> None:
    result = score(ORDINARY)
    assert result.action == "approve"
    assert result.flags == ()
    assert model_probability(ORDINARY) < 0.05


@pytest.mark.parametrize(
    "first_order",
    [
        order(avg_order_minor=None, user_country=None),
        order(avg_order_minor=None, user_country=None, payment_method="new_card"),
        order(avg_order_minor=None, payment_method="new_card", total_minor=141_398, item_count=1),
        order(recent_orders=1),
    ],
)
def test_first_and_second_orders_are_ordinary_too(first_order: FraudInput) -> None:
    assert model_probability(first_order) < 0.05
    assert score(first_order).action == "approve"


@pytest.mark.parametrize(
    ("changes", "flag", "points"),
    [
        ({"recent_orders": 6}, "high_velocity", 30),
        ({"payment_method": "new_card"}, "new_payment_method", 15),
        ({"billing_address": OFFICE}, "address_mismatch", 10),
        ({"total_minor": 21_001}, "unusually_high_value", 20),
        ({"user_country": "DE"}, "international_order", 15),
    ],
)
def test_each_rule_has_its_weight(changes: dict[str, Any], flag: str, points: int) -> None:
    result = score(order(**changes), model=no_model)
    assert result.flags == (flag,)
    assert result.risk_score == points


def test_the_model_weighs_fifty() -> None:
    assert score(ORDINARY, model=lambda _: 1.0).risk_score == 50
    assert score(ORDINARY).risk_score == 50 * model_probability(ORDINARY)


def test_five_recent_orders_are_fine_and_six_are_not() -> None:
    assert score(order(recent_orders=5)).flags == ()
    assert score(order(recent_orders=6)).flags == ("high_velocity",)


@pytest.mark.parametrize("average", [7000, Decimal("7000.0")])
def test_three_times_the_average_is_fine_and_more_is_not(average: int | Decimal) -> None:
    assert score(order(total_minor=21_000, avg_order_minor=average)).flags == ()
    assert score(order(total_minor=21_001, avg_order_minor=average)).flags == (
        "unusually_high_value",
    )


def test_the_threefold_average_is_compared_exactly() -> None:
    third = Decimal("33.3333333333333333")
    assert score(order(total_minor=100, avg_order_minor=third)).flags == ("unusually_high_value",)


def test_thirty_is_reviewed_and_sixty_declined() -> None:
    assert action_for(29.999999) == "approve"
    assert action_for(REVIEW_FROM) == action_for(30) == "review"
    assert action_for(59.999999) == "review"
    assert action_for(DECLINE_FROM) == action_for(60) == "decline"


def test_scores_of_exactly_thirty_and_sixty() -> None:
    at_30 = score(order(payment_method="new_card", user_country="DE"), model=no_model)
    assert (at_30.risk_score, at_30.action) == (30, "review")
    at_60 = score(
        order(recent_orders=6, payment_method="new_card", user_country="DE"), model=no_model
    )
    assert (at_60.risk_score, at_60.action) == (60, "decline")
    below = score(order(payment_method="new_card", billing_address=OFFICE), model=no_model)
    assert (below.risk_score, below.action) == (25, "approve")


def test_what_is_unknown_raises_no_flag() -> None:
    unknown = order(
        avg_order_minor=None,
        user_country=None,
        billing_address=None,
        total_minor=10**12,
        shipping_address={"street": "1 Main St"},
    )
    assert score(unknown, model=no_model).flags == ()
    assert score(order(shipping_address={}, user_country="US")).flags == ()
    assert score(order(user_country="")).flags == ()


def test_all_flags_come_in_the_order_of_the_checks() -> None:
    worst = score(
        order(
            recent_orders=9,
            payment_method="new_card",
            billing_address=OFFICE,
            total_minor=10**9,
            user_country="DE",
        )
    )
    assert worst.flags == (
        "high_velocity",
        "new_payment_method",
        "address_mismatch",
        "unusually_high_value",
        "international_order",
    )
    assert worst.action == "decline"
    assert 90 < worst.risk_score < 140


@given(orders)
def test_probability_and_score_stay_in_range(any_order: FraudInput) -> None:
    assert 0 < model_probability(any_order) < 1
    result = score(any_order)
    assert 0 < result.risk_score < 140
    assert result.action == action_for(result.risk_score)


@given(orders, st.integers(0, 10**12), st.integers(0, 10_000), st.integers(0, 99_900))
def test_more_is_never_safer(any_order: FraudInput, total: int, recent: int, items: int) -> None:
    for field, more in (("total_minor", total), ("recent_orders", recent), ("item_count", items)):
        riskier = dataclasses.replace(any_order, **{field: getattr(any_order, field) + more})
        assert model_probability(riskier) >= model_probability(any_order)
        assert score(riskier).risk_score >= score(any_order).risk_score


@given(orders)
def test_each_doubt_makes_it_riskier(any_order: FraudInput) -> None:
    calm = dataclasses.replace(
        any_order, payment_method="saved_card", billing_address=None, user_country=None
    )
    doubts: tuple[dict[str, Any], ...] = (
        {"payment_method": "new_card"},
        {"billing_address": {"street": "elsewhere"}},
        {"user_country": "FR"},
    )
    for doubt in doubts:
        assert model_probability(dataclasses.replace(calm, **doubt)) > model_probability(calm)


@given(orders, st.integers(0, 10**12))
def test_a_larger_average_is_never_riskier(any_order: FraudInput, more: int) -> None:
    average = any_order.avg_order_minor
    if average is None:
        return
    used_to_more = dataclasses.replace(any_order, avg_order_minor=average + more)
    assert model_probability(used_to_more) <= model_probability(any_order)


@given(st.sampled_from(sorted(EXPONENTS)))
def test_a_price_point_is_as_risky_in_every_currency(currency: str) -> None:
    same = order(
        total_minor=500 * PRICE_LEVELS[currency] * SCALES[currency],
        avg_order_minor=None,
        currency=currency,
    )
    dollars = order(total_minor=50_000, avg_order_minor=None)
    assert model_probability(same) == model_probability(dollars)


def test_no_coefficient_but_the_intercept_is_negative() -> None:
    for name, value in dataclasses.asdict(SCORECARD).items():
        assert name == "intercept" or value > 0


@given(st.lists(orders, max_size=20))
def test_a_batch_is_each_order_scored(batch: list[FraudInput]) -> None:
    assert score_batch(batch) == tuple(score(one) for one in batch)
