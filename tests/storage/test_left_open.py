"""Transactions that their client has left open: who waits for them, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from domain.ports import Unavailable
from storage import left_open
from storage.stock_journal import PostgresStockJournal
from tests.actors.postgres import until_someone_waits_for_a_lock
from tests.fault.partition import Hop, Way, unix

pytestmark = pytest.mark.asyncio

OWNER = "pool-0"
_FENCE = "UPDATE stock_turns SET turns = turns + 1 WHERE owner_name = 'pool-0'"
_WORK_UNTIL_TOLD = f"""
    DO $$ BEGIN
        {_FENCE};
        PERFORM pg_advisory_xact_lock(1); -- says that it is there
        WHILE NOT EXISTS (SELECT FROM sellers) LOOP END LOOP;
    END $$
"""
_AT_WORK = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_LONG_ANSWER = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
_STUCK = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
_TELL = "INSERT INTO sellers VALUES (gen_random_uuid(), 'enough')"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_open, "PATIENCE_S", 0.05)


class _Looks:
    """A pool that tells when someone has looked three times for who is in the way."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._looks = 0
        self.in_vain = asyncio.Event()

    def acquire(self) -> Any:
        """As the pool does."""
        return self._pool.acquire()

    async def fetch(self, *query: Any) -> list[asyncpg.Record]:
        """As the pool does."""
        found = await self._pool.fetch(*query)
        self._looks += 1
        if self._looks == 3:
            self.in_vain.set()
        return found


async def _until_closed(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    while not connection.is_closed():
        await pool.fetchval("SELECT 1")


async def test_a_turn_that_is_left_open_is_cut_off(pool: asyncpg.Pool, database_url: str) -> None:
    journal = PostgresStockJournal(pool)
    first = await journal.raise_epoch(OWNER, "here", 1)
    silent = await asyncpg.connect(database_url)
    await silent.execute(f"BEGIN; {_FENCE}")
    assert await journal.raise_epoch(OWNER, "here", 2) == first + 1
    await _until_closed(pool, silent)
    assert await pool.fetchval("SELECT sum(turns) FROM stock_turns") == 0


async def test_whoever_is_behind_the_turn_is_cut_off_too(
    pool: asyncpg.Pool, database_url: str
) -> None:
    """The turn itself waits, for an order's transaction that is left open."""
    journal = PostgresStockJournal(pool)
    first = await journal.raise_epoch(OWNER, "here", 1)
    silent = await asyncpg.connect(database_url)
    await silent.execute("BEGIN; LOCK TABLE inventory")
    turn = asyncio.create_task(pool.execute(f"BEGIN; {_FENCE}; LOCK TABLE inventory; COMMIT"))
    await until_someone_waits_for_a_lock(pool)
    assert await journal.raise_epoch(OWNER, "here", 2) == first + 1
    await turn  # it has got through, before the new generation
    assert await pool.fetchval("SELECT sum(turns) FROM stock_turns") == 1
    await _until_closed(pool, silent)


async def test_a_turn_whose_answer_nobody_reads_is_cut_off(
    pool: asyncpg.Pool, database_url: str
) -> None:
    """Postgres cannot even say that it is done: its client's buffers are full."""
    journal = PostgresStockJournal(pool)
    first = await journal.raise_epoch(OWNER, "here", 1)
    url = urlsplit(database_url)
    folder = parse_qs(url.query)["host"][0]
    async with Hop(unix(f"{folder}/.s.PGSQL.5432")) as hop:
        host, port = hop.address
        silent = await asyncpg.connect(
            f"postgresql://postgres@{host}:{port}{url.path}?sslmode=disable"
        )
        hop.block(Way.BACK)
        turn = asyncio.create_task(silent.execute(f"BEGIN; {_FENCE}; {_LONG_ANSWER}; COMMIT"))
        while not await pool.fetchval(_STUCK):
            pass
        assert await journal.raise_epoch(OWNER, "here", 2) == first + 1
        hop.cut()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await turn
    assert await pool.fetchval("SELECT sum(turns) FROM stock_turns") == 0


async def test_a_turn_that_is_being_worked_on_is_waited_for(pool: asyncpg.Pool) -> None:
    looks = _Looks(pool)
    journal = PostgresStockJournal(looks)  # type: ignore[arg-type]
    await journal.raise_epoch(OWNER, "here", 1)
    turn = asyncio.create_task(pool.execute(_WORK_UNTIL_TOLD))
    while not await pool.fetchval(_AT_WORK):
        pass
    raising = asyncio.create_task(journal.raise_epoch(OWNER, "here", 2))
    await looks.in_vain.wait()
    assert not raising.done()
    await pool.execute(_TELL)
    await turn
    assert await raising == 2


async def test_what_goes_wrong_meanwhile_is_told_as_ever(pool: asyncpg.Pool) -> None:
    await pool.execute("DROP TABLE stock_turns CASCADE")
    with pytest.raises(asyncpg.UndefinedTableError):
        await PostgresStockJournal(pool).raise_epoch(OWNER, "here", 1)
    await pool.close()
    with pytest.raises(Unavailable):
        await PostgresStockJournal(pool).raise_epoch(OWNER, "here", 1)
