"""A storm of checkouts: many buyers, a provider that fails, processes that die; then the audit.

Everything but the network is real: owner, client, saga, recovery and relay of `actors`, Postgres,
and the simulated provider with faults by a seeded plan. Buyers, carts and faults follow from the
seed; what meets when is up to the machine, so two runs are alike and not the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from actors.stock_owner import OwnerClocks, StockOwner
from domain.catalog import ListedProduct, Product
from domain.fraud import Scoring
from domain.orders import OutboxEvent
from domain.owners import Homes
from domain.ports import Unavailable
from domain.promises import AuditReport
from sim.catalog import WAREHOUSES, hot_product
from sim.provider import SimulatedProvider
from sim.provider_faults import FaultPlan, FaultRates
from sim.storm_buyer import Buyer, Stormed
from sim.storm_process import OWNER, Lasting, MortalProcess, Patience, ProcessDied
from sim.storm_purchases import draw_purchase, probability_of_fraud
from storage.audit import audit
from storage.catalog import CatalogRepository
from storage.key_ring import DataKey, KeyRing
from storage.stock_journal import PostgresStockJournal

PRODUCTS = 60
SETTLED_WITHIN_S = 120.0
RECOVER_EVERY_S = 0.5
RECOVERY_DIES = 0.5
"""The chance that recovery dies together with the replica."""
VIOLATIONS_SHOWN_MAX = 20

_OPEN = """
    SELECT (SELECT count(*) FROM orders
            WHERE status IN ('pending', 'in_review', 'accepted', 'awaiting_payment'))
         + (SELECT count(*) FROM inventory_reservations WHERE status = 'active')
         + (SELECT count(*) FROM outbox WHERE published_at IS NULL)
"""
_BY_STATUS = "SELECT status::text, count(*) FROM orders GROUP BY 1"
_BY_FAILURE = "SELECT failure ->> 'kind', count(*) FROM orders WHERE status = 'failed' GROUP BY 1"
_NOT_AS_TOLD = """
    SELECT format('order %s: its buyer was told that it failed, and it is %s', order_id, status)
    FROM orders WHERE order_id = ANY ($1::uuid[]) AND status <> 'failed'
"""
# What an operator's decision does; half of the reviewed orders get one in time.
_ACCEPT = """
    UPDATE orders SET status = 'accepted', updated_at = now()
    WHERE status = 'in_review' AND get_byte(uuid_send(order_id), 15) < 128
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPlan:
    """How many checkouts, and what goes wrong."""

    checkouts: int
    fault_rate: float = 0.05
    """Share of the provider's calls that go wrong, in all ways alike."""
    seed: int = 1
    concurrency: int = 192
    """Buyers at once."""
    deaths_per_thousand: float = 2.0
    """How often the process that checks out dies, per thousand purchases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormResult:
    """What a storm came to."""

    plan: StormPlan
    seconds: float
    settled_s: float
    """From the last buyer's answer until nothing was open any more."""
    told: Counter[str]
    """How buyers' purchases ended for them."""
    orders: dict[str, int]
    """Orders by status."""
    failures: dict[str, int]
    """Failed orders by the kind of problem."""
    recovered: dict[str, int]
    """What recovery finished, unwound and released."""
    faults: dict[str, int]
    """Faults of the provider that calls met, by kind."""
    deaths: dict[str, int]
    hang_ups: int
    repeats: int
    violations: tuple[str, ...]
    report: AuditReport

    @property
    def ok(self) -> bool:
        """True if every promise was kept."""
        return self.report.ok and not self.violations

    def as_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "ok": self.ok,
            "seed": self.plan.seed,
            "checkouts": self.plan.checkouts,
            "fault_rate": self.plan.fault_rate,
            "seconds": round(self.seconds, 1),
            "settled_s": round(self.settled_s, 1),
            "checkouts_per_s": round(self.plan.checkouts / self.seconds, 1),
            "told": dict(sorted(self.told.items())),
            "orders": self.orders,
            "failures": self.failures,
            "recovered": self.recovered,
            "faults": {kind: count for kind, count in self.faults.items() if count},
            "deaths": self.deaths,
            "hang_ups": self.hang_ups,
            "repeats": self.repeats,
            "violations": list(self.violations),
            "audit": self.report.as_json(),
        }


class _Nobody:
    """Boards that nobody looks at."""

    async def publish(self, *_: Any, **__: Any) -> None:
        """Nothing is shown."""


