"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from storage.postgres import open_pool
from tests.storage.journals import MemoryWorld, PostgresWorld, SimulatedWorld, World


@pytest.fixture(params=["memory", "simulated", "postgres"])
def journal_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of journal in turn."""
    return request.param


@pytest.fixture
def url_or_none(journal_kind: str, request: pytest.FixtureRequest) -> str | None:
    """A database of the test's own, or None where a twin is tested."""
    return request.getfixturevalue("database_url") if journal_kind == "postgres" else None


@pytest_asyncio.fixture
async def world(journal_kind: str, url_or_none: str | None) -> AsyncIterator[World]:
    """Each journal in turn."""
    if url_or_none is None:
        yield MemoryWorld() if journal_kind == "memory" else SimulatedWorld()
        return
    pool = await open_pool(url_or_none, max_size=4)
    try:
        yield PostgresWorld(pool)
    finally:
        await pool.close()
