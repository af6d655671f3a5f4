"""Fixtures for all tiers: embedded servers once per run, a fresh database per test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

from storage.embedded import EmbeddedPostgres, EmbeddedRedis, temporary_servers
from storage.postgres import migrate, open_pool

# How long one example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# The tests' own Postgres may forget on a power cut; the shop's never does.
_FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_database_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedRedis]]:
    # Not below pytest's own folder: a second run resets that folder's permissions, and
    # Postgres, which does not run as root, is locked out of its data.
    with (
        tempfile.TemporaryDirectory(prefix="doorb-tests-", ignore_cleanup_errors=True) as home,
        temporary_servers(Path(home), postgres_settings=_FAST_AND_FORGETFUL) as both,
    ):
        yield both


@pytest.fixture(scope="session")
def template_database(servers: tuple[EmbeddedPostgres, EmbeddedRedis]) -> str:
    postgres, _ = servers
    postgres.ensure_database("template_shop")
    asyncio.run(migrate(postgres.url("template_shop")))
    return "template_shop"


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def database_url(
    servers: tuple[EmbeddedPostgres, EmbeddedRedis], template_database: str
) -> Iterator[str]:
    """A fresh, migrated database of this test's own."""
    postgres, _ = servers
    name = f"shop_{next(_database_numbers)}"
    admin = postgres.url("postgres")
    asyncio.run(_run(admin, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"'))
    yield postgres.url(name)
    asyncio.run(_run(admin, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def redis_url(servers: tuple[EmbeddedPostgres, EmbeddedRedis]) -> str:
    return servers[1].url


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A connection pool on the test's own database."""
    opened = await open_pool(database_url, max_size=8)
    try:
        yield opened
    finally:
        await opened.close()
