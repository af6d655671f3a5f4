from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from actors.charges import Charges, States
from domain.orders import PaymentPart
from sim.payment_storm import PaymentStorm, StormPlan
from sim.storm_purchases import draw_purchase

pytestmark = pytest.mark.asyncio


def _plan(checkouts: int, **changes: Any) -> StormPlan:
    return StormPlan(checkouts=checkouts, seed=7, **changes)


@pytest.mark.fault
@pytest.mark.timeout(240)
async def test_a_storm_breaks_no_promise(pool: asyncpg.Pool) -> None:
    result = await PaymentStorm(pool, _plan(2_000)).run()
    assert result.ok, result.as_json()
    assert sum(result.told.values()) == 2_000
    assert result.told["confirmed"] == result.orders["confirmed"] > 1_000
    assert result.deaths["replica"] > 0
    assert result.recovered["finished"] > 0
    assert result.recovered["unwound"] > 0
    assert {kind for kind, met in result.faults.items() if met} == set(result.faults) - {
        "kept_error"
    }


async def test_a_small_storm_without_deaths(pool: asyncpg.Pool) -> None:
    result = await PaymentStorm(pool, _plan(150, deaths_per_thousand=0.0)).run()
    assert result.ok, result.as_json()
    assert result.told.total() == 150
    assert result.deaths == {}


async def test_a_storm_tells_of_money_that_is_not_given_back(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: a checkout that forgets to undo the other parts of a payment."""

    async def forgetful(
        _: Charges, parts: Sequence[PaymentPart], states: States | None = None
    ) -> Mapping[str, str]:
        del states
        return {part.transaction_id: "voided" for part in parts}

    monkeypatch.setattr(Charges, "undo", forgetful)
    result = await PaymentStorm(pool, _plan(300, deaths_per_thousand=0.0)).run()
    assert not result.ok
    assert [one.promise.id for one in result.report.verdicts if not one.ok] == ["P7"]


async def test_the_same_seed_draws_the_same_purchases() -> None:
    """But for their ids."""
    assert _drawn(3) == _drawn(3)
    assert _drawn(3) != _drawn(4)


def _drawn(seed: int) -> list[Any]:
    products: Any = [_product(number) for number in range(5)]
    drawn = [draw_purchase(seed, number, products) for number in range(20)]
    return [(one.key, one.tokens, one.address, one.hangs_up, one.answer) for one in drawn]


def _product(number: int) -> Any:
    from types import SimpleNamespace

    variant = SimpleNamespace(pairs=(), sku=f"S{number}", variant_id=number, price_minor=100)
    return SimpleNamespace(product_id=number, name="x", variants=(variant,))
