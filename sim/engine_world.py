"""A simulated hour of sale: buyers, operators, and a day on which everything breaks.

All of it from one seed: which faults there are and how often, what is bought, who dies when. The
owner, the client, the routing, the directory and recovery are the ones of the shop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

from actors.charges import Charges
from actors.directory import Directory
from actors.order_steps import OrderSteps
from actors.recovery import Recovery, RecoveryConfig
from actors.routing import Routing
from actors.settlement import Settlement
from actors.stock_client import StockClient, StockClientConfig
from domain.owners import pool_names
from domain.placement import PlacementPolicy, Placements
from domain.ports import OrderBook, Unavailable
from domain.stock import Answer, Load, Release, Request
from sim.engine_auditor import Auditor, Violation
from sim.engine_rows import PairRow
from sim.engine_shoppers import Shoppers
from sim.engine_story import Event, Heard, Story
from sim.engine_tables import Tables
from sim.engine_trouble import JUMP_S, Trouble
from sim.scripted_checkout import OverheardClient, ScriptedOrders, ScriptedProvider
from sim.scripted_cluster import Cluster, ScriptedTransport, SkewedClock
from sim.scripted_database import DatabaseOfProcess, Line, ScriptedDatabase
from sim.virtual_time import VirtualLoop, run

T = TypeVar("T")
BEGIN_UNIX = 1_800_000_000.0
QUIET_S = 60.0
GC_YOUNG = 50_000
"""New objects between two looks for garbage; Python's own 700 cost a twentieth of the run."""
CLIENTS = 3
POOL = 2
DIRECTORY_EVERY_S = 8.0
SWEEP_EVERY_S = 4.0
RECOVER_EVERY_S = 10.0
ORPHANED_AFTER_S = 600.0
"""Longer than a buyer here takes to order what is held; in the shop both happen at once."""
PAIRS = 24
VARIANTS = 12
BUYERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a seed's run came to, in numbers."""

    seed: int
    hours: float
    requests: int
    held: int
    turns: int
    hand_overs: int
    faults: dict[str, int]
    digest: str
    """Of everything that happened, in order: the same seed gives the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one seed."""

    facts: Facts
    violations: tuple[Violation, ...]
    events: tuple[Event | Heard, ...]


