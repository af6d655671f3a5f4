"""Batched SQL never oversells, answers repeats alike, and its connections never deadlock."""

from __future__ import annotations

import asyncio
import random
import time
import uuid

import asyncpg
import pytest

from benchmarks import batched_sql
from benchmarks.batched_sql import Asked, BatchedSql
from benchmarks.engine import fill, pair_id

pytestmark = pytest.mark.asyncio

_STATEMENTS = [(1, True), (1, False), (4, False)]


def _asked(pair: int, quantity: int = 1) -> Asked:
    ids = uuid.uuid4().bytes, uuid.uuid4().bytes
    return Asked(*ids, pair_id(pair), quantity, time.time() + 600)


async def _left(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch("SELECT quantity FROM batched_peer.inventory ORDER BY quantity")
    return [row["quantity"] for row in rows]


async def _books_agree(pool: asyncpg.Pool, sold: int) -> bool:
    return await pool.fetchval(batched_sql.SOLD) == sold and await pool.fetchval(batched_sql.BOOKS)


@pytest.mark.parametrize(("connections", "summed"), _STATEMENTS)
async def test_racing_batches_sell_exactly_what_there_is(
    pool: asyncpg.Pool, connections: int, summed: bool
) -> None:
    await fill(pool, 0, 3, stock=20)
    await batched_sql.prepare(pool)
    writer = BatchedSql(pool, connections=connections, summed=summed)
    answers = await asyncio.gather(*[writer.reserve(_asked(n % 3)) for n in range(300)])
    assert sum(answers) == 60
    assert await _left(pool) == [0, 0, 0]
    assert await _books_agree(pool, 60)


async def test_connections_that_want_the_same_rows_in_any_order_never_deadlock(
    pool: asyncpg.Pool,
) -> None:
    await fill(pool, 0, 20, stock=1_000_000)
    await batched_sql.prepare(pool)
    writer = BatchedSql(pool, connections=4)
    rng = random.Random(5)

    async def one_connection() -> int:
        sold = 0
        for _ in range(25):
            order = rng.sample(range(20), 20)
            sold += sum(await writer.settle([_asked(number) for number in order]))
        return sold

    async with asyncio.timeout(30):
        sold = sum(await asyncio.gather(*[one_connection() for _ in range(4)]))
    assert sold == 4 * 25 * 20
    assert await _books_agree(pool, sold)


@pytest.mark.parametrize(("connections", "summed"), _STATEMENTS)
async def test_a_repeat_is_answered_alike_and_sells_nothing(
    pool: asyncpg.Pool, connections: int, summed: bool
) -> None:
    await fill(pool, 0, 1, stock=10)
    await batched_sql.prepare(pool)
    writer = BatchedSql(pool, connections=connections, summed=summed)
    first, second = _asked(0), _asked(0)
    assert await writer.settle([first]) == [True]
    assert await writer.settle([first, second, second]) == [True, True, True]
    assert await asyncio.gather(writer.settle([second]), writer.settle([second])) == [[True]] * 2
    assert await _books_agree(pool, 2)


@pytest.mark.parametrize(("connections", "summed"), _STATEMENTS)
async def test_what_does_not_fit_is_refused_and_the_rest_of_the_batch_is_sold(
    pool: asyncpg.Pool, connections: int, summed: bool
) -> None:
    await fill(pool, 0, 2, stock=5)
    await batched_sql.prepare(pool)
    writer = BatchedSql(pool, connections=connections, summed=summed)
    batch = [_asked(0, 3), _asked(1, 5), _asked(0, 3), _asked(7)]
    assert await writer.settle(batch) == [True, True, False, False]
    assert await _left(pool) == [0, 2]


async def test_the_summed_statement_is_for_one_connection(pool: asyncpg.Pool) -> None:
    with pytest.raises(ValueError, match="deadlock"):
        BatchedSql(pool, connections=2, summed=True)
