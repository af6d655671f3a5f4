"""What goes wrong on a simulated day: who dies, stops, is cut off, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from domain.owners import is_dedicated
from domain.placement import Place, Wish
from domain.ports import Unavailable
from domain.turns import Turn
from sim.scripted_cluster import Cluster, Incarnation, NetworkFaults, SkewedClock
from sim.scripted_database import DatabaseFaults, Line, ScriptedDatabase

JUMP_S = 30.0


class Trouble:
    """Draws the faults of the day from the seed, and carries them out."""

    def __init__(
        self,
        *,
        random: Random,
        cluster: Cluster,
        database: ScriptedDatabase,
        payments: ScriptedDatabase,
        clock: SkewedClock,
        pairs: list[bytes],
        tell: Callable[..., None],
        spawn: Callable[[Any], Any],
    ) -> None:
        self._random = random
        self._cluster = cluster
        self._database = database
        self._payments = payments
        self._clock = clock
        self._pairs = pairs
        self._tell = tell
        self._spawn = spawn
        self._chosen: list[Callable[[], Awaitable[None]]] = []
        self.heat: dict[bytes, float] = {}
        """Requests per second by pair, as the directory is told."""
        self.counts: dict[str, int] = {}
        """How often each fault was carried out."""

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def choose(self) -> None:
        """Each seed has faults of its own, and some of them are quiet days."""
        random = self._random

        def chance(most: float) -> float:
            return random.random() * most if random.random() < 0.5 else 0.0

        self._database.faults = DatabaseFaults(
            refused=chance(0.02),
            answer_lost=chance(0.05),
            carried_out_late=chance(0.02),
            slow=chance(0.01),
        )
        self._payments.faults = DatabaseFaults(
            refused=chance(0.05),
            answer_lost=chance(0.1),
            carried_out_late=chance(0.1),
            slow=chance(0.05),
        )
        self._cluster.faults = NetworkFaults(
            request_lost=chance(0.01),
            answer_lost=chance(0.02),
            doubled=chance(0.1),
            late=chance(0.05),
            stale_route=chance(1.0),
        )
        every = (
            self._crash,
            self._pause,
            self._cut_from_database,
            self._cut_from_callers,
            self._succession,
            self._outage,
            self._clock_jump,
            self._hand_overs,
            self._heat_wave,
            self._node_lost,
            self._commit_unheard,
            self._hand_over_unheard,
        )
        self._chosen = [fault for fault in every if random.random() < 0.5]

    async def run(self) -> None:
        while self._chosen:
            await asyncio.sleep(self._random.expovariate(1 / 40.0))
            fault = self._random.choice(self._chosen)
            self._count(fault.__name__.strip("_"))
            self._spawn(self._carry_out(fault))

    async def _carry_out(self, fault: Callable[[], Awaitable[None]]) -> None:
        try:
            await fault()
        except Unavailable as error:
            self._tell(f"trouble had trouble: {error}")

    def _victim(self) -> Incarnation | None:
        names = sorted(name for name in self._cluster.incarnations if self._cluster.newest(name))
        return self._cluster.newest(self._random.choice(names)) if names else None

    async def _crash(self) -> None:
        if (one := self._victim()) is not None:
            self._cluster.kill(one)

    async def _pause(self) -> None:
        if (one := self._victim()) is not None:
            await self._stop(one)

    async def _stop(self, one: Incarnation) -> None:
        self._tell(f"{one.name}#{one.number} is stopped")
        one.line.awake.clear()
        await asyncio.sleep(self._random.uniform(0.05, 20.0))
        if self._random.random() < 0.6:
            await self._cluster.take_over(one.name)
        await asyncio.sleep(self._random.uniform(0.05, 5.0))
        self._tell(f"{one.name}#{one.number} wakes up")
        one.line.awake.set()

    async def _cut_from_database(self) -> None:
        if (one := self._victim()) is None:
            return
        self._tell(f"{one.name}#{one.number} is cut from the database")
        one.line.cut = True
        await asyncio.sleep(self._random.uniform(0.5, 20.0))
        if self._random.random() < 0.5:
            await self._cluster.take_over(one.name)
        one.line.cut = False

    async def _cut_from_callers(self) -> None:
        if (one := self._victim()) is None:
            return
        callers = self._cluster.callers
        some = self._random.choice((len(callers), len(callers), 1, 2))
        one.cut_from = frozenset(self._random.sample(callers, some))
        self._tell(f"{one.name}#{one.number} is cut from {some} of its callers")
        await asyncio.sleep(self._random.uniform(0.5, 20.0))
        if self._random.random() < 0.5:
            await self._cluster.take_over(one.name)
        one.cut_from = frozenset()

    async def _node_lost(self) -> None:
        """The cluster forgets a dedicated owner, which goes on where nobody looks."""
        hot = sorted(name for name in self._cluster.wanted if is_dedicated(name))
        if hot:
            name = self._random.choice(hot)
            self._tell(f"{name} is lost, and lives")
            self._cluster.wanted.pop(name)

    async def _succession(self) -> None:
        if (one := self._victim()) is not None:
            await self._cluster.take_over(one.name)

    async def _outage(self) -> None:
        gone, name = self._database, "the database"
        if self._random.random() < 0.3:
            gone, name = self._payments, "the payment provider"
        self._tell(f"{name} is away")
        gone.faults.out = True
        await asyncio.sleep(self._random.uniform(0.1, 15.0))
        gone.faults.out = False

    async def _clock_jump(self) -> None:
        """An owner's clock, or now and then the database's."""
        clock, whose = self._clock, "the database"
        if self._random.random() < 0.8:
            if (one := self._victim()) is None:
                return
            clock, whose = one.clock, f"{one.name}#{one.number}"
        clock.off_s = self._random.uniform(-JUMP_S / 2, JUMP_S / 2)
        self._tell(f"the clock of {whose} is {clock.off_s:+.1f} s off")

    async def _hand_overs(self) -> None:
        """The same pair to and fro, by hand, while it is bought."""
        pair = self._pairs[self._random.choice((0, 0, 0, 1, 2, 5))]
        for _ in range(self._random.choice((1, 2, 6))):
            for place in (Place.DEDICATED, Place.POOL):
                self._database.wished = [Wish(pair, place)]
                await asyncio.sleep(self._random.uniform(2.0, 18.0))
        self._database.wished = []

    async def _commit_unheard(self) -> None:
        """The next owner to commit a turn ends, or stands still, before it hears of it."""

        def strike(line: Line, turn: Turn) -> bool:
            return self._strike(self._cluster.behind(line), "a turn")

        self._database.ambush = strike

    async def _hand_over_unheard(self) -> None:
        """The same with a hand-over: it strikes who gives the pair, or who is to have it."""

        def strike(line: Line, turn: Turn) -> bool:
            if not turn.handed_to:
                return False
            to = next(iter(turn.handed_to.values()))
            takes = self._cluster.newest(to) if self._random.random() < 0.3 else None
            return self._strike(takes or self._cluster.behind(line), "a hand-over")

        self._database.ambush = strike
        await self._hand_overs()

    def _strike(self, one: Incarnation | None, what: str) -> bool:
        if one is None:
            return False
        self._tell(f"{what} was committed, and {one.name}#{one.number} is struck")
        if self._random.random() < 0.5:
            self._cluster.kill(one)
        else:
            self._spawn(self._carry_out(lambda: self._stop(one)))
        return True

    async def _heat_wave(self) -> None:
        self.heat = {pair: self._random.choice((0.0, 500.0)) for pair in self._pairs[:8]}
        await asyncio.sleep(self._random.uniform(1.0, 90.0))
        self.heat = {}

    def calm(self) -> None:
        """No more faults; clocks are right again."""
        self._tell("calm")
        self._chosen = []
        self.heat = {}
        self._database.wished = []
        self._database.ambush = None
        self._database.faults = DatabaseFaults()
        self._payments.faults = DatabaseFaults()
        self._clock.off_s = 0.0
        self._cluster.faults = NetworkFaults()
        for lives in self._cluster.incarnations.values():
            for one in lives:
                one.line.cut, one.cut_from = False, frozenset()
                one.line.awake.set()
                one.clock.off_s = 0.0
