"""A scripted cluster: owners as processes that crash, stop and wake up, and the ways to them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from actors.stock_owner import OwnerClocks, OwnerConfig, StockOwner
from actors.wire import pack_answers, pack_requests, unpack_answers, unpack_requests
from domain.owners import Homes
from domain.ports import StaleEpoch, Unavailable
from domain.stock import Answer, Request
from domain.turn_log import LogBounds
from sim.scripted_database import DatabaseOfProcess, Line, ScriptedDatabase

RESTART_S = (0.5, 3.0)
LOST_S = 3_600.0  # what never comes; callers give up long before
OWNER = OwnerConfig(
    publish_every_s=30.0,
    report_every_s=300.0,
    tidy_every_s=30.0,
    look_every_s=10.0,
    pairs_max=40,
    log=LogBounds(units_min=5, pairs_max=8, behind_max_s=40.0, forget_from=4),
)


class SkewedClock:
    """A process's clock: the world's, and what it is off by."""

    def __init__(self, elapsed: Callable[[], float], begin: float) -> None:
        self._elapsed = elapsed
        self._begin = begin
        self.off_s = 0.0

    def unix(self) -> float:
        """Unix seconds, as this process believes."""
        return self._begin + self._elapsed() + self.off_s


@dataclass(slots=True)
class NetworkFaults:
    """Chances per message, between 0 and 1."""

    request_lost: float = 0.0
    answer_lost: float = 0.0
    doubled: float = 0.0
    """The request arrives a second time, later; nobody waits for its answer."""
    late: float = 0.0
    """A message takes up to seconds, and others overtake it."""
    stale_route: float = 0.0
    """A caller still talks to an older incarnation, if one lives."""


@dataclass(slots=True)
class Incarnation:
    """One process of an owner."""

    name: str
    number: int
    owner: StockOwner
    line: Line
    clock: SkewedClock
    task: asyncio.Task[None] | None = None
    cut_from: frozenset[str] = frozenset()
    """The callers that do not reach it."""

    @property
    def alive(self) -> bool:
        """True while its loop runs."""
        return self.task is not None and not self.task.done()


class NoAvailability:
    """AvailabilityBoard that nobody looks at."""

    async def publish(self, available: Mapping[tuple[bytes, bytes], int]) -> None:
        """Nothing."""


class NoMetrics:
    """MetricsBoard that nobody looks at."""

    async def publish(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Nothing."""


@dataclass
class Cluster:
    """OwnerHost over scripted processes, which it starts again when they die."""

    database: ScriptedDatabase
    random: Random
    elapsed: Callable[[], float]
    begin_unix: float
    pool: tuple[str, ...]
    tell: Callable[[str], None]
    broke: Callable[[str], None]
    """Told when an owner ends for a reason that is none."""
    sleep: Callable[[float], Awaitable[None]]
    faults: NetworkFaults = field(default_factory=NetworkFaults)
    incarnations: dict[str, list[Incarnation]] = field(default_factory=dict)
    wanted: dict[str, None] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _restarting: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    doubles: set[asyncio.Task[None]] = field(default_factory=set)
    callers: list[str] = field(default_factory=list[str])

    async def running(self) -> set[str]:
        return set(self.wanted)

    async def start(self, owner: str) -> None:
        self.wanted[owner] = None
        if self.newest(owner) is None:
            await self._spawn(owner)

    async def stop(self, owner: str) -> None:
        self.wanted.pop(owner, None)
        for one in self.incarnations.get(owner, ()):
            self.kill(one, restart=False)

    async def replace(self, owner: str) -> None:
        newest = self.newest(owner)
        if newest is not None:
            self.kill(newest)

    async def ping(self, owners: Sequence[str], timeout_s: float) -> list[bool | None]:
        await self.sleep(0.002)
        answers: list[bool | None] = []
        for name in owners:
            one = self.newest(name)
            answers.append(None if one is None else self._reached(one))
        return answers

    def _reached(self, one: Incarnation) -> bool:
        return one.line.awake.is_set() and len(one.cut_from) < len(self.callers)

    def newest(self, owner: str) -> Incarnation | None:
        """The incarnation that the cluster knows of."""
        living = [one for one in self.incarnations.get(owner, ()) if one.alive]
        return living[-1] if living else None

    def behind(self, line: Line) -> Incarnation | None:
        """The living incarnation whose way to the database it is."""
        everyone = (one for lives in self.incarnations.values() for one in lives)
        return next((one for one in everyone if one.line is line and one.alive), None)

    def kill(self, one: Incarnation, *, restart: bool = True) -> None:
        """kill -9."""
        if one.task is not None and not one.task.done():
            self.tell(f"{one.name}#{one.number} is killed")
            one.task.cancel()
        if restart:
            self._restart_later(one.name)

    async def take_over(self, owner: str) -> None:
        """Start a successor while the old incarnation lives: it is a zombie from here on."""
        self.tell(f"{owner} gets a successor while it lives")
        await self._spawn(owner)

    def _restart_later(self, name: str) -> None:
        if name not in self.wanted or name in self._restarting:
            return

        async def restart() -> None:
            while name in self.wanted and self.newest(name) is None:
                await self.sleep(self.random.uniform(*RESTART_S))
                if name in self.wanted and self.newest(name) is None:
                    await self._spawn(name)

        task = self._restarting[name] = asyncio.get_running_loop().create_task(restart())
        task.add_done_callback(lambda _: self._restarting.pop(name, None))

    async def _spawn(self, name: str) -> None:
        line = Line()
        clock = SkewedClock(self.elapsed, self.begin_unix)
        number = next(self._numbers)
        owner = StockOwner(
            name,
            journal=DatabaseOfProcess(self.database, line),
            board=NoAvailability(),
            metrics=NoMetrics(),
            clocks=OwnerClocks(clock.unix, self.elapsed),
            homes=Homes(self.pool),
            node="sim",
            pid=number,
            config=OWNER,
        )
        try:
            await owner.start()
        except Unavailable:
            if self.newest(name) is None:
                self._restart_later(name)
            return
        one = Incarnation(name, number, owner, line, clock)
        one.task = asyncio.get_running_loop().create_task(owner.run())
        one.task.add_done_callback(lambda task: self._ended(one, task))
        lives = [other for other in self.incarnations.get(name, ()) if other.alive]
        self.incarnations[name] = [*lives, one]
        self.tell(f"{name}#{number} begins with epoch {owner.epoch}")

    def _ended(self, one: Incarnation, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StaleEpoch):
            self.tell(f"{one.name}#{one.number} finds that it is stale, and ends")
        elif error is not None:
            self.tell(f"{one.name}#{one.number} ends with {error!r}")
            self.broke(f"{one.name} ended with {error!r}")
        if self.newest(one.name) is None:
            self._restart_later(one.name)


