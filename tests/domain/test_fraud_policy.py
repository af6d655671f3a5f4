"""A policy from a file: what it changes, what it leaves, and every mistake named."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from domain.fraud_policy import CHECKS, SHIPPED_POLICY, FraudPolicy, PolicyError, policy_of


def test_the_shipped_weights_and_thresholds() -> None:
    assert [(check.flag, check.points, check.above) for check in CHECKS] == [
        ("high_velocity", 30, 5),
        ("new_payment_method", 15, None),
        ("address_mismatch", 10, None),
        ("unusually_high_value", 20, 3),
        ("international_order", 15, None),
    ]
    assert SHIPPED_POLICY.model_points == 50
    assert (SHIPPED_POLICY.review_from, SHIPPED_POLICY.decline_from) == (30, 60)


def test_an_empty_file_changes_nothing() -> None:
    assert policy_of({}) == SHIPPED_POLICY


def test_a_file_changes_what_it_names() -> None:
    policy = policy_of(
        {
            "name": "cautious",
            "review_from": 20,
            "model_points": 80,
            "checks": {
                "high_velocity": {"above": 2},
                "unusually_high_value": {"points": 25.5, "above": 2.5},
            },
        }
    )
    assert (policy.name, policy.review_from, policy.decline_from) == ("cautious", 20, 60)
    by_flag = {check.flag: check for check in policy.checks}
    assert (by_flag["high_velocity"].points, by_flag["high_velocity"].above) == (30, 2)
    assert by_flag["unusually_high_value"].above == Decimal("2.5")
    assert "more than 2.5 times" in by_flag["unusually_high_value"].reason.sentence
    assert by_flag["address_mismatch"] == SHIPPED_POLICY.checks[2]
    assert policy.risk_max() == 30 + 15 + 10 + 25.5 + 15 + 80


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"thresholds": 1}, "the policy has no 'thresholds'"),
        ({"name": ""}, "1 to 100 characters"),
        ({"name": 7}, "name is 7"),
        ({"review_from": "30"}, "review_from is '30'"),
        ({"review_from": True}, "review_from is True"),
        ({"review_from": float("nan")}, "review_from is nan"),
        ({"decline_from": -1}, "decline_from is -1"),
        ({"review_from": 0}, "must be above 0"),
        ({"review_from": 70}, "review must not begin after decline"),
        ({"model_points": float("inf")}, "model_points is inf"),
        ({"checks": []}, "table of checks"),
        ({"checks": {"weather": {}}}, "checks has no 'weather'"),
        ({"checks": {"high_velocity": 3}}, "checks.high_velocity is 3"),
        ({"checks": {"high_velocity": {"weight": 3}}}, "has no 'weight'"),
        ({"checks": {"address_mismatch": {"above": 3}}}, "has no 'above'"),
        ({"checks": {"high_velocity": {"points": 1_001}}}, "from 0 to 1000"),
        ({"checks": {"high_velocity": {"above": -1}}}, "checks.high_velocity.above is -1"),
    ],
)
def test_every_mistake_is_named(document: dict[str, Any], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        policy_of(document)


def test_two_checks_of_one_name_are_a_mistake() -> None:
    with pytest.raises(PolicyError, match="a name of its own"):
        FraudPolicy(checks=(CHECKS[0], CHECKS[0]))
    with pytest.raises(PolicyError, match="a name of its own"):
        FraudPolicy(checks=(dataclasses.replace(CHECKS[0], flag="model"),))
