"""Owners that come and go in this very process, and a directory over them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from actors.directory import Directory, DirectoryConfig
from actors.stock_client import StockClient
from actors.stock_owner import StockOwner
from domain.placement import PlacementPolicy, Placements, Wish
from domain.ports import Unavailable
from domain.stock import Answer, Movement, Request
from tests.actors.memory import Clock, MemoryJournal
from tests.actors.owners import an_owner

POOL = ("pool-0", "pool-1")


class MemoryHost:
    """OwnerHost and OwnerTransport: owners over one journal, started and ended at will."""

    def __init__(self, journal: MemoryJournal, clock: Clock | None = None) -> None:
        self._journal = journal
        self._clock = clock or Clock()
        self.owners: dict[str, tuple[StockOwner, asyncio.Task[None]]] = {}
        self.hung: set[str] = set()
        self.replaced: list[str] = []

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The pool for the length of a `with`."""
        for name in POOL:
            await self.start(name)
        try:
            yield
        finally:
            for name in list(self.owners):
                await self.stop(name)

    async def running(self) -> set[str]:
        return set(self.owners)

    async def start(self, owner: str) -> None:
        if owner in self.owners:
            return
        one = an_owner(self._journal, clock=self._clock, name=owner, pool=POOL)
        await one.start()
        self.owners[owner] = (one, asyncio.create_task(one.run()))

    async def stop(self, owner: str) -> None:
        _, task = self.owners.pop(owner)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def replace(self, owner: str) -> None:
        self.replaced.append(owner)
        self.hung.discard(owner)
        await self.stop(owner)
        await self.start(owner)

    async def ping(self, owners: Sequence[str], timeout_s: float) -> list[bool | None]:
        return [one in self.owners and one not in self.hung for one in owners]

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        if owner not in self.owners or owner in self.hung:
            raise Unavailable(f"owner {owner} does not answer")
        return await self.owners[owner][0].call(requests, "client")


class MemoryPlacements:
    """PlacementBook over a journal's rows."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.said: list[Wish] = []

    async def dedicated(self) -> dict[bytes, str]:
        return {pair: row.owner for pair, row in self._journal.rows.items() if row.owner}

    async def wishes(self) -> list[Wish]:
        return list(self.said)


class MemoryHeat:
    """OwnerFigures that shows the heat a test sets; requests per second by pair."""

    def __init__(self) -> None:
        self.heat: dict[bytes, float] = {}
        self.stopped: list[str] = []

    async def read(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        hot = [
            {"inventory_id": pair.hex(), "requests_per_s": per_s}
            for pair, per_s in self.heat.items()
        ]
        return {"pool-0": {"alive": True, "hot_pairs": hot}}

    async def note_stopped(self, owner: str) -> None:
        self.stopped.append(owner)


def a_directory(
    host: MemoryHost,
    stock: StockClient,
    *,
    journal: MemoryJournal | None = None,
    book: MemoryPlacements | None = None,
    heat: MemoryHeat | None = None,
    monotonic: Callable[[], float] = lambda: 0.0,
    policy: PlacementPolicy | None = None,
    **config: float,
) -> Directory:
    """A directory over a host and what it shares with it."""
    journal = journal or MemoryJournal(lambda: 0.0)
    parts: dict[str, Any] = {
        "host": host,
        "book": book or MemoryPlacements(journal),
        "metrics": heat or MemoryHeat(),
        "config": DirectoryConfig(**config),  # type: ignore[arg-type]
    }
    return Directory(
        **parts,
        stock=stock,
        reclaim=journal,
        placements=Placements(policy or PlacementPolicy()),
        pool=POOL,
        monotonic=monotonic,
    )


class NothingAsked:
    """StockInBook in which nobody has asked for anything."""

    async def pending(self, limit: int) -> list[Movement]:
        return []

    async def refuse(self, movement_id: bytes, refusal: str) -> None:
        raise AssertionError("nothing was asked for")

    async def follow_up(self, limit: int) -> None:
        """Nothing follows."""

    async def reloads(self, limit: int) -> list[tuple[bytes, datetime]]:
        return []

    async def reloaded(self, inventory_id: bytes, asked_at: datetime) -> None:
        raise AssertionError("nothing was asked for")

    async def reorder(self, limit: int) -> int:
        return 0
