"""Starting stock owners in this very process, and short ways to ask them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from actors.stock_owner import OwnerClocks, OwnerConfig, StockOwner
from domain.owners import Homes
from domain.stock import Release, Reserve
from tests.actors.memory import Clock, MemoryBoard, MemoryJournal, MemoryMetrics, Row

_numbers = itertools.count(1)


def new_id() -> bytes:
    """A fresh id of 16 bytes."""
    return next(_numbers).to_bytes(16)


def a_pair(journal: MemoryJournal, available: int) -> bytes:
    """A pair with so many units to reserve."""
    inventory_id = new_id()
    journal.rows[inventory_id] = Row(variant_id=new_id(), quantity=available)
    return inventory_id


def reserve(inventory_id: bytes, quantity: int = 1, *, ttl_s: float = 600.0) -> Reserve:
    """A reservation with fresh ids."""
    return Reserve(new_id(), new_id(), inventory_id, quantity, ttl_s)


def release(held: Reserve) -> Release:
    """The release of a reservation."""
    return Release(held.reservation_id, held.inventory_id)


def an_owner(
    journal: Any,
    *,
    clock: Clock | None = None,
    name: str = "pool-0",
    board: MemoryBoard | None = None,
    metrics: MemoryMetrics | None = None,
    pool: tuple[str, ...] = (),
    **config: Any,
) -> StockOwner:
    """An owner that publishes to nobody unless told otherwise."""
    unix = (clock or Clock()).unix
    return StockOwner(
        name,
        journal=journal,
        board=board or MemoryBoard(),
        metrics=metrics or MemoryMetrics(),
        clocks=OwnerClocks(unix=unix, monotonic=unix),
        homes=Homes(pool or (name,)),
        node="here",
        pid=1,
        config=OwnerConfig(**config),
    )


@contextlib.asynccontextmanager
async def running(*owners: StockOwner) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The owners' loops for the length of a `with`. What a loop raises comes out at its end."""
    for owner in owners:
        await owner.start()
    tasks = [asyncio.create_task(owner.run()) for owner in owners]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result
