"""Pairs by the names that people use: a SKU, and a warehouse's code."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from storage.sql import load
from storage.stock_journal import reach

_SQL = load("pairs")


async def find_pair(pool: asyncpg.Pool, sku: str, warehouse: str) -> UUID | None:
    """The pair's id, or None. Raises Unavailable."""
    return await reach(lambda: pool.fetchval(_SQL["find_pair"], sku, warehouse))
