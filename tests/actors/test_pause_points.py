"""A process dies at every pause point, and so does every recovery that comes after it.

All ways through a checkout: paid at once, in parts, later, never, with nothing to pay, looked at
by an operator first. On Postgres, with a provider in memory that outlives the processes.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actors.checkout import Confirmed, KnownKey
from actors.settlement import INTERRUPTED
from actors.stock_client import LocalTransport
from domain.checkout_steps import PAUSE_POINTS, SAGA_POINTS, SETTLE_POINTS
from domain.fraud import Scoring
from domain.fraud_policy import FraudPolicy
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState
from domain.promises import Charge
from domain.stock import Answer, Request, Reserve, ReserveStatus
from tests.actors.drafts import SHIPPING_MINOR, TAX_MINOR, draft, line, part, transaction_of
from tests.actors.memory import MemoryBus, MemoryProvider
from tests.actors.mortal import Died, House, Mortal, open_house
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, stock_of
from tests.actors.shops import STALLED_AFTER_S, Hasty, MemoryShop, an_order

ROOT = Path(__file__).parents[2]
PASSES_MAX = 25
PASS_S = 20.0
REVIEWED = Scoring(policy=FraudPolicy(review_from=10.0, decline_from=99.0), model=lambda _: 1.0)
DECLINED = Scoring(policy=FraudPolicy(review_from=10.0, decline_from=20.0), model=lambda _: 1.0)


class Provider(MemoryProvider):
    """Books that outlive processes; the hold on `card_lapsing` is gone when it is to be taken."""

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        if charge.payment_token == "card_lapsing":
            return await self.void(charge)
        return await super().capture(charge)

    async def charges(self) -> AsyncIterator[Charge]:
        """For the audit."""
        for name, state in list(self.books.items()):
            yield Charge(
                transaction_id=name,
                amount_minor=state.amount_minor,
                currency=state.currency,
                status=state.status,
            )

    def approve_all(self) -> None:
        """Every buyer who was asked to do something has done it."""
        for name, state in list(self.books.items()):
            if state.status == "requires_action":
                self.approve(name)


class _Slow:
    """Holds run out while it authorizes, or while it captures."""

    def __init__(self, provider: Provider, house: House, method: str) -> None:
        self._provider, self._house, self._method = provider, house, method

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            answer = await getattr(self._provider, name)(*args)
            if name == self._method:
                await self._house.let_expire()
            return answer

        return call


class _Busy:
    """An owner that is asked for too much."""

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        del owner
        assert all(isinstance(request, Reserve) for request in requests)
        return [Answer(ReserveStatus.BUSY, 5)] * len(requests)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A way through the checkout."""

    points: tuple[str, ...]
    """What it reaches if nobody dies."""
    tokens: tuple[str, ...] = ("card_1",)
    """One for each part of the payment."""
    wanted: int = 2
    scoring: Scoring | None = None
    slow: str | None = None
    busy: bool = False
    coupon: bool = False
    """With a coupon, of which there is no use left."""
    approves: bool = False
    """What waits for its buyer is approved."""
    accepts: bool = False
    """An operator lets pass what waits for a decision."""
    ends: tuple[str, ...]
    """How its order may end if a process dies on the way."""


_BEGIN = ("held", "recorded")
_PAID = (*_BEGIN, "authorized", "captured", "confirmed")
_WAITS = (*_BEGIN, "authorized", "extended", "parked")
_REVIEW = (*_BEGIN, "scored", "extended", "parked")
_EITHER = ("confirmed", "failed")
SCENES = {
    "paid": Scene(points=_PAID, ends=_EITHER),
    "paid in two parts": Scene(points=_PAID, tokens=("card_1", "card_2"), ends=_EITHER),
    "nothing to pay": Scene(points=_PAID, tokens=(), ends=_EITHER),
    "declined": Scene(
        points=(*_BEGIN, "authorized", "failed"), tokens=("card_declined",), ends=("failed",)
    ),
    "one of two declined": Scene(
        points=(*_BEGIN, "authorized", "undone", "failed"),
        tokens=("card_1", "card_declined"),
        ends=("failed",),
    ),
    "one of two not captured": Scene(
        points=(*_BEGIN, "authorized", "captured", "undone", "failed"),
        tokens=("card_1", "card_lapsing"),
        ends=("failed",),
    ),
    "approved later": Scene(points=_WAITS, tokens=("card_3ds",), approves=True, ends=_EITHER),
    "a part approved later": Scene(
        points=_WAITS, tokens=("card_1", "card_3ds"), approves=True, ends=_EITHER
    ),
    "never approved": Scene(points=_WAITS, tokens=("card_1", "card_3ds"), ends=("failed",)),
    "looked at and accepted": Scene(points=_REVIEW, scoring=REVIEWED, accepts=True, ends=_EITHER),
    "accepted, then approved": Scene(
        points=_REVIEW,
        tokens=("card_3ds",),
        scoring=REVIEWED,
        accepts=True,
        approves=True,
        ends=_EITHER,
    ),
    "looked at by nobody": Scene(points=_REVIEW, scoring=REVIEWED, ends=("failed",)),
    "fraudulent": Scene(points=(*_BEGIN, "scored", "failed"), scoring=DECLINED, ends=("failed",)),
    "coupon used up": Scene(
        points=(*_BEGIN, "redeemed", "failed"), coupon=True, ends=("failed", "confirmed")
    ),
    "sold out": Scene(points=(*_BEGIN, "failed"), wanted=99, ends=("failed",)),
    "too slow": Scene(
        points=(*_PAID, "refunded", "failed"), slow="authorize", ends=("failed", "confirmed")
    ),
    "too slow to wait": Scene(
        points=(*_BEGIN, "authorized", "undone", "failed"),
        tokens=("card_3ds",),
        slow="authorize",
        ends=("failed",),
    ),
    "busy": Scene(points=(*_BEGIN, "withdrawn"), busy=True, ends=("failed", "gone")),
}


