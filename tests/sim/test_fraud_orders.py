"""Generated orders: the same from the same seed, mostly honest, and not easily told apart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sim.fraud_orders import FRAUD_SHARE, ORDERS_MAX, SPAN, generated_orders

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_same_seed_gives_the_same_orders() -> None:
    once, again, other = (list(generated_orders(200, seed=seed, begin=BEGIN)) for seed in (7, 7, 8))
    assert once == again
    assert once != other


def test_orders_follow_one_another_within_their_span() -> None:
    times = [one.ordered_at for one in generated_orders(500, seed=1, begin=BEGIN)]
    assert times == sorted(times)
    assert times[0] >= BEGIN
    assert times[-1] < BEGIN + SPAN


def test_few_are_fraud_and_none_shows_it_for_certain() -> None:
    orders = list(generated_orders(20_000, seed=1, begin=BEGIN))
    fraud = [one.order for one in orders if one.fraud]
    honest = [one.order for one in orders if not one.fraud]
    assert 0.7 * FRAUD_SHARE < len(fraud) / len(orders) < 1.3 * FRAUD_SHARE
    for of_a_kind in (fraud, honest):
        assert {one.payment_method for one in of_a_kind} == {"new_card", "card"}
        assert {one.billing_address is None for one in of_a_kind} == {True, False}
        assert {one.avg_order_minor is None for one in of_a_kind} == {True, False}
        assert {one.user_country is None for one in of_a_kind} == {True, False}
        assert max(one.recent_orders for one in of_a_kind) > 5
        assert min(one.recent_orders for one in of_a_kind) == 0


@pytest.mark.parametrize("count", [0, -1, ORDERS_MAX + 1])
def test_counts_have_bounds(count: int) -> None:
    with pytest.raises(ValueError, match="can be generated"):
        next(generated_orders(count, seed=1, begin=BEGIN))
