"""Durable reservations per second on one pair: the owner actor beside the case study's solutions.

All on the same embedded Postgres and Redis, in one run, in alternation: at each concurrency
first ours, then each peer. Ours goes the whole way: caller → stock client → stream → owner →
one transaction per turn → answer. First with the callers in this process, then in processes of
their own, where ours and each peer get the number of processes (and the peers that of
connections) with which they are fastest.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uvloop

from actors.ray_runtime import ray_transport
from actors.routing import Routing
from actors.stock_client import StockClient
from benchmarks.callers import CallerProcesses, caller_processes
from benchmarks.engine import (
    SOLD,
    OwnersTarget,
    addresses,
    best_of_owners,
    engine,
    fill,
    pair_id,
    rate,
    reserving,
    start_pool,
)
from benchmarks.figures import (
    BenchOptions,
    BenchResult,
    Figure,
    Measured,
    Table,
    closed_loop,
    machine_facts,
)
from benchmarks.seed_solutions import (
    REFERENCES,
    SEED_SOLUTIONS,
    SeedTarget,
    measure,
    open_peers,
    verify,
)
from domain.owners import pool_names
from serve_apps.composition import open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop

CONCURRENCIES = (1, 16, 64, 256)
QUICK_CONCURRENCIES = (64,)
CALLERS_ELSEWHERE = (256, 512, 1_024)
QUICK_CALLERS_ELSEWHERE = (256,)
PROCESSES = (1, 2, 4)
QUICK_PROCESSES = (2,)
PEER_LAYOUTS = ((1, 3), (2, 1), (2, 2), (4, 1))
"""(processes, connections of each) that the peers choose from; three connections from one
process served them best of 2 to 64."""
QUICK_PEER_LAYOUTS = ((1, 3), (2, 1))
STOCK = 100_000_000
PEER_STOCK = 1_000_000
OWNER = pool_names(1)
OURS = "stock owner, group commit"


def run(options: BenchOptions) -> BenchResult:
    """Measure every concurrency; raises if a figure does not agree with Postgres."""
    with engine(options) as settings, caller_processes() as group:
        start_pool(settings, 1)
        return uvloop.run(_measure_all(settings, options, group))


async def _measure_all(
    settings: Settings, options: BenchOptions, group: CallerProcesses
) -> BenchResult:
    async with (
        open_parts(settings, "bench") as parts,
        open_peers(settings.database_url, settings.redis_url) as (pool, redis),
    ):
        await fill(parts.pool, 0, 1, stock=STOCK)
        transport = ray_transport(settings.stream_key())
        client = StockClient(transport, Routing(OWNER), monotonic=time.monotonic)
        tables: list[Table] = []
        for concurrency in QUICK_CONCURRENCIES if options.quick else CONCURRENCIES:
            ours = await _ours(client, parts.pool, concurrency, options.seconds)
            figures = [rate(OURS, ours)]
            for kind in (*SEED_SOLUTIONS, *REFERENCES):
                solution = kind(pool, redis)
                seen = await measure(
                    solution, concurrency=concurrency, seconds=options.seconds, stock=PEER_STOCK
                )
                await solution.clear()
                reference = kind in REFERENCES
                figures.append(rate(solution.name, seen, OURS, reference=reference))
            title = f"{concurrency} callers in one process"
            tables.append(Table(title=title, figures=tuple(figures)))
        for concurrency in QUICK_CALLERS_ELSEWHERE if options.quick else CALLERS_ELSEWHERE:
            figures = [await _ours_elsewhere(group, settings, parts.pool, concurrency, options)]
            for kind in (*SEED_SOLUTIONS, *REFERENCES):
                solution = kind(pool, redis)
                figures.append(
                    await _peer_elsewhere(group, settings, solution, concurrency, options)
                )
            title = f"{concurrency} callers in other processes"
            tables.append(Table(title=title, figures=tuple(figures)))
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="hot-pair",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "quantity": 1},
            tables=tuple(tables),
            notes=(
                "each figure counts reservations that were committed before they were answered",
                "callers in other processes: each figure is the best of several numbers of"
                " processes, and for the peers of connections",
            ),
            audit=report.as_json(),
        )


async def _ours(
    client: StockClient, pool: asyncpg.Pool, concurrency: int, seconds: float
) -> Measured:
    """Our rate; RuntimeError if Postgres holds anything but what was answered."""
    before = await pool.fetchval(SOLD)
    reserve = reserving(client, itertools.repeat(pair_id(0)))
    measured = await closed_loop(reserve, concurrency=concurrency, seconds=seconds, stock=STOCK)
    written = await pool.fetchval(SOLD) - before
    if written != measured.accepted or not written:
        raise RuntimeError(
            f"{measured.accepted} reservations were answered, {written} are in Postgres"
        )
    return measured


async def _ours_elsewhere(
    group: CallerProcesses,
    settings: Settings,
    pool: asyncpg.Pool,
    concurrency: int,
    options: BenchOptions,
) -> Figure:
    """The best of several numbers of processes."""
    target = OwnersTarget(where=await addresses(OWNER), key=settings.stream_key())
    return await best_of_owners(
        group,
        pool,
        target,
        OURS,
        layouts=QUICK_PROCESSES if options.quick else PROCESSES,
        concurrency=concurrency,
        seconds=options.seconds,
        stock=STOCK,
    )


async def _peer_elsewhere(
    group: CallerProcesses,
    settings: Settings,
    solution: Any,
    concurrency: int,
    options: BenchOptions,
) -> Figure:
    """The best of the layouts."""
    kind = type(solution)
    found: list[Figure] = []
    for processes, connections in QUICK_PEER_LAYOUTS if options.quick else PEER_LAYOUTS:
        target = SeedTarget(
            kind=kind,
            database_url=settings.database_url,
            redis_url=settings.redis_url,
            connections=connections,
        )
        await solution.prepare(PEER_STOCK)
        work = functools.partial(
            group.measure,
            target,
            processes=processes,
            callers=concurrency,
            seconds=options.seconds,
            stock=PEER_STOCK,
        )
        seen = await asyncio.to_thread(work)
        await verify(solution, seen.accepted, PEER_STOCK)
        await solution.clear()
        found.append(
            rate(
                solution.name,
                seen,
                OURS,
                reference=kind in REFERENCES,
                processes=processes,
                connections=processes * connections,
            )
        )
    return max(found, key=lambda figure: figure.value)
