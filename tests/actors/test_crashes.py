"""A replica dies before or after each of its calls; recovery and the audit see to the rest.

On Postgres: orders, stock and the provider's books are the real ones. A process that dies makes
no further call, whatever its tasks would still do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from actors.checkout import CheckoutResult, Confirmed, Refused
from actors.stock_client import LocalTransport
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState
from sim.provider import SimulatedProvider
from storage.audit import audit
from storage.orders import PostgresOrderBook
from storage.stock_journal import PostgresStockJournal
from tests.actors.drafts import draft, line
from tests.actors.memory import Clock, MemoryBus
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, stock_of
from tests.actors.shops import Shop, an_order
from tests.storage.books import Bus
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio


class Died(Exception):  # noqa: N818 - what happened, not what is wrong
    """The process is gone."""


class Mortal:
    """Counts the calls of one process through its ports, and ends it at one of them."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self._at = at
        self._after = after
        self.dead = False
        self.steps: list[str] = []
        self._under_way = 0
        self._idle = asyncio.Event()

    def watch(self, part: Any) -> Any:
        """`part`, through which the process dies."""
        return _Watched(part, self)

    async def step(self, name: str, call: Callable[[], Any]) -> Any:
        """One call of a port."""
        if self.dead:
            raise Died(name)
        dies = len(self.steps) == self._at
        self.steps.append(name)
        if dies and not self._after:
            self.dead = True
            raise Died(name)
        self._under_way += 1
        self._idle.clear()
        try:
            answer = await call()
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if dies:
            self.dead = True
            raise Died(name)
        return answer

    async def come_to_rest(self) -> None:
        """Until what was on its way when the process died has arrived."""
        if self._under_way:
            await self._idle.wait()


class _Watched:
    def __init__(self, part: Any, mortal: Mortal) -> None:
        self._part = part
        self._mortal = mortal

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            method = getattr(self._part, name)
            return await self._mortal.step(name, lambda: method(*args, **kwargs))

        return call


class SlowProvider(SimulatedProvider):
    """Holds run out while it authorizes."""

    def __init__(self, pool: asyncpg.Pool, expire: Callable[[], Any]) -> None:
        super().__init__(pool)
        self._expire = expire

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        state = await super().authorize(charge)
        await self._expire()
        return state


@dataclass
class House:
    """What survives a replica: database, owner, provider, bus."""

    pool: asyncpg.Pool
    clock: Clock
    owner: Any
    bus: MemoryBus

    def replica(self, mortal: Mortal, *, slow: bool = False) -> Shop:
        """A process of the shop."""
        provider: Any = SimulatedProvider(self.pool)
        if slow:
            provider = SlowProvider(self.pool, self._let_expire)
        return Shop(
            clock=self.clock,
            transport=mortal.watch(LocalTransport({"pool-0": self.owner})),
            orders=mortal.watch(PostgresOrderBook(self.pool, a_ring())),
            provider=mortal.watch(provider),
            sweep=PostgresStockJournal(self.pool),
            bus=self.bus,
        )

    async def _let_expire(self) -> None:
        self.clock.advance(3_601)
        await self.owner.call([])

    async def audited(self) -> dict[str, tuple[str, ...]]:
        """Broken promises, an hour later and without any grace."""
        report = await audit(
            self.pool,
            SimulatedProvider(self.pool),
            bus=Bus([event.subject for event in self.bus.events]),
            grace_s=0,
            now=datetime.now(UTC) + timedelta(hours=1),
        )
        return {v.promise.id: v.violations for v in report.verdicts if not v.ok}


@contextlib.asynccontextmanager
async def _open(pool: asyncpg.Pool) -> AsyncIterator[House]:
    clock = Clock(time.time())
    owner = an_owner(PostgresStockJournal(pool), clock=clock)
    async with running(owner):
        yield House(pool, clock, owner, MemoryBus())


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
    async with _open(pool) as house:
        order, demands, pairs = await _order(house, scene)
        result = await house.replica(mortal, slow=scene.slow).checkout.run(order, demands)
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
    async with _open(pool) as house:
        order, demands, pairs = await _order(house, scene)
        with contextlib.suppress(Died):
            # A reservation that is given back after the answer may be where it dies.
            await house.replica(mortal, slow=scene.slow).checkout.run(order, demands)
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
    async with _open(pool) as house:
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