async def _order(pool: asyncpg.Pool, scene: Scene) -> tuple[OrderDraft, Any, bytes]:
    variant = uuid.uuid4()
    pair = await add_pair(pool, 5, variant_id=variant)
    _, demands = an_order([(scene.wanted, [pair])])
    lines = [line(scene.wanted, variant_id=variant)]
    order = draft(lines, promotions=((uuid.uuid4(), "TEN"),) if scene.coupon else ())
    if not scene.tokens:
        paid = {"discount_minor": lines[0].subtotal_minor + TAX_MINOR + SHIPPING_MINOR}
        return replace(order, total_minor=0, parts=(), **paid), demands, pair
    last = order.total_minor - 100 * (len(scene.tokens) - 1)
    amounts = [*[100] * (len(scene.tokens) - 1), last]
    parts = tuple(
        part(order.order_id, amount, token, name=f"charge{number}")
        for number, (amount, token) in enumerate(zip(amounts, scene.tokens, strict=True))
    )
    return replace(order, parts=parts), demands, pair


def _process(house: House, scene: Scene, mortal: Mortal) -> Any:
    changes: dict[str, Any] = {"scoring": scene.scoring}
    if scene.slow:
        changes["provider"] = mortal.watch(_Slow(house.provider, house, scene.slow))
    if scene.busy:
        changes |= {"transport": _Busy(), "monotonic": Hasty().monotonic}
    return house.replica(mortal, **changes)


async def _run_and_die(
    house: House, scene: Scene, point: str | None
) -> tuple[OrderDraft, bytes, Mortal]:
    order, demands, pair = await _order(house.pool, scene)
    mortal = Mortal(point=point)
    with contextlib.suppress(Died):
        await _process(house, scene, mortal).checkout.run(order, demands)
    await mortal.come_to_rest()
    assert mortal.dead == (point is not None), f"{point} was not reached: {mortal.points}"
    return order, pair, mortal


