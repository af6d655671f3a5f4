"""Reservations per second over 10,000 pairs, drawn by Zipf's law, beside batched SQL.

The same callers in the same kind of processes, the same picks, the same Postgres, the same rows
written. Ours with a pool of one owner and of two; batched SQL with one to four connections, both
statements (benchmarks/batched_sql.py says what it does and what it leaves out). Each with the
number of processes with which it is fastest.
"""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime

import asyncpg
import uvloop

from benchmarks import batched_sql
from benchmarks.batched_sql import BatchedSqlTarget
from benchmarks.callers import CallerProcesses, caller_processes
from benchmarks.engine import (
    STOCK,
    OwnersTarget,
    addresses,
    best_of_owners,
    engine,
    fill,
    rate,
    start_pool,
    stop_pool,
)
from benchmarks.figures import BenchOptions, BenchResult, Figure, Measured, Table, machine_facts
from domain.owners import pool_names
from serve_apps.composition import open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop

PAIRS = 10_000
EXPONENT = 1.0
CALLERS = (256, 1_024)
QUICK_CALLERS = (256,)
POOLS = (1, 2)
PROCESSES = (1, 2, 4)
QUICK_PROCESSES = (2,)
SQL_LAYOUTS = (
    (1, 1, True),
    (1, 1, False),
    (1, 2, False),
    (1, 4, False),
    (2, 1, False),
    (2, 2, False),
    (4, 1, False),
)
"""(processes, connections of each, summed)."""
QUICK_SQL_LAYOUTS = ((1, 1, True), (2, 1, False))


class PeerBooksError(RuntimeError):
    """Batched SQL's tables do not hold exactly what its callers were told."""


def run(options: BenchOptions) -> BenchResult:
    """Measure; raises if a figure does not agree with Postgres."""
    with engine(options) as settings, caller_processes(max(PROCESSES)) as group:
        return uvloop.run(_measure_all(settings, options, group))


async def _measure_all(
    settings: Settings, options: BenchOptions, group: CallerProcesses
) -> BenchResult:
    async with open_parts(settings, "bench") as parts:
        await fill(parts.pool, 0, PAIRS)
        callers = QUICK_CALLERS if options.quick else CALLERS
        found: dict[int, list[Figure]] = {count: [] for count in callers}
        for owners in POOLS:
            await asyncio.to_thread(start_pool, settings, owners)
            for count in callers:
                found[count].append(
                    await _ours(
                        group, settings, parts.pool, owners=owners, count=count, options=options
                    )
                )
            await stop_pool(settings, parts.pool, owners)
        tables: list[Table] = []
        for count in callers:
            best = max(found[count], key=lambda figure: figure.value)
            peers = await _peers(
                group, settings, parts.pool, ours=best.name, count=count, options=options
            )
            tables.append(Table(title=f"{count} callers", figures=(*found[count], *peers)))
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="pairs",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "pairs": PAIRS, "zipf_exponent": EXPONENT},
            tables=tuple(tables),
            notes=(
                "each figure counts reservations that were committed before they were answered",
                "ratios are of our best pool; batched SQL has no fence and publishes nothing",
            ),
            audit=report.as_json(),
        )


async def _ours(
    group: CallerProcesses,
    settings: Settings,
    pool: asyncpg.Pool,
    *,
    owners: int,
    count: int,
    options: BenchOptions,
) -> Figure:
    target = OwnersTarget(
        where=await addresses(pool_names(owners)),
        key=settings.stream_key(),
        pool=owners,
        pairs=PAIRS,
        exponent=EXPONENT,
    )
    name = "stock owner" if owners == 1 else f"pool of {owners} stock owners"
    return await best_of_owners(
        group,
        pool,
        target,
        name,
        layouts=QUICK_PROCESSES if options.quick else PROCESSES,
        concurrency=count,
        seconds=options.seconds,
        stock=STOCK,
    )


async def _peers(
    group: CallerProcesses,
    settings: Settings,
    pool: asyncpg.Pool,
    *,
    ours: str,
    count: int,
    options: BenchOptions,
) -> list[Figure]:
    figures: list[Figure] = []
    for processes, connections, summed in QUICK_SQL_LAYOUTS if options.quick else SQL_LAYOUTS:
        target = BatchedSqlTarget(
            database_url=settings.database_url,
            connections=connections,
            summed=summed,
            pairs=PAIRS,
            exponent=EXPONENT,
        )
        seen = await _measure_peer(
            group, pool, target, processes=processes, count=count, seconds=options.seconds
        )
        every = processes * connections
        statement = "summed" if summed else "windowed"
        shape = f"{every} connection{'s' if every > 1 else ''}, {processes} process"
        figures.append(
            rate(
                f"batched SQL, {statement}, {shape}{'es' if processes > 1 else ''}",
                seen,
                ours,
                processes=processes,
                connections=every,
            )
        )
    return figures


async def _measure_peer(
    group: CallerProcesses,
    pool: asyncpg.Pool,
    target: BatchedSqlTarget,
    *,
    processes: int,
    count: int,
    seconds: float,
) -> Measured:
    await batched_sql.prepare(pool)
    work = functools.partial(
        group.measure, target, processes=processes, callers=count, seconds=seconds, stock=STOCK
    )
    seen = await asyncio.to_thread(work)
    written, agree = await pool.fetchval(batched_sql.SOLD), await pool.fetchval(batched_sql.BOOKS)
    await pool.execute(batched_sql.DROP)
    if written != seen.accepted or not agree:
        raise PeerBooksError(
            f"{seen.accepted} reservations were answered, {written} are in Postgres"
            f" (rows agree: {agree}); do not use this figure"
        )
    return seen