class ScriptedTransport:
    """OwnerTransport of one caller process: packed as on the wire, and no connection to lose."""

    def __init__(self, cluster: Cluster, caller: str) -> None:
        self._cluster = cluster
        self._caller = caller
        cluster.callers.append(caller)

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        cluster, random, faults = self._cluster, self._cluster.random, self._cluster.faults
        one = self._route(owner)
        packed = pack_requests(requests)
        await self._travel()
        if random.random() < faults.request_lost:
            await cluster.sleep(LOST_S)
        if random.random() < faults.doubled:
            task = asyncio.get_running_loop().create_task(self._again(one, packed))
            cluster.doubles.add(task)
            task.add_done_callback(cluster.doubles.discard)
        answers = await self._at(one, packed)
        await self._travel()
        if random.random() < faults.answer_lost:
            if random.random() < 0.5:
                raise Unavailable(f"the connection to {owner} was lost")
            await cluster.sleep(LOST_S)
        return unpack_answers(answers)

    def _route(self, owner: str) -> Incarnation:
        cluster = self._cluster
        lives = cluster.incarnations.get(owner, ())
        living = [one for one in lives if one.task is not None and not one.task.done()]
        if not living:
            raise Unavailable(f"owner {owner} is not there")
        if len(living) > 1 and cluster.random.random() < cluster.faults.stale_route:
            return living[0]
        return living[-1]

    async def _at(self, one: Incarnation, packed: bytes) -> bytes:
        if self._caller in one.cut_from:
            await self._cluster.sleep(LOST_S)
        if not one.line.awake.is_set():
            await one.line.awake.wait()
        if not one.alive:
            raise Unavailable(f"{one.name} has died")
        answers = await one.owner.call(unpack_requests(packed), self._caller)
        if not one.line.awake.is_set():
            await one.line.awake.wait()
        if self._caller in one.cut_from:
            await self._cluster.sleep(LOST_S)
        return pack_answers(answers)

    async def _again(self, one: Incarnation, packed: bytes) -> None:
        await self._cluster.sleep(self._cluster.random.uniform(0.0, 20.0))
        try:
            async with asyncio.timeout(10.0):
                await self._at(one, packed)
        except (Unavailable, TimeoutError):
            return

    def _travel(self) -> Awaitable[None]:
        random = self._cluster.random
        if random.random() < self._cluster.faults.late:
            return self._cluster.sleep(random.uniform(0.1, 3.0))
        return self._cluster.sleep(0.0001 + 0.0009 * random.random())
