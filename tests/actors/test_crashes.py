"""A replica dies before or after each of its calls; recovery and the audit see to the rest.

Every call is a place to die at here; `test_pause_points` has more ways to pay.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from actors.checkout import CheckoutResult, Confirmed, Refused
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState
from sim.provider import SimulatedProvider
from storage.orders import PostgresOrderBook
from tests.actors.drafts import draft, line
from tests.actors.mortal import Died, House, Mortal, open_house
from tests.actors.postgres import add_pair, stock_of
from tests.actors.shops import Shop, an_order
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio


class _SlowProvider(SimulatedProvider):
    """Holds run out while it authorizes."""

    def __init__(self, pool: asyncpg.Pool, expire: Callable[[], Any]) -> None:
        super().__init__(pool)
        self._expire = expire

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        state = await super().authorize(charge)
        await self._expire()
        return state


@dataclass(frozen=True)
class Scene:
    """What is bought, and the calls that it takes."""

    steps: tuple[str, ...]
    result: type[CheckoutResult]
    token: str = "card_1"
    wanted: int = 2
    slow: bool = False
    risky: bool = False
    bought: tuple[tuple[int, int], ...] = ((1, 0), (3, 2), (4, 1))
    """(quantity, reserved) of the three pairs if the order is confirmed."""
    alone_from: int = 3
    """The first step that no scene before it has."""


_UNTOUCHED = ((1, 0), (5, 0), (5, 0))
SCENES = {
    # One line is sold out in the first warehouse: the stock is asked twice.
    "bought": Scene(
        steps=("call", "record", "call", "authorize", "capture", "confirm"), result=Confirmed
    ),
    "declined": Scene(
        steps=("call", "record", "call", "authorize", "fail", "call"),
        result=Refused,
        token="card_declined",
        alone_from=4,
    ),
    "sold out": Scene(steps=("call", "record", "call", "fail", "call"), result=Refused, wanted=99),
    "too slow": Scene(
        steps=(
            *("call", "record", "call", "authorize", "capture", "confirm"),
            *("refund", "fail", "call"),
        ),
        result=Refused,
        slow=True,
        alone_from=6,
    ),
    # Neither warehouse has all of the line: each is asked for it, and then both for a part.
    "split": Scene(
        steps=("call", "record", "call", "call", "authorize", "capture", "confirm"),
        result=Confirmed,
        wanted=6,
        bought=((0, 1), (0, 5), (4, 1)),
    ),
    "risky": Scene(
        steps=("call", "record", "call", "note_fraud", "fail", "call"),
        result=Refused,
        risky=True,
    ),
}


def _replica(house: House, scene: Scene, mortal: Mortal) -> Shop:
    provider = _SlowProvider(house.pool, house.let_expire) if scene.slow else None
    return house.replica(mortal, provider=provider)


async def _order(house: House, scene: Scene) -> tuple[OrderDraft, Any, list[bytes]]:
    variants = [uuid.uuid4(), uuid.uuid4()]
    near = await add_pair(house.pool, 1, variant_id=variants[0])
    far = await add_pair(house.pool, 5, variant_id=variants[0])
    other = await add_pair(house.pool, 5, variant_id=variants[1])
    order, demands = an_order([(scene.wanted, [near, far]), (1, [other])])
    lines = [line(scene.wanted, variant_id=variants[0]), line(1, variant_id=variants[1])]
    buyer, billing = uuid.uuid4(), None
    if scene.risky:
        billing = {"name": "Eve", "street": "9 Else", "city": "Y", "zip": "9", "country": "FR"}
        book = PostgresOrderBook(house.pool, a_ring())
        others = [draft(user_id=buyer, idempotency_key=f"earlier {n}") for n in range(12)]
        await book.record(others)
        await book.fail([(one.order_id, {"kind": "other"}, {}) for one in others])
    order = draft(lines, user_id=buyer, payment_token=scene.token, billing_address=billing)
    return order, demands, [near, far, other]


async def _recover(house: House) -> None:
    """What the caretaker does, some time later."""
    survivor = house.replica(Mortal())
    house.clock.advance(60)
    await survivor.recovery.settle_stalled()
    await survivor.recovery.release_abandoned()
    await survivor.relay.relay()
    assert await survivor.recovery.settle_stalled() == 0
    assert await survivor.recovery.release_abandoned() == 0


@pytest.mark.parametrize("name", list(SCENES))
async def test_a_replica_that_lives_leaves_clean_books(pool: asyncpg.Pool, name: str) -> None:
    scene, mortal = SCENES[name], Mortal()
    async with open_house(pool) as house:
        order, demands, pairs = await _order(house, scene)
        result = await _replica(house, scene, mortal).checkout.run(order, demands)
        # Holding and recording are under way at once, as are failing and giving back.
        assert sorted(mortal.steps) == sorted(scene.steps)
        assert isinstance(result, scene.result)
        left = [await stock_of(pool, pair) for pair in pairs]
        assert left == list(scene.bought if scene.result is Confirmed else _UNTOUCHED)
        await house.replica(Mortal()).relay.relay()
        assert await house.audited() == {}


# After one step is before the next, so each is died at once; what scenes have in common, too.
_POINTS = [
    (name, step, after)
    for name, scene in SCENES.items()
    for step in range(0 if name == "bought" else scene.alone_from, len(scene.steps))
    for after in (False, True)
    if not after or step == len(scene.steps) - 1 or step < 3
]


@pytest.mark.parametrize(
    ("name", "step", "after"),
    _POINTS,
    ids=[f"{n}-{'after' if a else 'before'}-{s}-{SCENES[n].steps[s]}" for n, s, a in _POINTS],
)
async def test_a_replica_that_dies_leaves_nothing_for_good(
    pool: asyncpg.Pool, name: str, step: int, after: bool
) -> None:
    scene, mortal = SCENES[name], Mortal(step, after=after)
    async with open_house(pool) as house:
        order, demands, pairs = await _order(house, scene)
        with contextlib.suppress(Died):
            # A reservation that is given back after the answer may be where it dies.
            await _replica(house, scene, mortal).checkout.run(order, demands)
        assert mortal.dead
        await mortal.come_to_rest()
        await _recover(house)
        assert await house.audited() == {}
        assert await pool.fetchval("SELECT count(*) FROM orders WHERE status = 'pending'") == 0
        confirmed = await pool.fetchval("SELECT count(*) FROM orders WHERE status = 'confirmed'")
        left = [await stock_of(pool, pair) for pair in pairs]
        assert left == list(scene.bought if confirmed else _UNTOUCHED)
        assert len(house.bus.events) == confirmed


_RECOVERIES = {
    "nothing": ("stalled", "lookup", "void", "fail", "holds_of", "call"),
    "authorized": ("stalled", "lookup", "capture", "confirm"),
    "captured": ("stalled", "lookup", "confirm"),
}


@pytest.mark.parametrize(
    ("charged", "step"),
    [(charged, step) for charged, steps in _RECOVERIES.items() for step in range(2, len(steps))],
)
async def test_a_recovery_that_dies_is_followed_by_another(
    pool: asyncpg.Pool, charged: str, step: int
) -> None:
    at = {"nothing": 3, "authorized": 4, "captured": 5}[charged]
    async with open_house(pool) as house:
        order, demands, _ = await _order(house, SCENES["bought"])
        with contextlib.suppress(Died):
            await house.replica(Mortal(at)).checkout.run(order, demands)
        house.clock.advance(60)
        dying = Mortal(step)
        with contextlib.suppress(Died):
            await house.replica(dying).recovery.settle_stalled()
        assert tuple(dying.steps) == _RECOVERIES[charged][: step + 1]
        await _recover(house)
        assert await house.audited() == {}
        status = await pool.fetchval(
            "SELECT status::text FROM orders WHERE order_id = $1", order.order_id
        )
        assert status == ("failed" if charged == "nothing" else "confirmed")
