"""Processes of the shop that die at one of their calls or steps, and what survives them.

On Postgres: orders, stock and the provider's books are the real ones. A process that dies makes
no further call, whatever its tasks would still do.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from actors.stock_client import LocalTransport
from sim.provider import SimulatedProvider
from storage.audit import audit
from storage.orders import PostgresOrderBook
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock, MemoryBus
from tests.actors.owners import an_owner, running
from tests.actors.shops import Shop
from tests.storage.books import Bus
from tests.storage.keys import a_ring


class Died(Exception):  # noqa: N818 - what happened, not what is wrong
    """The process is gone."""


class Mortal:
    """Counts the calls of one process through its ports, and ends it at one of them, or where it
    reaches the pause point `point`."""

    def __init__(
        self, at: int | None = None, *, after: bool = False, point: str | None = None
    ) -> None:
        self._at = at
        self._after = after
        self._point = point
        self.dead = False
        self.steps: list[str] = []
        self.points: list[str] = []
        """Pause points that were reached."""
        self._under_way = 0
        self._idle = asyncio.Event()

    def watch(self, part: Any) -> Any:
        """`part`, through which the process dies."""
        return _Watched(part, self)

    async def reach(self, point: str) -> None:
        """The process is at a pause point."""
        if self.dead:
            raise Died(point)
        self.points.append(point)
        if point == self._point:
            self.dead = True
            raise Died(point)

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


@dataclass
class House:
    """What survives a replica: database, owner, provider, bus."""

    pool: asyncpg.Pool
    clock: Clock
    owner: Any
    bus: MemoryBus

    provider: Any

    def replica(self, mortal: Mortal, *, provider: Any = None, **changes: Any) -> Shop:
        """A process of the shop; `provider` is another way to the same books."""
        parts: dict[str, Any] = {
            "clock": self.clock,
            "transport": mortal.watch(LocalTransport({"pool-0": self.owner})),
            "orders": mortal.watch(PostgresOrderBook(self.pool, a_ring())),
            "provider": mortal.watch(provider or self.provider),
            "sweep": PostgresStockJournal(self.pool),
            "bus": self.bus,
            "pause": mortal.reach,
        }
        return Shop(**{**parts, **changes})

    async def let_expire(self) -> None:
        """Every hold runs out."""
        self.clock.advance(3_601)
        await self.owner.call([])

    async def audited(self) -> dict[str, tuple[str, ...]]:
        """Broken promises, an hour later and without any grace."""
        report = await audit(
            self.pool,
            self.provider,
            bus=Bus([event.subject for event in self.bus.events]),
            grace_s=0,
            now=datetime.now(UTC) + timedelta(hours=1),
        )
        return {v.promise.id: v.violations for v in report.verdicts if not v.ok}


@contextlib.asynccontextmanager
async def open_house(
    pool: asyncpg.Pool, *, provider: Any = None, bus: MemoryBus | None = None
) -> AsyncIterator[House]:
    """Everything that survives replicas, for the length of a `with`."""
    clock = Clock(time.time())
    owner = an_owner(PostgresStockJournal(pool), clock=clock)
    async with running(owner):
        books = provider or SimulatedProvider(pool)
        yield House(pool, clock, owner, bus or MemoryBus(), books)
