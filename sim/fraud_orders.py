"""Generated orders of which it is known whether they are fraud, to train and measure a model with.

Nobody placed them. They follow what is commonly said of card fraud in shops, with numbers chosen
by hand; a model trained on them knows this mechanism and nothing of any real shop.

The mechanism. Every order is honest or fraud, by FRAUD_SHARE. Who places it:

- honest: newcomers (no history, so every card is new), regulars (a history, now and then a new
  card, a gift to another address, a journey abroad) and bulk buyers (many large orders in a row,
  as fraud has them);
- fraud: card testers (a burst of small orders), stolen cards (no history, dear goods, sent
  elsewhere), takeovers (somebody else's account: a history, but far above its average, sent
  elsewhere), and friendly fraud: a regular who takes the goods and disputes the charge, which
  no model can tell from other regulars.

Then the label: UNREPORTED of the fraud is never reported and looks honest, DISPUTED of the honest
orders are reported although they were none. So the classes overlap, and no score is perfect.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from domain.fraud_features import NEW_CARD, FraudInput
from domain.money import PRICE_LEVELS, SCALES
from gateways.fraud_csv import GENERATED, OTHER_ADDRESS, LabelledOrder, address_in

FRAUD_SHARE = 0.015
UNREPORTED = 0.05
DISPUTED = 0.0003
SPAN = timedelta(days=180)
ORDERS_MAX = 1_000_000

# Where buyers live, how many of a hundred, and what they pay in.
_HOMES = (
    *(("US", 55, "USD"), ("GB", 12, "GBP"), ("DE", 10, "EUR"), ("CA", 8, "CAD")),
    *(("FR", 6, "EUR"), ("AU", 5, "AUD"), ("JP", 4, "JPY")),
)
_COUNTRIES = tuple(country for country, _, _ in _HOMES)
_COUNTRY_WEIGHTS = tuple(share for _, share, _ in _HOMES)
_CURRENCIES = {country: currency for country, _, currency in _HOMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One order before it is given a currency: amounts in US dollars."""

    total: float
    average: float | None
    items: int
    recent: int
    new_card: bool
    elsewhere: bool
    """Billing and shipping address differ."""
    country_known: bool
    abroad: bool
    """Shipped to another country than the buyer's, known or not."""


def generated_orders(count: int, *, seed: int, begin: datetime) -> Iterator[LabelledOrder]:
    """`count` labelled orders over SPAN from `begin` (aware), in the order of their times.

    The same arguments give the same orders. ValueError outside of 1 to ORDERS_MAX.
    """
    if not 1 <= count <= ORDERS_MAX:
        raise ValueError(f"{count:,} orders; between 1 and {ORDERS_MAX:,} can be generated")
    rng = random.Random(seed)
    seconds = sorted(rng.random() * SPAN.total_seconds() for _ in range(count))
    for number, second in enumerate(seconds, 1):
        is_fraud = rng.random() < FRAUD_SHARE
        who = rng.choices(*(_FRAUD if is_fraud else _HONEST))[0]
        order = _as_input(rng, who(rng))
        reported = rng.random() >= UNREPORTED if is_fraud else rng.random() < DISPUTED
        yield LabelledOrder(
            order_id=f"{GENERATED}{number:07}",
            ordered_at=begin + timedelta(seconds=int(second)),
            order=order,
            fraud=reported,
        )


def _newcomer(rng: random.Random) -> _Order:
    return _Order(
        total=rng.lognormvariate(4.1, 0.9),  # a median of 60 dollars
        average=None,
        items=_items(rng, 1.8),
        recent=_count(rng, 0.08),
        new_card=True,
        elsewhere=rng.random() < 0.12,
        country_known=rng.random() < 0.4,
        abroad=rng.random() < 0.02,
    )


def _regular(rng: random.Random) -> _Order:
    average = rng.lognormvariate(4.1, 0.7)
    return _Order(
        total=average * rng.lognormvariate(0.0, 0.65),
        average=average,
        items=_items(rng, 2.2),
        recent=_count(rng, 0.2),
        new_card=rng.random() < 0.08,
        elsewhere=rng.random() < 0.09,
        country_known=True,
        abroad=rng.random() < 0.025,
    )


def _bulk_buyer(rng: random.Random) -> _Order:
    average = rng.lognormvariate(5.3, 0.7)
    return _Order(
        total=average * rng.lognormvariate(0.4, 0.9),
        average=average,
        items=_items(rng, 15.0),
        recent=_count(rng, 4.0),
        new_card=rng.random() < 0.15,
        elsewhere=rng.random() < 0.35,
        country_known=True,
        abroad=rng.random() < 0.06,
    )


def _card_tester(rng: random.Random) -> _Order:
    return _Order(
        total=rng.lognormvariate(2.2, 0.6),
        average=None,
        items=1,
        recent=2 + _count(rng, 7.0),
        new_card=True,
        elsewhere=rng.random() < 0.4,
        country_known=rng.random() < 0.5,
        abroad=rng.random() < 0.3,
    )


def _stolen_card(rng: random.Random) -> _Order:
    return _Order(
        total=rng.lognormvariate(5.6, 0.8),  # a median of 270 dollars
        average=None,
        items=_items(rng, 1.6),
        recent=_count(rng, 1.2),
        new_card=True,
        elsewhere=rng.random() < 0.6,
        country_known=rng.random() < 0.55,
        abroad=rng.random() < 0.4,
    )


def _takeover(rng: random.Random) -> _Order:
    average = rng.lognormvariate(4.1, 0.7)
    return _Order(
        total=average * rng.lognormvariate(1.3, 0.7),
        average=average,
        items=_items(rng, 2.0),
        recent=_count(rng, 0.8),
        new_card=rng.random() < 0.45,
        elsewhere=rng.random() < 0.75,
        country_known=True,
        abroad=rng.random() < 0.3,
    )


_Who = tuple[tuple[Callable[[random.Random], _Order], ...], tuple[int, ...]]
_HONEST: _Who = ((_newcomer, _regular, _bulk_buyer), (30, 66, 4))
_FRAUD: _Who = ((_card_tester, _stolen_card, _takeover, _regular), (25, 35, 28, 12))


def _items(rng: random.Random, mean: float) -> int:
    """1 or more, with about this mean."""
    return 1 + _count(rng, mean - 1.0)


def _count(rng: random.Random, mean: float) -> int:
    """0 or more with this mean and a long tail: a geometric distribution."""
    count = 0
    while rng.random() < mean / (1.0 + mean) and count < 500:
        count += 1
    return count


def _as_input(rng: random.Random, order: _Order) -> FraudInput:
    home = rng.choices(_COUNTRIES, _COUNTRY_WEIGHTS)[0]
    away = rng.choice([country for country in _COUNTRIES if country != home])
    currency = _CURRENCIES[home]
    minor = SCALES[currency] * PRICE_LEVELS[currency]
    average = order.average
    return FraudInput(
        payment_method=NEW_CARD if order.new_card else "card",
        shipping_address=address_in(away if order.abroad else home),
        billing_address=OTHER_ADDRESS if order.elsewhere else None,
        total_minor=max(1, round(order.total * minor)),
        currency=currency,
        item_count=order.items,
        recent_orders=order.recent,
        avg_order_minor=None if average is None else Decimal(max(1, round(average * minor))),
        user_country=home if order.country_known else None,
    )
