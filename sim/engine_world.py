"""A simulated hour of sale: buyers, operators, and a day on which everything breaks.

All of it from one seed: which faults there are and how often, what is bought, who dies when. The
owner, the client, the routing and the directory are the ones of the shop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import itertools
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

from actors.directory import Directory
from actors.recovery import Recovery, RecoveryConfig
from actors.routing import Routing
from actors.stock_client import StockClient, StockClientConfig
from domain.owners import pool_names
from domain.payments import ChargeRequest
from domain.placement import PlacementPolicy, Placements
from domain.ports import OrderBook, Unavailable
from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    Load,
    Movement,
    MovementKind,
    MovementStatus,
    Release,
    Request,
    Reserve,
    ReserveStatus,
)
from sim.engine_auditor import Auditor, Violation
from sim.engine_tables import InstructionRow, PairRow, Tables
from sim.engine_trouble import JUMP_S, Trouble
from sim.scripted_checkout import CURRENCY, OverheardClient, ScriptedOrders, ScriptedProvider
from sim.scripted_cluster import Cluster
from sim.scripted_database import DatabaseOfProcess, Line, ScriptedDatabase
from sim.virtual_time import VirtualLoop, run

T = TypeVar("T")
BEGIN_UNIX = 1_800_000_000.0
QUIET_S = 60.0
EVENTS_KEPT = 20_000
GC_YOUNG = 50_000
"""New objects between two looks for garbage; Python's own 700 cost a twentieth of the run."""
CLIENTS = 3
POOL = 2
DIRECTORY_EVERY_S = 8.0
SWEEP_EVERY_S = 10.0
RECOVER_EVERY_S = 10.0
ORPHANED_AFTER_S = 600.0
"""Longer than a buyer here takes to order what is held; in the shop both happen at once."""
PAIRS = 24
VARIANTS = 12
CUSTOMERS = 40
BUYERS = 4
_HELD = (ReserveStatus.HELD, ReserveStatus.BACKORDERED)
_HEARD = struct.Struct("<dd16sqq")


class Event(NamedTuple):
    """Something that happened: when (virtual seconds), what, and the ids it is about."""

    at: float
    text: str
    about: tuple[bytes, ...] = ()


