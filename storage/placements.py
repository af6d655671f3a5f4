"""Where pairs are placed, and where operators want them; the PlacementBook on Postgres."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain.placement import LEAD_S, Place, Wish
from storage.pairs import find_pair
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("placements")
PLANNED_SHOWN_MAX = 1_000


class PostgresPlacements:
    """PlacementBook of domain.ports, and how operators write into it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def dedicated(self) -> dict[bytes, str]:
        rows = await reach(lambda: self._pool.fetch(_SQL["dedicated"]))
        return {row["inventory_id"].bytes: row["owner_name"] for row in rows}

    async def wishes(self) -> list[Wish]:
        rows = await reach(lambda: self._pool.fetch(_SQL["wishes"], LEAD_S))
        return [Wish(row["inventory_id"].bytes, Place(row["place"])) for row in rows]

    async def wish(
        self,
        placement_id: UUID,
        inventory_id: UUID,
        place: Place,
        *,
        actor: str,
        reason: str = "",
        from_at: datetime | None = None,
        until_at: datetime | None = None,
    ) -> None:
        """Write down where a pair is wanted, from now or a later moment (aware) on.

        Without `from_at` it replaces what was wished of the pair before; with one it is added.
        """

        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _SQL["add"],
                    *(placement_id, inventory_id, place.value, from_at, until_at, actor, reason),
                )
                if from_at is None:
                    await connection.execute(_SQL["end_others"], inventory_id, placement_id)

        await reach(write)

    async def find_pair(self, sku: str, warehouse: str) -> UUID | None:
        """The pair of a SKU and a warehouse's code."""
        return await find_pair(self._pool, sku, warehouse)

    async def owner_of(self, inventory_id: UUID) -> str | None:
        """The dedicated owner that has the pair now; empty: the pool; None: no such pair."""
        return await reach(lambda: self._pool.fetchval(_SQL["owner_of"], inventory_id))

    async def planned(self) -> list[dict[str, Any]]:
        """What is wished now and later, soonest first."""
        rows = await reach(lambda: self._pool.fetch(_SQL["planned"], PLANNED_SHOWN_MAX))
        return [dict(row) for row in rows]
