"""The six fraud checks: each boundary, and a model that only ever rises with risk."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fraud import (
    SCORECARD,
    FraudInput,
    Model,
    Scoring,
    model_probability,
    score,
    score_batch,
)
from domain.fraud_model import TrainedModel
from domain.fraud_policy import CHECKS, MODEL, SHIPPED_POLICY, FraudPolicy
from domain.money import EXPONENTS, PRICE_LEVELS, SCALES
from storage.fraud_files import load_model

SHIPPED = load_model()
MODELS = pytest.mark.parametrize(
    "model", [model_probability, SHIPPED], ids=["scorecard", "shipped"]
)

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
    action_for = SHIPPED_POLICY.action_for
    assert action_for(29.999999) == "approve"
    assert action_for(30) == "review"
    assert action_for(59.999999) == "review"
    assert action_for(60) == "decline"


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


@MODELS
@given(any_order=orders)
def test_probability_and_score_stay_in_range(any_order: FraudInput, model: Model) -> None:
    assert 0 < model(any_order) < 1
    assert 0 < score(any_order, model=model).risk_score < SHIPPED_POLICY.risk_max() == 140


@MODELS
@given(any_order=orders, more=st.integers(0, 10**12))
def test_more_of_anything_is_never_less_risky(
    any_order: FraudInput, more: int, model: Model
) -> None:
    for field in ("total_minor", "recent_orders", "item_count"):
        riskier = dataclasses.replace(any_order, **{field: getattr(any_order, field) + more})
        assert model(riskier) >= model(any_order)
        assert score(riskier, model=model).risk_score >= score(any_order, model=model).risk_score


@MODELS
@given(any_order=orders)
def test_each_doubt_makes_it_riskier(any_order: FraudInput, model: Model) -> None:
    calm = dataclasses.replace(
        any_order, payment_method="saved_card", billing_address=None, user_country="US"
    )
    doubts: tuple[dict[str, Any], ...] = (
        {"payment_method": "new_card"},
        {"billing_address": {"street": "elsewhere"}},
        {"user_country": "FR"},
    )
    for doubt in doubts:
        doubtful = dataclasses.replace(calm, **doubt)
        assert model(doubtful) >= model(calm)
        unknown = dataclasses.replace(calm, user_country=None)
        assert model_probability(doubtful) > model_probability(calm) == model_probability(unknown)
        assert score(doubtful, model=model).risk_score > score(calm, model=model).risk_score


@MODELS
@given(any_order=orders, more=st.integers(0, 10**12))
def test_a_larger_average_is_never_riskier(any_order: FraudInput, more: int, model: Model) -> None:
    average = any_order.avg_order_minor
    if average is None:
        return
    used_to_more = dataclasses.replace(any_order, avg_order_minor=average + more)
    assert model(used_to_more) <= model(any_order)


@MODELS
@given(currency=st.sampled_from(sorted(EXPONENTS)))
def test_a_price_point_is_as_risky_in_every_currency(currency: str, model: Model) -> None:
    same = order(
        total_minor=500 * PRICE_LEVELS[currency] * SCALES[currency],
        avg_order_minor=None,
        currency=currency,
    )
    dollars = order(total_minor=50_000, avg_order_minor=None)
    assert model(same) == model(dollars)


def test_no_coefficient_but_the_intercept_is_negative() -> None:
    for name, value in dataclasses.asdict(SCORECARD).items():
        assert name == "intercept" or value > 0


@MODELS
@given(batch=st.lists(orders, max_size=20))
def test_a_batch_is_each_order_scored(batch: list[FraudInput], model: Model) -> None:
    alone = tuple(score(one, model=model) for one in batch)
    assert score_batch(batch, model=model) == alone
    assert Scoring(model=model).score_batch(batch) == alone


@MODELS
@given(any_order=orders)
def test_the_reasons_explain_the_whole_score(any_order: FraudInput, model: Model) -> None:
    verdict = score(any_order, model=model)
    assert tuple(reason.name for reason in verdict.reasons) == (*verdict.flags, MODEL)
    assert sum(reason.points for reason in verdict.reasons) == pytest.approx(verdict.risk_score)
    assert all(reason.sentence.endswith(".") for reason in verdict.reasons)


def test_a_reason_is_a_sentence_with_the_limit() -> None:
    verdict = score(order(recent_orders=6, total_minor=21_001), model=lambda _: 0.034)
    assert [reason.sentence for reason in verdict.reasons] == [
        "The buyer placed more than 5 other orders in the last 60 minutes.",
        "The total is more than 3 times the buyer's average order.",
        "The model puts the probability of fraud at 3.4%.",
    ]


def test_another_policy_has_its_own_weights_limits_and_thresholds() -> None:
    stricter = {
        "high_velocity": {"points": 40.0, "above": 2},
        "new_payment_method": {"points": 0.0},
    }
    checks = tuple(
        dataclasses.replace(check, **stricter.get(check.flag, {}))  # pyright: ignore
        for check in CHECKS
    )
    policy = FraudPolicy(checks=checks, model_points=10.0, review_from=5.0, decline_from=40.0)
    doubtful = order(recent_orders=3, payment_method="new_card")
    verdict = score(doubtful, policy=policy, model=no_model)
    assert (verdict.risk_score, verdict.action) == (40.0, "decline")
    assert verdict.flags == ("high_velocity",), "a check without points raises no flag"
    assert score(ORDINARY, policy=policy, model=lambda _: 0.5).action == "review"


def test_the_shipped_model_is_used_as_a_whole_shop_would() -> None:
    assert isinstance(SHIPPED, TrainedModel)
    assert Scoring(model=SHIPPED).model_version == SHIPPED.version
    assert Scoring().model_version == "scorecard"
    assert SHIPPED.facts["generated"] is True, "the shipped model says what it was trained on"


@pytest.mark.parametrize(
    "ordinary",
    [
        ORDINARY,
        order(avg_order_minor=None, user_country=None, payment_method="new_card"),
        order(
            avg_order_minor=None, user_country=None, payment_method="new_card", total_minor=30_000
        ),
        order(recent_orders=1),
    ],
)
def test_the_shipped_model_lets_everyday_orders_pass(ordinary: FraudInput) -> None:
    assert score(ordinary, model=SHIPPED).action == "approve"


def test_what_the_shipped_model_stops() -> None:
    takeover = order(
        payment_method="new_card", billing_address=OFFICE, total_minor=60_000, user_country="DE"
    )
    assert score(takeover, model=SHIPPED).action == "decline"
