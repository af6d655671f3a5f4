"""A shop's policy against fraud, as data: the checks, what they weigh, and where action begins.

The shipped values are `CHECKS` and the defaults of `FraudPolicy`; `policy_of` makes another one
of what a file says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, cast

from domain.fraud_features import (
    NEW_CARD,
    VELOCITY_WINDOW_MINUTES,
    FraudInput,
    addresses_differ,
    countries_differ,
)

Action = Literal["approve", "review", "decline"]
Number = int | Decimal  # limits compare exactly

MODEL = "model"
"""The name of the sixth check among the reasons; it raises no flag."""
POINTS_MAX = 1_000.0
LIMIT_MAX = 1_000_000
NAME_LENGTH_MAX = 100


class PolicyError(ValueError):
    """A policy that cannot be used; the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order has points: the check's name, its points, and a sentence for a person."""

    name: str
    points: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule: the flag it raises, what that weighs, and when it strikes."""

    flag: str
    points: float
    """Added to the risk score when it strikes; 0 switches the check off."""
    strikes: Callable[[FraudInput, Number], bool]
    """Of the order and `above`; what is not known never strikes."""
    sentence: str
    """Told when it strikes; `{above}` stands for the limit."""
    above: Number | None = None
    """The largest number that raises no flag; None for a check without a limit."""
    reason: Reason = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        told = self.sentence.format(above=self.above)
        object.__setattr__(self, "reason", Reason(self.flag, self.points, told))


def _many_recent_orders(order: FraudInput, above: Number) -> bool:
    return order.recent_orders > above


def _new_card(order: FraudInput, _: Number) -> bool:
    return order.payment_method == NEW_CARD


def _other_address(order: FraudInput, _: Number) -> bool:
    return addresses_differ(order)


def _far_over_average(order: FraudInput, above: Number) -> bool:
    average = order.avg_order_minor
    return average is not None and order.total_minor > average * above


def _other_country(order: FraudInput, _: Number) -> bool:
    return countries_differ(order)


CHECKS = (
    Check(
        flag="high_velocity",
        points=30.0,
        above=5,
        strikes=_many_recent_orders,
        sentence="The buyer placed more than {above} other orders in the last"
        f" {VELOCITY_WINDOW_MINUTES} minutes.",
    ),
    Check(
        flag="new_payment_method",
        points=15.0,
        strikes=_new_card,
        sentence="The buyer has not paid with this card before.",
    ),
    Check(
        flag="address_mismatch",
        points=10.0,
        strikes=_other_address,
        sentence="Billing and shipping address are not the same.",
    ),
    Check(
        flag="unusually_high_value",
        points=20.0,
        above=3,
        strikes=_far_over_average,
        sentence="The total is more than {above} times the buyer's average order.",
    ),
    Check(
        flag="international_order",
        points=15.0,
        strikes=_other_country,
        sentence="The order ships to another country than the buyer's.",
    ),
)
"""The rules with their shipped weights; the sixth check is the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudPolicy:
    """What each check weighs and what a risk score asks for; PolicyError if it makes no sense."""

    name: str = "shipped"
    checks: tuple[Check, ...] = CHECKS
    model_points: float = 50.0
    """Times the model's probability."""
    review_from: float = 30.0
    """Below: approve."""
    decline_from: float = 60.0
    """Below: review."""
    in_force: tuple[Check, ...] = field(init=False, compare=False, repr=False)
    """The checks that weigh something."""

    def __post_init__(self) -> None:
        flags = [check.flag for check in self.checks]
        if len(set(flags)) != len(flags) or MODEL in flags:
            raise PolicyError(f"each check needs a name of its own, not {MODEL!r}: {flags}")
        if not 0 < self.review_from <= self.decline_from:
            raise PolicyError(
                f"review_from is {self.review_from:g} and decline_from {self.decline_from:g};"
                " both must be above 0 and review must not begin after decline"
            )
        struck = tuple(check for check in self.checks if check.points > 0)
        object.__setattr__(self, "in_force", struck)

    def action_for(self, risk_score: float) -> Action:
        """What a risk score asks for."""
        if risk_score < self.review_from:
            return "approve"
        return "review" if risk_score < self.decline_from else "decline"

    def risk_max(self) -> float:
        """The largest risk score there can be."""
        return sum(check.points for check in self.checks) + self.model_points


SHIPPED_POLICY = FraudPolicy()


def policy_of(document: Mapping[str, Any]) -> FraudPolicy:
    """The policy that a file's content describes; what it leaves out stays as shipped.

    Keys: `name`, `review_from`, `decline_from`, `model_points`, and `checks`, which maps a flag
    to `points` and, where the check has a limit, `above`. PolicyError names the first mistake.
    """
    known = {"name", "review_from", "decline_from", "model_points", "checks"}
    _refuse_unknown("the policy", document, known)
    given: dict[str, Any] = {
        key: _number(key, document[key], POINTS_MAX * 10)
        for key in ("review_from", "decline_from", "model_points")
        if key in document
    }
    if "name" in document:
        given["name"] = _name(document["name"])
    changes = document.get("checks", {})
    if not isinstance(changes, Mapping):
        raise PolicyError(f"checks is {changes!r}; it must be a table of checks by their flags")
    changes = cast(Mapping[str, Any], changes)
    _refuse_unknown("checks", changes, {check.flag for check in CHECKS})
    checks = tuple(_changed(check, changes.get(check.flag, {})) for check in CHECKS)
    return FraudPolicy(checks=checks, **given)


def _changed(check: Check, change: Any) -> Check:
    where = f"checks.{check.flag}"
    if not isinstance(change, Mapping):
        raise PolicyError(f"{where} is {change!r}; it must be a table with points")
    change = cast(Mapping[str, Any], change)
    allowed = {"points"} if check.above is None else {"points", "above"}
    _refuse_unknown(where, change, allowed)
    given: dict[str, Any] = {}
    if "points" in change:
        given["points"] = _number(f"{where}.points", change["points"], POINTS_MAX)
    if "above" in change:
        limit = _number(f"{where}.above", change["above"], LIMIT_MAX)
        given["above"] = int(limit) if limit == int(limit) else Decimal(repr(limit))
    return replace(check, **given) if given else check


def _refuse_unknown(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise PolicyError(f"{where} has no {unknown[0]!r}; it may have: {', '.join(sorted(known))}")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH_MAX:
        raise PolicyError(
            f"name is {value!r}; it must be text of 1 to {NAME_LENGTH_MAX} characters"
        )
    return value


def _number(name: str, value: Any, largest: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= largest:
        raise PolicyError(f"{name} is {value!r}; it must be a number from 0 to {largest:g}")
    return float(value)