class Heard(NamedTuple):
    """An answer that a caller heard; an Event whose text is made only if somebody reads it."""

    at: float
    request: Request
    answer: Answer
    sent_at: float

    @property
    def text(self) -> str:
        """What was asked and answered."""
        ids = [one.lstrip(b"\0").hex()[-8:] for one in self.request if isinstance(one, bytes)]
        status, available = self.answer
        return (
            f"{type(self.request).__name__} of {' '.join(one for one in ids if one)}"
            f" sent at {self.sent_at:.3f}: {status} ({available})"
        )

    @property
    def about(self) -> tuple[bytes, ...]:
        """The ids it is about."""
        return tuple(one for one in self.request if isinstance(one, bytes) and one != NOBODY)


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
        self._events: deque[Event | Heard] = deque(maxlen=EVENTS_KEPT)
        self._digest = hashlib.sha256()
        self._ids = itertools.count(1)
        self.tables = Tables(unix=lambda: BEGIN_UNIX + loop.time(), elapsed=loop.time)
        self.database = ScriptedDatabase(self.tables, self.random, self.tell, loop.after)
        self.pool = pool_names(POOL)
        self.cluster = Cluster(
            self.database,
            self.random,
            loop.time,
            BEGIN_UNIX,
            self.pool,
            self.tell,
            self._broke,
            loop.after,
        )
        self.payments = ScriptedDatabase(self.tables, self.random, self.tell, loop.after)
        self.provider = ScriptedProvider(self.payments)
        self.orders = ScriptedOrders(self.database, Line(), self._unwinding)
        self.auditor = Auditor(JUMP_S)
        self._pairs: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._trouble = Trouble(
            random=self.random,
            cluster=self.cluster,
            database=self.database,
            payments=self.payments,
            pairs=self._pairs,
            tell=self.tell,
            spawn=self._spawn,
        )

    # -- the stage ------------------------------------------------------------------------------

    def tell(self, text: str, *about: bytes) -> None:
        """Remember that something happened."""
        self._events.append(Event(self._loop.time(), text, about))
        self._digest.update(f"{self._loop.time():.9f} {text}\n".encode())

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
        from sim.scripted_cluster import ScriptedTransport

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

    def _recovery(self, overheard: StockClient | None) -> Recovery:
        """The shop's own. What it unwinds the auditor hears through the given client; of what is
        swept it is not told, so a hold that is swept too early is missed by its caller."""
        stock = self._client()
        if overheard is not None:
            stock = OverheardClient(lambda requests: self._ask(overheard, requests))
        return Recovery(
            orders=cast(OrderBook, self.orders),
            provider=self.provider,
            stock=stock,
            sweep=DatabaseOfProcess(self.database, Line()),
            new_id=lambda: UUID(bytes=self.new_id()),
            now=lambda: datetime.fromtimestamp(self.tables.unix(), UTC),
            config=RecoveryConfig(orphaned_after_s=ORPHANED_AFTER_S),
        )

    def _unwinding(self, order_id: bytes) -> None:
        self.auditor.unwinding(order_id, self._loop.time())

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """MetricsReader: the heat of the scenario."""
        hot = [
            {"inventory_id": pair.hex(), "requests_per_s": per_s}
            for pair, per_s in self._trouble.heat.items()
        ]
        return {"pool-0": {"alive": True, "hot_pairs": hot}}

    # -- the run --------------------------------------------------------------------------------

    async def play(self) -> Outcome:
        """The sale, with faults; then a quiet while; then the reckoning."""
        self._stock_up()
        for name in self.pool:
            await self.cluster.start(name)
        clients = [self._client() for _ in range(CLIENTS)]
        directory = self._directory()
        recovery = self._recovery(clients[0])
        self._trouble.choose()
        self._spawn(self._every(DIRECTORY_EVERY_S, directory.place))
        self._spawn(self._every(DIRECTORY_EVERY_S, directory.watch))
        self._spawn(self._every(SWEEP_EVERY_S, self._recovery(None).release_abandoned))
        self._spawn(self._every(RECOVER_EVERY_S, recovery.settle_stalled))
        buyers = [self._spawn(self._buyer(clients[n % CLIENTS])) for n in range(BUYERS)]
        buyers.append(self._spawn(self._operator(clients[0])))
        trouble = self._spawn(self._trouble.run())
        await self._until(self._end)
        trouble.cancel()
        self._trouble.calm()
        await asyncio.wait(buyers, timeout=QUIET_S)
        for task in buyers:
            if not task.done():
                self._complain("P4", "a caller is still waiting a minute after the last fault")
            elif not task.cancelled() and task.exception():
                self._complain("P4", f"a caller failed: {task.exception()!r}")
        await self._until(self._loop.time() + QUIET_S)
        await self._last_word(clients)
        self.cluster.wanted.clear()
        self.auditor.charged(self.provider.charges, self.tables)
        violations = self.auditor.close(self.tables, self.database.generations)
        return self._outcome(violations)

    def _broke(self, text: str) -> None:
        self._complain("P10", text)

    def _complain(self, promise: str, text: str) -> None:
        self.auditor.violations.append(Violation(promise, text, ()))

    async def _last_word(self, clients: list[StockClient]) -> None:
        """When nothing is wrong any more, every pair answers at once."""
        begun = self._loop.time()
        answers = await clients[0].ask([Load(pair) for pair in self._pairs])
        took = self._loop.time() - begun
        if took > 10.0 or any(answer.status for answer in answers):
            statuses = sorted({answer.status for answer in answers})
            self._complain("P4", f"after the faults pairs answered {statuses} after {took:.1f} s")

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
            digest=self._digest.hexdigest(),
        )
        return Outcome(facts=facts, violations=tuple(violations), events=tuple(self._events))

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
                self.tell(f"a pass was not finished: {error}")

    async def _rest(self, seconds: float) -> None:
        """A while, but not beyond the end of the sale."""
        await self._until(min(self._loop.time() + seconds, self._end))

    # -- buyers ---------------------------------------------------------------------------------

    async def _ask(self, client: StockClient, requests: list[Request]) -> list[Answer]:
        """Ask, and tell the auditor what was said when."""
        sent_at = self._loop.time()
        for request in requests:
            self.auditor.sent(request, sent_at)
        answers = await client.ask(requests)
        now = self._loop.time()
        for request, answer in zip(requests, answers, strict=True):
            self.auditor.answered(request, answer, sent_at, now)
            self._events.append(Heard(now, request, answer, sent_at))
            self._digest.update(_HEARD.pack(now, sent_at, request.inventory_id, *answer))
        return answers

    def _wanted(self, order_id: bytes) -> Reserve:
        random = self.random
        # Zipf-like: the first pairs are much the hottest.
        pair = self._pairs[min(int(random.paretovariate(0.9)) - 1, PAIRS - 1)]
        quantity = random.choice((1, 1, 1, 2, 3, 10))
        ttl_s = random.choice((1.0, 5.0, 30.0, 60.0, 600.0, 600.0))
        if random.random() < 0.03:  # what no owner may accept
            quantity = random.choice((0, -1, 10**12))
        elif random.random() < 0.03:
            ttl_s = random.choice((0.5, 10_000.0, float("nan")))
        customer = random.randrange(CUSTOMERS).to_bytes(8).rjust(16, b"c")
        return Reserve(self.new_id(), order_id, pair, quantity, ttl_s, customer)

    async def _buyer(self, client: StockClient) -> None:
        random = self.random
        book = DatabaseOfProcess(self.database, Line())
        while self._loop.time() < self._end:
            order = self.new_id()
            wanted = [self._wanted(order) for _ in range(random.choice((1, 1, 2, 4)))]
            if random.random() < 0.03:  # a burst
                burst = [self._wanted(self.new_id()) for _ in range(random.randrange(40))]
                await asyncio.gather(*[self._ask(client, [one]) for one in burst])
            await self._shop(client, book, order, wanted)
            await self._rest(random.expovariate(1 / 10.0))

    async def _shop(
        self, client: StockClient, book: DatabaseOfProcess, order: bytes, wanted: list[Reserve]
    ) -> None:
        random = self.random
        answers = await self._ask(client, list(wanted))
        if random.random() < 0.2:
            answers = await self._ask(client, list(wanted))
        held = [one for one, said in zip(wanted, answers, strict=True) if said.status in _HELD]
        if random.random() < 0.05:
            other = wanted[0]._replace(quantity=wanted[0].quantity + 1)
            await self._ask(client, [other])
        await self._loop.after(random.choice((0.0, 0.05, 1.0, 20.0)))
        if held and random.random() < 0.1:
            extend = Extend(self.new_id(), held[0].reservation_id, held[0].inventory_id, 120.0)
            await self._ask(client, [extend])
            if random.random() < 0.5:
                await self._ask(
                    client, [random.choice((extend, extend._replace(extension_id=self.new_id())))]
                )
        way = random.random()
        if held and way < 0.5:
            await self._confirm(book, order, held, paid=len(held) == len(wanted))
        elif held and way < 0.8:
            releases: list[Request] = [
                Release(one.reservation_id, one.inventory_id) for one in held
            ]
            await self._ask(client, releases)
            if random.random() < 0.3:
                await self._ask(client, releases)
        if random.random() < 0.1:  # an old request comes again
            await self._ask(client, list(wanted))

    async def _confirm(
        self, book: DatabaseOfProcess, order: bytes, held: list[Reserve], *, paid: bool
    ) -> None:
        key, units = order.hex(), sum(one.quantity for one in held)
        self.auditor.confirm_sent(order)
        for _ in range(3):
            try:
                known, body = await book.record(order, key, f"{units}", units)
                if (known, body) != (order, f"{units}"):
                    self._complain("P6", f"the key {key} belongs to two orders")
                other, _ = await book.record(self.new_id(), key, "other", units)
                if other != order:
                    self._complain("P6", f"a second order under the key {key}")
                if paid and not await self._pay(order, units):
                    return
                status = await book.confirm(order)
                if paid and status in ("not_held", "failed"):
                    await self._give_back(order)
            except Unavailable:
                continue
            self.tell(f"order of {units} units: {status}", order, *(one[0] for one in held))
            self.auditor.confirmed(order, status, units, self._loop.time())
            return

    async def _pay(self, order: bytes, units: int) -> bool:
        """Hold the money and take it; False if there is none, or if the checkout dies on the way:
        then recovery finds the order."""
        self.orders.pending[order] = None
        dies_at = self.random.randrange(20)
        charge = ChargeRequest(order.hex(), units, CURRENCY, "card")
        if dies_at == 0 or (await self.provider.authorize(charge)).status == "voided":
            return False
        if dies_at == 1 or (await self.provider.capture(order.hex())).status != "captured":
            return False
        return dies_at != 2

    async def _give_back(self, order: bytes) -> None:
        """There is nothing to be had for the money."""
        await self.provider.refund(order.hex())
        await self.orders.fail([(UUID(bytes=order), {}, "refunded")])

    async def _operator(self, client: StockClient) -> None:
        random = self.random
        while self._loop.time() < self._end:
            await self._rest(random.expovariate(1 / 20.0))
            pair, kind = random.choice(self._pairs), random.choice(list(MovementKind))
            quantity = random.choice((1, 5, 50, 500))
            if kind == MovementKind.ADJUST and random.random() < 0.5:
                quantity = -quantity
            movement = Movement(self.new_id(), pair, kind, quantity)
            self.tables.instructions[movement.movement_id] = InstructionRow(pair, kind, quantity)
            for _ in range(random.choice((1, 1, 2, 5))):
                [answer] = await self._ask(client, [movement])
                if answer.status == MovementStatus.SHORT and random.random() < 0.5:
                    row = self.tables.instructions[movement.movement_id]
                    row.status = "refused" if row.status == "pending" else row.status


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
