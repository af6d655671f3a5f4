from __future__ import annotations

import asyncpg
import pytest

from storage.postgres import MigrationError, migrate


@pytest.mark.asyncio
async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    assert await migrate(database_url) == []


@pytest.mark.asyncio
async def test_an_altered_migration_is_refused(database_url: str, pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE migrations SET sha256 = 'other' WHERE name LIKE '0001%'")
    with pytest.raises(MigrationError, match="altered"):
        await migrate(database_url)


@pytest.mark.asyncio
async def test_a_database_from_a_newer_version_is_refused(
    database_url: str, pool: asyncpg.Pool
) -> None:
    await pool.execute("INSERT INTO migrations (name, sha256) VALUES ('9999_future', 'x')")
    with pytest.raises(MigrationError, match="newer version"):
        await migrate(database_url)


@pytest.mark.asyncio
async def test_stock_below_zero_is_refused_by_the_database(pool: asyncpg.Pool) -> None:
    constraint = await pool.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'inventory_never_oversold'"
    )
    assert constraint == "CHECK ((quantity >= 0))"
