"""What operators read of the stock in Postgres: owners, pairs, hand-overs. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from domain.owners import Homes, is_dedicated
from storage.pairs import find_pair
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("stock_views")
_FIRST_ID = UUID(int=0)
DEDICATED_SHOWN_MAX = 1_000
GENERATIONS_SHOWN = 20
HANDOVERS_SHOWN = 20
MOVEMENTS_SHOWN = 20
READ_TIMEOUT_S = 5.0
SCANNED_MAX = 5_000
"""Pairs looked at for one page; a page of few finds may be short and have a next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFilter:
    """Which pairs; what is None does not matter."""

    sku: str | None = None
    warehouse: str | None = None
    product_id: UUID | None = None
    owner: str | None = None
    """An owner's name; pairs that are at home with it, or a dedicated one's own."""


@dataclass(frozen=True, slots=True)
class PairPage:
    """Rows in the order of their ids, and where the next page begins, if there is one."""

    rows: list[dict[str, Any]]
    next_after: UUID | None


class StockViews:
    """Rows for the operators' pages. Raises Unavailable when Postgres is not reached."""

    def __init__(self, pool: asyncpg.Pool, homes: Homes) -> None:
        self._pool = pool
        self._homes = homes

    async def owners(self) -> dict[str, dict[str, Any]]:
        """Newest epoch, node, pid, start and age in seconds of every owner there was, by name."""
        return {row["owner_name"]: row for row in await self._fetch("owners")}

    async def generations(self, owner: str) -> list[dict[str, Any]]:
        """What each of an owner's last generations wrote, newest first."""
        return await self._fetch("generations", owner, GENERATIONS_SHOWN)

    async def dedicated(self) -> list[dict[str, Any]]:
        """The pairs that have an owner of their own."""
        return await self._fetch("dedicated", DEDICATED_SHOWN_MAX)

    async def pairs(self, wanted: PairFilter, *, limit: int, after: UUID | None) -> PairPage:
        """A page of at most `limit` pairs whose ids come after `after`."""
        found: list[UUID] = []
        last, scanned = after or _FIRST_ID, 0
        batch = limit + 1
        while scanned < SCANNED_MAX:
            ids = await self._ids(wanted, last, batch)
            scanned += len(ids)
            for pair in ids:
                if self._is_with(pair, wanted.owner):
                    if len(found) == limit:
                        return PairPage(await self._rows(found), found[-1])
                    found.append(pair)
                last = pair
            if len(ids) < batch:
                return PairPage(await self._rows(found), None)
            batch = min(4 * batch, SCANNED_MAX)
        return PairPage(await self._rows(found), last)

    async def by_ids(self, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
        """These pairs by their ids; who is not there is left out."""
        return {row["inventory_id"]: row for row in await self._rows(ids)}

    async def pair(self, sku: str, warehouse: str) -> dict[str, Any] | None:
        """One pair with its last hand-overs and ledger lines; None if there is none."""
        inventory_id = await find_pair(self._pool, sku, warehouse)
        if inventory_id is None:
            return None
        [row] = await self._rows([inventory_id])
        [held] = await self._fetch("open_reservations", inventory_id)
        return {
            **row,
            "open_reservations": held["count"],
            "handovers": await self._fetch("handovers", inventory_id, HANDOVERS_SHOWN),
            "movements": await self._fetch("movements", inventory_id, MOVEMENTS_SHOWN),
        }

    def _is_with(self, pair: UUID, owner: str | None) -> bool:
        return owner is None or is_dedicated(owner) or self._homes.home_of(pair.bytes) == owner

    async def _ids(self, wanted: PairFilter, after: UUID, limit: int) -> list[UUID]:
        """The next ids, by the filter that leaves the fewest."""
        stored = wanted.owner
        if stored is not None and not is_dedicated(stored):
            stored = ""  # of the pool: which of it is not stored, but follows from the id
        values: tuple[Any, ...] = (after, limit, stored)
        if wanted.sku is not None:
            values += (wanted.warehouse, wanted.product_id, wanted.sku)
            rows = await self._fetch("ids_of_sku", *values)
        elif wanted.product_id is not None:
            rows = await self._fetch("ids_of_product", *values, wanted.warehouse, wanted.product_id)
        elif stored:
            rows = await self._fetch("ids_of_dedicated", *values, wanted.warehouse)
        elif wanted.warehouse is not None:
            rows = await self._fetch("ids_of_warehouse", *values, wanted.warehouse)
        else:
            rows = await self._fetch("ids", *values)
        return [row["inventory_id"] for row in rows]

    async def _rows(self, ids: list[UUID]) -> list[dict[str, Any]]:
        rows = await self._fetch("pairs", ids) if ids else []
        for row in rows:
            row["owner"] = row.pop("owner_name") or self._homes.home_of(row["inventory_id"].bytes)
        return rows

    async def _fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        rows = await reach(lambda: self._pool.fetch(_SQL[query], *values, timeout=READ_TIMEOUT_S))
        return [dict(row) for row in rows]