async def _settle(
    house: House, scene: Scene, order: OrderDraft, passed_over: str = ""
) -> tuple[str, set[str]]:
    """Recoveries, each of which dies at the first point that none before it died at, until one
    lives and nothing is open any more: (the order's status, where recoveries died)."""
    died_at, status = {passed_over}, ""
    for number in range(PASSES_MAX):
        status = await _status(house.pool, order)
        if status in ("confirmed", "failed", "gone"):
            return status, died_at
        if status == "in_review" and scene.accepts:
            await _accept(house.pool, order)
        if status == "awaiting_payment" and scene.approves:
            house.provider.approve_all()
        # What nobody does anything about is over at last.
        house.clock.advance(PASS_S if number < PASSES_MAX // 2 else 90_000)
        await _recover(house, _DiesAtNew(died_at))
    raise AssertionError(f"still {status} after {PASSES_MAX} passes; died at {sorted(died_at)}")


class _DiesAtNew(Mortal):
    """Dies at the first pause point at which nobody died before."""

    def __init__(self, died_at: set[str]) -> None:
        super().__init__()
        self._died_at = died_at

    async def reach(self, point: str) -> None:
        if not self.dead and point not in self._died_at:
            self._died_at.add(point)
            self.dead = True
        if self.dead:
            raise Died(point)


async def _recover(house: House, mortal: Mortal) -> None:
    recovery = house.replica(mortal).recovery
    with contextlib.suppress(Died):
        await recovery.settle_stalled()
        await recovery.settle_waiting()
    await mortal.come_to_rest()


async def _clean_up(house: House) -> None:
    """What a caretaker that lives does in the end."""
    house.clock.advance(PASS_S)
    last = house.replica(Mortal())
    await last.recovery.release_abandoned()
    await last.relay.relay()
    assert await last.recovery.release_abandoned() == 0


async def _status(pool: asyncpg.Pool, order: OrderDraft) -> str:
    status = await pool.fetchval(
        "SELECT status::text FROM orders WHERE order_id = $1", order.order_id
    )
    return status or "gone"


async def _accept(pool: asyncpg.Pool, order: OrderDraft) -> None:
    await pool.execute(
        "UPDATE orders SET status = 'accepted' WHERE order_id = $1 AND status = 'in_review'",
        order.order_id,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(SCENES))
async def test_whoever_dies_where_leaves_nothing_for_good(pool: asyncpg.Pool, name: str) -> None:
    scene, provider, bus = SCENES[name], Provider(), MemoryBus()
    for point in (None, *scene.points):
        async with open_house(pool, provider=provider, bus=bus) as house:
            order, pair, mortal = await _run_and_die(house, scene, point)
            if point is None:
                assert tuple(mortal.points) == scene.points
            status, _ = await _settle(house, scene, order)
            await _clean_up(house)
        assert status in scene.ends, f"died at {point}"
        left = await stock_of(pool, pair)
        assert left == ((5 - scene.wanted, scene.wanted) if status == "confirmed" else (5, 0))
        states = {
            part.transaction_id: provider.books.get(part.transaction_id) for part in order.parts
        }
        if status == "confirmed":
            assert {state.status for state in states.values() if state} <= {"captured"}
            assert None not in states.values()
        else:
            alive = {"captured", "authorized", "requires_action"}
            assert not [one for one in states.values() if one and one.status in alive]
        assert await house.audited() == {}, f"died at {point}"


@pytest.mark.asyncio
async def test_recoveries_die_at_each_of_their_points(pool: asyncpg.Pool) -> None:
    """Together the scenes leave out no point of recovery."""
    died_at: set[str] = set()
    # (where the saga dies, the point of recovery that is passed over)
    begin = {
        "paid": ("authorized", ""),
        "one of two not captured": ("authorized", "settle.failed"),
        "one of two declined": ("authorized", ""),
        "approved later": ("authorized", ""),
        "looked at and accepted": (None, ""),
    }
    for name, (point, passed_over) in begin.items():
        async with open_house(pool, provider=Provider()) as house:
            scene = SCENES[name]
            order, _, _ = await _run_and_die(house, scene, point)
            died_at |= (await _settle(house, scene, order, passed_over))[1] - {passed_over}
    assert died_at >= SETTLE_POINTS.keys(), SETTLE_POINTS.keys() - died_at


@pytest.mark.asyncio
async def test_what_was_paid_while_its_checkout_slept_is_not_given_back() -> None:
    """P7: the bank asks the buyer by itself, recovery confirms; then the saga wakes up."""
    shop = MemoryShop()
    pair = shop.pair(5)
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def pause(point: str) -> None:
        if point == "authorized":
            asleep.set()
            await wake.wait()

    successor = an_owner(shop.journal, clock=shop.clock)
    owners: dict[str, Any] = {"pool-0": shop.owner}
    replica = shop.wire(pause=pause, transport=LocalTransport(owners))
    async with shop.open() as parts:
        order, demands = an_order([(2, [pair])], payment_token="card_3ds")
        saga = asyncio.create_task(replica.checkout.run(order, demands))
        await asleep.wait()
        shop.provider.approve(transaction_of(order))
        shop.clock.advance(STALLED_AFTER_S + 1)
        await parts.recovery.settle_stalled()
        assert shop.orders.orders[order.order_id].status == "confirmed"
    # Whatever the owner remembers: its successor knows no hold of this order, it is allocated.
    owners["pool-0"] = successor
    async with running(successor):
        wake.set()
        assert await saga == Confirmed()
    assert shop.provider.books[transaction_of(order)].status == "captured"
    assert shop.left(pair) == 3


@pytest.mark.asyncio
async def test_a_buyer_is_told_the_same_as_on_each_repeat_if_recovery_was_faster() -> None:
    """P6: recovery unwinds what a saga was about to decline, and each has its own reason."""
    shop = MemoryShop()
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def pause(point: str) -> None:
        if point == "scored":
            asleep.set()
            await wake.wait()

    replica = shop.wire(pause=pause, scoring=DECLINED)
    async with shop.open() as parts:
        order, demands = an_order([(2, [shop.pair(5)])])
        saga = asyncio.create_task(replica.checkout.run(order, demands))
        await asleep.wait()
        shop.clock.advance(STALLED_AFTER_S + 1)
        await parts.recovery.settle_stalled()
        wake.set()
        told = await saga
        assert isinstance(told, KnownKey)
        assert told.order.failure == INTERRUPTED
        assert await replica.checkout.run(order, demands) == told


def _reached_in_the_code() -> Iterator[str]:
    for path in sorted((ROOT / "actors").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "reach" and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def test_the_list_has_what_the_code_reaches_and_nothing_else() -> None:
    assert set(_reached_in_the_code()) == set(PAUSE_POINTS)


def test_every_point_of_a_saga_is_one_that_a_process_dies_at_here() -> None:
    assert {point for scene in SCENES.values() for point in scene.points} == set(SAGA_POINTS)


def test_every_point_is_told_of_in_the_documents() -> None:
    text = (ROOT / "docs" / "checkout.md").read_text()
    assert [point for point in PAUSE_POINTS if f"`{point}`" not in text] == []
