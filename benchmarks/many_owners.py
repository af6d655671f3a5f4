"""Fifty dedicated owners on one machine, each with a hot pair of its own, all selling at once.

They are started and given their pairs as the directory does it: a Ray actor each, and a
hand-over by the pool's owner. What Ray's scheduler is told of cores is bookkeeping; the cores
are those of the machine.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import psutil
import uvloop

from actors.ray_runtime import RayOwnerHost, ray_transport
from actors.routing import Routing
from actors.stock_client import StockClient
from benchmarks.callers import CallerProcesses, caller_processes
from benchmarks.engine import (
    OwnersTarget,
    addresses,
    engine,
    fill,
    measure_owners,
    owner_pids,
    pair_id,
    rate,
    start_pool,
)
from benchmarks.figures import BenchOptions, BenchResult, Figure, Table, machine_facts
from domain.owners import dedicated_name, owner_number, pool_names
from domain.stock import HandOver, Load, PairStatus
from serve_apps.composition import Parts, build_owner, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop

OWNERS = 50
QUICK_OWNERS = 5
STARTS_AT_ONCE = 2
CALLERS = (256, 1_024)
QUICK_CALLERS = (256,)
PROCESSES = 2
POOL = pool_names(1)
_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'doorbuster hot-%'
"""


def run(options: BenchOptions) -> BenchResult:
    """Start, hand over, sell; raises if a figure does not agree with Postgres."""
    with engine(options) as settings, caller_processes(PROCESSES) as group:
        start_pool(settings, 1)
        return uvloop.run(_measure_all(settings, options, group))


async def _measure_all(
    settings: Settings, options: BenchOptions, group: CallerProcesses
) -> BenchResult:
    count = QUICK_OWNERS if options.quick else OWNERS
    owners = tuple(dedicated_name(slot) for slot in range(count))
    async with open_parts(settings, "bench") as parts:
        await fill(parts.pool, 0, count)
        began = time.perf_counter()
        await _start(settings, owners)
        started_s = time.perf_counter() - began
        handed_s = await _hand_over(settings, owners)
        selling: list[Figure] = []
        target = OwnersTarget(
            where=await addresses((*POOL, *owners)),
            key=settings.stream_key(),
            pairs=count,
            held_by=dict(enumerate(owners)),
        )
        for callers in QUICK_CALLERS if options.quick else CALLERS:
            seen = await measure_owners(
                group,
                parts.pool,
                target,
                processes=PROCESSES,
                concurrency=callers,
                seconds=options.seconds,
            )
            connections = await parts.pool.fetchval(_CONNECTIONS)
            selling.append(rate(f"{callers} callers", seen, connections=connections))
        starting = [
            Figure(name="to start them all", value=started_s, unit="s", better="lower"),
            Figure(name="to hand each its pair", value=handed_s, unit="s", better="lower"),
        ]
        memory = await _memory(parts, owners)
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="owners",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "owners": count},
            tables=(
                Table(title=f"{count} dedicated owners", figures=tuple(starting)),
                Table(title="all selling at once", figures=tuple(selling)),
                Table(title="memory after it", figures=tuple(memory)),
            ),
            notes=("its own: what would be free if this process ended; the rest is shared",),
            audit=report.as_json(),
        )


async def _start(settings: Settings, owners: tuple[str, ...]) -> None:
    """A few at a time: each start is a second of a core."""
    host = RayOwnerHost(POOL, build_owner, settings.stream_key())
    free = asyncio.Semaphore(STARTS_AT_ONCE)

    async def start(owner: str) -> None:
        async with free:
            await host.start(owner)

    await asyncio.gather(*[start(owner) for owner in owners])


async def _hand_over(settings: Settings, owners: tuple[str, ...]) -> float:
    """Give pair N to owner N and let it load it; seconds it took."""
    client = StockClient(
        ray_transport(settings.stream_key()), Routing(POOL), monotonic=time.monotonic
    )
    began = time.perf_counter()
    for step in (
        [HandOver(pair_id(n), owner_number(owner)) for n, owner in enumerate(owners)],
        [Load(pair_id(n)) for n in range(len(owners))],
    ):
        answers = await client.ask(step)
        if any(answer.status != PairStatus.DONE for answer in answers):
            raise RuntimeError(f"not every pair was handed over: {answers}")
    return time.perf_counter() - began


async def _memory(parts: Parts, owners: tuple[str, ...]) -> list[Figure]:
    pids = await owner_pids(parts.pool)
    infos = [psutil.Process(pids[owner]).memory_full_info() for owner in owners]
    resident, own = [one.rss for one in infos], [one.uss for one in infos]
    figures = {
        "resident, each": sum(resident) / len(owners),
        "resident, all": sum(resident),
        "its own, each": sum(own) / len(owners),
        "its own, all": sum(own),
    }
    return [
        Figure(name=name, value=value / 2**20, unit="MiB", better="lower")
        for name, value in figures.items()
    ]