class World:
    """One run."""

    def __init__(self, seed: int, hours: float, loop: VirtualLoop) -> None:
        self.seed = seed
        self.hours = hours
        self.random = Random(seed)
        self._loop = loop
        self._end = hours * 3_600.0
        self.story = Story(loop.time)
        self._ids = itertools.count(1)
        clock = SkewedClock(loop.time, BEGIN_UNIX)
        self.tables = Tables(unix=clock.unix, elapsed=loop.time)
        self.database = ScriptedDatabase(self.tables, self.random, self.story.tell, loop.after)
        self.pool = pool_names(POOL)
        self.cluster = Cluster(
            self.database,
            self.random,
            loop.time,
            BEGIN_UNIX,
            self.pool,
            self.story.tell,
            self._broke,
            loop.after,
        )
        self.payments = ScriptedDatabase(self.tables, self.random, self.story.tell, loop.after)
        self.provider = ScriptedProvider(self.payments)
        self.orders = ScriptedOrders(self.database, Line(), self._unwinding)
        self.auditor = Auditor(JUMP_S)
        self._pairs: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shoppers = Shoppers(
            random=self.random,
            loop=loop,
            end=self._end,
            story=self.story,
            auditor=self.auditor,
            database=self.database,
            provider=self.provider,
            orders=self.orders,
            pairs=self._pairs,
            new_id=self.new_id,
        )
        self._trouble = Trouble(
            random=self.random,
            cluster=self.cluster,
            database=self.database,
            payments=self.payments,
            clock=clock,
            pairs=self._pairs,
            tell=self.story.tell,
            spawn=self._spawn,
        )

    # -- the stage ------------------------------------------------------------------------------

    def new_id(self) -> bytes:
        """16 bytes that no one has had before."""
        return next(self._ids).to_bytes(16)

    def _stock_up(self) -> None:
        variants = [self.new_id() for _ in range(VARIANTS)]
        for number in range(PAIRS):
            pair, variant = self.new_id(), variants[number % VARIANTS]
            units = self.random.choice((0, 1, 5, 20, 100, 1_000, 50_000))
            row = PairRow(variant, units)
            if self.random.random() < 0.1:
                row.safety_stock = self.random.randrange(3)
            self.tables.pairs[pair] = row
            self._pairs.append(pair)
            self.auditor.initial[pair] = units
        for variant in variants:
            backorder_max = self.random.choice((0, 0, 0, 30))
            customer_max = self.random.choice((0, 0, 0, 3))
            if backorder_max or customer_max:
                self.tables.policies[variant] = (backorder_max, customer_max)
        for pair, row in self.tables.pairs.items():
            limit = self.tables.policies.get(row.variant_id, (0, 0))[1]
            if limit:
                self.auditor.limits[pair] = (row.variant_id, limit)

    def _client(self) -> StockClient:
        transport = ScriptedTransport(self.cluster, f"client-{next(self._ids)}")
        config = StockClientConfig(batch_max=64, queue_max=1_000)
        return StockClient(transport, Routing(self.pool), monotonic=self._loop.time, config=config)

    def _directory(self) -> Directory:
        journal = DatabaseOfProcess(self.database, Line())
        policy = PlacementPolicy(promote_per_s=50, demote_per_s=5, cool_for_s=30, dedicated_max=4)
        return Directory(
            host=self.cluster,
            stock=self._client(),
            book=journal,
            reclaim=journal,
            metrics=self,
            placements=Placements(policy),
            pool=self.pool,
            monotonic=self._loop.time,
        )

    def _recovery(self, release: Callable[[list[Request]], Awaitable[list[Answer]]]) -> Recovery:
        """The shop's own; `release` is how it gives back."""
        orders = cast(OrderBook, self.orders)
        stock = OverheardClient(release)

        def now() -> datetime:
            return datetime.fromtimestamp(BEGIN_UNIX + self._loop.time(), UTC)

        settlement = Settlement(
            orders=orders,
            steps=OrderSteps(orders, monotonic=self._loop.time),
            charges=Charges({self.provider.name: self.provider}, monotonic=self._loop.time),
            stock=stock,
            new_id=lambda: UUID(bytes=self.new_id()),
            now=now,
        )
        return Recovery(
            orders=orders,
            settlement=settlement,
            stock=stock,
            sweep=DatabaseOfProcess(self.database, Line()),
            now=now,
            config=RecoveryConfig(orphaned_after_s=ORPHANED_AFTER_S),
        )

    async def _sweep(self, client: StockClient, requests: list[Request]) -> list[Answer]:
        for request in requests:
            if isinstance(request, Release):
                self.auditor.swept(request, self._loop.time())
        return await client.ask(requests)

    def _unwinding(self, order_id: bytes) -> None:
        self.auditor.unwinding(order_id, self._loop.time())

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """MetricsReader: the heat of the scenario."""
        hot = [
            {"inventory_id": pair.hex(), "requests_per_s": per_s}
            for pair, per_s in self._trouble.heat.items()
        ]
        return {"pool-0": {"alive": True, "hot_pairs": hot}}

    async def note_stopped(self, owner: str) -> None:
        """OwnerFigures: nobody looks at them here."""

    # -- the run --------------------------------------------------------------------------------

    async def play(self) -> Outcome:
        """The sale, with faults; then a quiet while; then the reckoning."""
        self._stock_up()
        for name in self.pool:
            await self.cluster.start(name)
        clients = [self._client() for _ in range(CLIENTS)]
        directory = self._directory()
        recovery = self._recovery(lambda requests: self._shoppers.ask(clients[0], requests))
        sweep = self._recovery(lambda requests: self._sweep(clients[0], requests))
        self._trouble.choose()
        self._spawn(self._every(DIRECTORY_EVERY_S, directory.place))
        self._spawn(self._every(DIRECTORY_EVERY_S, directory.watch))
        self._spawn(self._every(SWEEP_EVERY_S, sweep.release_abandoned))
        self._spawn(self._every(RECOVER_EVERY_S, recovery.settle_stalled))
        shoppers = self._shoppers
        buyers = [self._spawn(shoppers.buyer(clients[n % CLIENTS])) for n in range(BUYERS)]
        buyers.append(self._spawn(shoppers.operator(clients[0])))
        trouble = self._spawn(self._trouble.run())
        await self._until(self._end)
        trouble.cancel()
        self._trouble.calm()
        await asyncio.wait(buyers, timeout=QUIET_S)
        for task in buyers:
            if not task.done():
                self.auditor.complain(
                    "P4", "a caller is still waiting a minute after the last fault"
                )
            elif not task.cancelled() and task.exception():
                self.auditor.complain("P4", f"a caller failed: {task.exception()!r}")
        await self._until(self._loop.time() + QUIET_S)
        await self._last_word(clients)
        self.cluster.wanted.clear()
        self.auditor.charged(self.provider.charges, self.tables)
        violations = self.auditor.close(self.tables, self.database.generations)
        return self._outcome(violations)

    def _broke(self, text: str) -> None:
        self.auditor.complain("P10", text)

    async def _last_word(self, clients: list[StockClient]) -> None:
        """When nothing is wrong any more, every pair answers at once."""
        begun = self._loop.time()
        answers = await clients[0].ask([Load(pair) for pair in self._pairs])
        took = self._loop.time() - begun
        if took > 10.0 or any(answer.status for answer in answers):
            statuses = sorted({answer.status for answer in answers})
            self.auditor.complain(
                "P4", f"after the faults pairs answered {statuses} after {took:.1f} s"
            )

    def _outcome(self, violations: list[Violation]) -> Outcome:
        held = sum(one.held_at is not None for one in self.auditor.seen.values())
        facts = Facts(
            seed=self.seed,
            hours=self.hours,
            requests=self.auditor.answers,
            held=held,
            turns=len(self.tables.log),
            hand_overs=sum(
                one.handed_to is not None for line in self.tables.log for one in line.pairs
            ),
            faults=dict(sorted(self._trouble.counts.items())),
            digest=self.story.digest,
        )
        return Outcome(facts=facts, violations=tuple(violations), events=tuple(self.story.events))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        return task

    async def _until(self, at: float) -> None:
        await self._loop.after(max(0.0, at - self._loop.time()))

    async def _every(self, seconds: float, job: Callable[[], Awaitable[object]]) -> None:
        while True:
            await self._loop.after(seconds)
            try:
                await job()
            except Unavailable as error:
                self.story.tell(f"a pass was not finished: {error}")


def simulate(seed: int, hours: float) -> Outcome:
    """One run of a seed; the same seed and hours, the same outcome."""

    async def main(loop: VirtualLoop) -> Outcome:
        return await World(seed, hours, loop).play()

    with _rare_collections():
        return run(main)


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Nearly all that a run makes it keeps to its end, so looking for garbage finds little."""
    usual = gc.get_threshold()
    gc.set_threshold(GC_YOUNG, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
