"""How risky an order looks: six checks, their weights, and what to do about the sum.

Pure: the caller brings what is known about the buyer. Five checks are the rules of a
`FraudPolicy`; the sixth is a model's probability of fraud. Without a trained model that is
`model_probability`, a logistic scorecard whose coefficients are priors set by hand from what
the field reports about card fraud: they were NOT trained, and no data stands behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from domain.fraud_features import (
    NEW_CARD,
    FraudInput,
    addresses_differ,
    countries_differ,
    dollars,
)
from domain.fraud_model import TrainedModel
from domain.fraud_policy import MODEL, SHIPPED_POLICY, Action, FraudPolicy, Reason

BATCH_MAX = 1_000  # orders in one call that scores many

Model = Callable[[FraudInput], float]
"""Gives an order's probability of fraud, 0 to 1. A `TrainedModel` also takes many at once."""

SCORECARD_VERSION = "scorecard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """Coefficients of the logistic model, in log-odds. None is negative: more never helps."""

    intercept: float = -5.0
    """An everyday order of a known buyer: a probability of 0.7 %."""
    new_card: float = 0.8
    address_mismatch: float = 0.6
    other_country: float = 0.7
    recent_order: float = 0.35
    """Per order in the last hour, up to `recent_orders_max`."""
    recent_orders_max: int = 10
    value_decade: float = 0.6
    """Per factor of ten above `value_from`, up to `value_decades_max` of them."""
    value_from: float = 100.0
    """US dollars; other currencies by their price level."""
    value_decades_max: float = 3.0
    doubling_over_average: float = 0.4
    """Per doubling above the buyer's average order, up to `doublings_max`."""
    doublings_max: float = 4.0
    item: float = 0.02
    """Per item after the first, up to `items_max`."""
    items_max: int = 50


SCORECARD = Scorecard()


@dataclass(frozen=True, slots=True)
class FraudScore:
    """The verdict on one order."""

    risk_score: float
    """0 to the policy's `risk_max`, 140 as shipped: the sum of the points."""
    action: Action
    flags: tuple[str, ...]
    """Names of the rules that struck, in the order of the checks."""
    reasons: tuple[Reason, ...] = ()
    """One for each flag, and the model's share; their points add up to the risk score."""

    def explained(self, model_version: str) -> dict[str, Any]:
        """The reasons as they are kept and told: `reasons` and `model_version`."""
        reasons = [
            {"name": one.name, "points": one.points, "sentence": one.sentence}
            for one in self.reasons
        ]
        return {"reasons": reasons, "model_version": model_version}


def model_probability(order: FraudInput) -> float:
    """The scorecard's probability of fraud, above 0 and below 1.

    A logistic function of a weighted sum. It never falls as the total, the items or the recent
    orders rise, nor with a new card, another billing address or another country. The
    coefficients (`SCORECARD`) are priors set by hand, not trained; see the module.
    """
    card = SCORECARD
    total = order.total_minor
    odds = card.intercept
    if order.payment_method == NEW_CARD:
        odds += card.new_card
    if addresses_differ(order):
        odds += card.address_mismatch
    if countries_differ(order):
        odds += card.other_country
    recent = order.recent_orders
    if recent:
        odds += card.recent_order * (
            recent if recent < card.recent_orders_max else card.recent_orders_max
        )
    value = dollars(order)
    if value > card.value_from:
        decades = math.log10(value / card.value_from)
        odds += card.value_decade * min(decades, card.value_decades_max)
    average = order.avg_order_minor
    if average is not None and total > average:
        # An average of less than one minor unit is no yardstick: count it as one.
        doublings = math.log2(total / (float(average) if average > 1 else 1.0))
        odds += card.doubling_over_average * min(doublings, card.doublings_max)
    if order.item_count > 1:
        odds += card.item * min(order.item_count - 1, card.items_max)
    return 1.0 / (1.0 + math.exp(-odds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What a shop scores with: its policy and its model."""

    policy: FraudPolicy = SHIPPED_POLICY
    model: Model = model_probability

    @property
    def model_version(self) -> str:
        """The trained model's version; `scorecard` where there is none."""
        model = self.model
        return model.version if isinstance(model, TrainedModel) else SCORECARD_VERSION

    def score(self, order: FraudInput) -> FraudScore:
        """The verdict on one order."""
        return score(order, policy=self.policy, model=self.model)

    def score_batch(self, orders: Iterable[FraudInput]) -> tuple[FraudScore, ...]:
        """The verdict on each order, in their order."""
        return score_batch(orders, policy=self.policy, model=self.model)


def score(
    order: FraudInput,
    *,
    policy: FraudPolicy = SHIPPED_POLICY,
    model: Model = model_probability,
) -> FraudScore:
    """Run the six checks on an order and say what to do with it.

    What is not known raises no flag: no average order, no country of the buyer or of the
    order, no billing address. `model` gives the sixth check's probability, 0 to 1.
    """
    return _verdict(order, policy, model(order))


def score_batch(
    orders: Iterable[FraudInput],
    *,
    policy: FraudPolicy = SHIPPED_POLICY,
    model: Model = model_probability,
) -> tuple[FraudScore, ...]:
    """`score` for each order, in their order; a trained model sees all of them at once."""
    batch = tuple(orders)
    if isinstance(model, TrainedModel):
        chances = model.probabilities(batch)
    else:
        chances = [model(order) for order in batch]
    return tuple(
        [_verdict(order, policy, chance) for order, chance in zip(batch, chances, strict=True)]
    )


def _verdict(order: FraudInput, policy: FraudPolicy, probability: float) -> FraudScore:
    risk = 0.0
    flags: list[str] = []
    reasons: list[Reason] = []
    for check in policy.in_force:
        above = check.above
        if check.strikes(order, 0 if above is None else above):
            risk += check.points
            flags.append(check.flag)
            reasons.append(check.reason)
    share = probability * policy.model_points
    risk += share
    told = f"The model puts the probability of fraud at {probability:.1%}."
    reasons.append(Reason(MODEL, share, told))
    return FraudScore(risk, policy.action_for(risk), tuple(flags), tuple(reasons))