@dataclass(slots=True)
class _Bus:
    """EventBus and EventBusReader: remembers which orders it was told of."""

    orders: set[UUID] = field(default_factory=set[UUID])

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Take the events."""
        self.orders.update(event.subject for event in events)

    async def confirmed_orders(self) -> AsyncIterator[UUID]:
        """All of them, once."""
        for order_id in self.orders:
            yield order_id


class PaymentStorm:
    """One storm on one migrated database that nothing else uses meanwhile."""

    def __init__(self, pool: asyncpg.Pool, plan: StormPlan) -> None:
        self._pool = pool
        self._plan = plan
        self._bus = _Bus()
        self._faults = FaultPlan(FaultRates.spread(plan.fault_rate), seed=plan.seed)
        self._provider = SimulatedProvider(pool, faults=self._faults)
        self._patience = Patience()
        self._lasting = Lasting(
            pool=pool,
            ring=_ring(),
            owner=_owner(pool),
            provider=self._provider,
            bus=self._bus,
        )
        self._scoring = Scoring(model=probability_of_fraud)
        self._replica = self._process()
        self._caretaker = self._process()
        self._recovered: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._dice = Random(plan.seed)
        self._stormed = Stormed()

    async def run(self, progress: Callable[[int], None] = lambda _: None) -> StormResult:
        """All purchases, then everything settled, then the audit."""
        asyncio.get_running_loop().set_exception_handler(_ignore_the_dead)
        products = await _stock_up(self._pool, self._plan.checkouts)
        await self._lasting.owner.start()
        owner = asyncio.create_task(self._lasting.owner.run())
        care = asyncio.create_task(self._care_for_ever())
        begun = time.perf_counter()
        try:
            await self._buy_all(products, progress)
            bought = time.perf_counter()
            await self._until_settled(care, owner)
            settled = time.perf_counter()
        finally:
            await _end(care)
        self._note_recovery()
        result = await self._judge(bought - begun, settled - bought)
        await _end(owner)
        return result

    def _process(self) -> MortalProcess:
        return MortalProcess(self._lasting, self._scoring, self._patience)

    async def _buy_all(
        self, products: Sequence[ListedProduct], progress: Callable[[int], None]
    ) -> None:
        numbers = iter(range(self._plan.checkouts))

        async def one_after_the_other() -> None:
            for number in numbers:
                purchase = draw_purchase(self._plan.seed, number, products)
                await Buyer(purchase, lambda: self._replica, self._provider, self._stormed).buy()
                progress(1)
                if self._dice.random() < self._plan.deaths_per_thousand / 1_000:
                    self._let_die()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._plan.concurrency, self._plan.checkouts)):
                group.create_task(one_after_the_other())

    def _let_die(self) -> None:
        self._replica.die()
        self._replica = self._process()
        self._deaths["replica"] += 1
        if self._dice.random() < RECOVERY_DIES:
            self._note_recovery()
            self._caretaker.die()
            self._caretaker = self._process()
            self._deaths["recovery"] += 1

    def _note_recovery(self) -> None:
        recovery = self._caretaker.recovery
        self._recovered["finished"] += recovery.finished_total
        self._recovered["unwound"] += recovery.unwound_total
        self._recovered["released"] += recovery.released_total

    async def _care_for_ever(self) -> None:
        """What the caretaker's loops do, and the operator."""
        while True:
            process = self._caretaker
            jobs = (
                process.recovery.settle_stalled,
                process.recovery.settle_waiting,
                process.recovery.release_abandoned,
                process.relay.relay,
            )
            for job in jobs:
                with contextlib.suppress(Unavailable, ProcessDied):
                    await job()
            await self._pool.execute(_ACCEPT)
            await asyncio.sleep(RECOVER_EVERY_S)

    async def _until_settled(self, *running: asyncio.Task[None]) -> None:
        """Until nothing is open any more; what still is then, the audit tells."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while await self._pool.fetchval(_OPEN) and time.monotonic() < deadline:
            for task in running:
                if task.done():
                    task.result()
            await asyncio.sleep(RECOVER_EVERY_S)

    async def _judge(self, seconds: float, settled_s: float) -> StormResult:
        stormed = self._stormed
        wrong = await self._pool.fetch(_NOT_AS_TOLD, list(stormed.refused))
        left = await self._pool.fetchval(_OPEN)
        violations = [*stormed.wrong, *(row[0] for row in wrong)]
        if left:
            violations.append(f"{left} orders, holds or events are open {SETTLED_WITHIN_S:g} s on")
        report = await audit(
            self._pool,
            self._provider,
            bus=self._bus,
            acknowledged=stormed.confirmed,
            grace_s=0.0,
            now=datetime.now(UTC),
        )
        return StormResult(
            plan=self._plan,
            seconds=seconds,
            settled_s=settled_s,
            told=stormed.told,
            orders=dict(sorted(await self._pool.fetch(_BY_STATUS))),
            failures=dict(sorted(await self._pool.fetch(_BY_FAILURE))),
            recovered=dict(self._recovered),
            faults={str(kind): count for kind, count in self._faults.met.items()},
            deaths=dict(self._deaths),
            hang_ups=stormed.hang_ups,
            repeats=stormed.repeats,
            violations=tuple(violations[:VIOLATIONS_SHOWN_MAX]),
            report=report,
        )


def _ring() -> KeyRing:
    key = DataKey("storm", os.urandom(32))
    return KeyRing((key,), random=os.urandom, monotonic=time.monotonic)


def _owner(pool: asyncpg.Pool) -> StockOwner:
    return StockOwner(
        OWNER,
        journal=PostgresStockJournal(pool),
        board=_Nobody(),
        metrics=_Nobody(),
        clocks=OwnerClocks(unix=time.time, monotonic=time.monotonic),
        homes=Homes((OWNER,)),
        node="storm",
        pid=os.getpid(),
    )


async def _stock_up(pool: asyncpg.Pool, checkouts: int) -> list[ListedProduct]:
    """Products of which some sell out and most never do."""
    catalog = CatalogRepository(pool)
    await catalog.add_warehouses(WAREHOUSES)
    plenty, scarce = 10 * checkouts, max(1, checkouts // 100)
    await catalog.import_products(
        [_product(number, scarce if number % 10 == 0 else plenty) for number in range(PRODUCTS)]
    )
    products, _ = await catalog.changed_since(None)
    return sorted(products, key=lambda one: one.handle)


def _product(number: int, stock: int) -> Product:
    like = hot_product(stock)
    kept = {house.code: stock for house in WAREHOUSES[: 1 + number % 2]}
    variant = replace(like.variants[0], sku=f"STORM-{number}", stock=kept)
    return replace(like, handle=f"storm-{number:03}", name=f"Storm {number}", variants=(variant,))


def _ignore_the_dead(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody asks any more what became of a dead process's tasks."""
    if not isinstance(context.get("exception"), ProcessDied):
        loop.default_exception_handler(context)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
