"""How risky an order looks: six checks, their weights, and what to do about the sum.

Pure: the caller brings what is known about the buyer. Five checks are plain rules; the sixth
is `model_probability`, a logistic scorecard. Its coefficients below are priors set by hand
from what the field reports about card fraud. They were NOT trained, and no data stands behind
them; a model fitted to a shop's own chargebacks can take its place (`score(…, model=…)`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from domain.money import PRICE_LEVELS, SCALES

Action = Literal["approve", "review", "decline"]

VELOCITY_ORDERS_MAX = 5  # orders of one buyer in the window that raise no flag
VELOCITY_WINDOW_MINUTES = 60
VALUE_RATIO_MAX = 3  # times the buyer's average order that raise no flag
NEW_CARD = "new_card"

WEIGHT_HIGH_VELOCITY = 30.0
WEIGHT_NEW_PAYMENT_METHOD = 15.0
WEIGHT_ADDRESS_MISMATCH = 10.0
WEIGHT_UNUSUALLY_HIGH_VALUE = 20.0
WEIGHT_INTERNATIONAL_ORDER = 15.0
WEIGHT_MODEL = 50.0  # times the model's probability

REVIEW_FROM = 30.0  # below: approve
DECLINE_FROM = 60.0  # below: review

BATCH_MAX = 1_000  # orders in one call that scores many


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

_USD_MINOR = {currency: SCALES[currency] * level for currency, level in PRICE_LEVELS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudInput:
    """What is known about an order when it is scored."""

    payment_method: str
    """`new_card` for one not used by this buyer before; anything else counts as known."""
    shipping_address: Mapping[str, str | None]
    """As given, with `country` in ISO 3166-1 alpha-2."""
    total_minor: int
    """What the order comes to, in minor units of `currency`; 0 or more."""
    item_count: int
    """Units over all lines."""
    recent_orders: int = 0
    """Other orders of the buyer in the last VELOCITY_WINDOW_MINUTES."""
    avg_order_minor: int | Decimal | None = None
    """The buyer's average order, same units; None without a history."""
    billing_address: Mapping[str, str | None] | None = None
    """None: the same as the shipping address."""
    user_country: str | None = None
    """Where the buyer is known to be; None if that is not known."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class FraudScore:
    """The verdict on one order."""

    risk_score: float
    """0 to 140: the sum of the weights."""
    action: Action
    flags: tuple[str, ...]
    """Names of the rules that struck, in the order of the checks."""


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
    if _addresses_differ(order):
        odds += card.address_mismatch
    if _countries_differ(order):
        odds += card.other_country
    recent = order.recent_orders
    if recent:
        odds += card.recent_order * (
            recent if recent < card.recent_orders_max else card.recent_orders_max
        )
    dollars = total / _USD_MINOR[order.currency]
    if dollars > card.value_from:
        decades = math.log10(dollars / card.value_from)
        odds += card.value_decade * min(decades, card.value_decades_max)
    average = order.avg_order_minor
    if average is not None and total > average:
        # An average of less than one minor unit is no yardstick: count it as one.
        doublings = math.log2(total / (float(average) if average > 1 else 1.0))
        odds += card.doubling_over_average * min(doublings, card.doublings_max)
    if order.item_count > 1:
        odds += card.item * min(order.item_count - 1, card.items_max)
    return 1.0 / (1.0 + math.exp(-odds))


def score(
    order: FraudInput, *, model: Callable[[FraudInput], float] = model_probability
) -> FraudScore:
    """Run the six checks on an order and say what to do with it.

    What is not known raises no flag: no average order, no country of the buyer or of the
    order, no billing address. `model` gives the sixth check's probability, 0 to 1.
    """
    risk = 0.0
    flags: list[str] = []
    if order.recent_orders > VELOCITY_ORDERS_MAX:
        risk += WEIGHT_HIGH_VELOCITY
        flags.append("high_velocity")
    if order.payment_method == NEW_CARD:
        risk += WEIGHT_NEW_PAYMENT_METHOD
        flags.append("new_payment_method")
    if _addresses_differ(order):
        risk += WEIGHT_ADDRESS_MISMATCH
        flags.append("address_mismatch")
    average = order.avg_order_minor
    if average is not None and order.total_minor > average * VALUE_RATIO_MAX:
        risk += WEIGHT_UNUSUALLY_HIGH_VALUE
        flags.append("unusually_high_value")
    if _countries_differ(order):
        risk += WEIGHT_INTERNATIONAL_ORDER
        flags.append("international_order")
    risk += model(order) * WEIGHT_MODEL
    return FraudScore(risk, action_for(risk), tuple(flags))


def score_batch(orders: Iterable[FraudInput]) -> tuple[FraudScore, ...]:
    """`score` for each order, in their order."""
    return tuple([score(order) for order in orders])


def action_for(risk_score: float) -> Action:
    """What a risk score asks for: approve below 30, review below 60, decline from there on."""
    if risk_score < REVIEW_FROM:
        return "approve"
    return "review" if risk_score < DECLINE_FROM else "decline"


def _addresses_differ(order: FraudInput) -> bool:
    billing = order.billing_address
    return billing is not None and billing != order.shipping_address


def _countries_differ(order: FraudInput) -> bool:
    known = order.user_country
    if not known:
        return False
    country = order.shipping_address.get("country")
    return bool(country) and country != known
