"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from storage.postgres import open_pool
from tests.storage.journals import MemoryWorld, PostgresWorld, World


@pytest.fixture(params=["memory", "postgres"])
def url_or_none(request: pytest.FixtureRequest) -> str | None:
    """A database of the test's own, or None where the twin is tested."""
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest_asyncio.fixture
async def world(url_or_none: str | None) -> AsyncIterator[World]:
    """Each journal in turn."""
    if url_or_none is None:
        yield MemoryWorld()
        return
    pool = await open_pool(url_or_none, max_size=4)
    try:
        yield PostgresWorld(pool)
    finally:
        await pool.close()
