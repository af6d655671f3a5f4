"""What a reservation costs, and what a pair takes of memory, from 10 to 1,000,000 pairs.

One owner; before each size the table grows to it and the owner begins anew. First every pair is
loaded, which is timed apart; then callers reserve, each time of a pair drawn evenly from all. At
the largest size once more with an owner that may keep a fifth of the pairs, so that most
requests load their pair first.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import psutil
import uvloop

from actors.ray_runtime import ray_transport
from actors.routing import Routing
from actors.stock_client import StockClient, StockClientConfig
from actors.stock_owner import OwnerConfig
from benchmarks.callers import CallerProcesses, caller_processes
from benchmarks.engine import (
    OwnersTarget,
    addresses,
    engine,
    fill,
    measure_owners,
    owner_pids,
    pair_id,
    start_pool,
    stop_pool,
)
from benchmarks.figures import BenchOptions, BenchResult, Figure, Measured, Table, machine_facts
from domain.owners import pool_names
from domain.stock import Load, PairStatus
from serve_apps.composition import Parts, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop

SIZES = (10, 1_000, 100_000, 1_000_000)
QUICK_SIZES = (10, 1_000, 10_000)
"""Pairs in the table; the cost over all of them stands beside that over as many as the first."""
CALLERS = ((16, 1), (256, 2))
"""(callers, processes)."""
KEPT_PART = 5
"""The bounded owner keeps one pair in so many."""
MEMORY_FROM = 10_000
"""Pairs from which on what they take shows beside what the process takes anyway."""
OWNER = pool_names(1)
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
# What one size has sold must not be loaded with the next: holds are memory, too.
_GIVE_BACK = (
    "TRUNCATE inventory_reservations",
    "TRUNCATE stock_log",
    "UPDATE inventory SET quantity = quantity + reserved, reserved = 0 WHERE reserved > 0",
)
_GIVE_BACK_TIMEOUT_S = 300.0
_LOADS_AT_ONCE = 1_000
_LOAD_TIMEOUT_S = 60.0
_SETTLE_EVERY_S = 0.5
_SETTLED_WITHIN = 0.01
_SETTLE_TRIES_MAX = 20


class Touched(NamedTuple):
    """What came of loading every pair."""

    seconds: float
    bytes_before: int
    bytes_after: int


def run(options: BenchOptions) -> BenchResult:
    """Measure every size; raises if a figure does not agree with Postgres."""
    with engine(options) as settings, caller_processes(2) as group:
        return uvloop.run(_measure_all(settings, options, group))


@dataclass(slots=True)
class _Found:
    """Figures by what they tell."""

    costs: dict[int, list[Figure]] = field(default_factory=lambda: {one: [] for one, _ in CALLERS})
    memory: list[Figure] = field(default_factory=list[Figure])
    loading: list[Figure] = field(default_factory=list[Figure])

    def tables(self) -> tuple[Table, ...]:
        costs = [
            Table(title=f"one reservation, {callers} callers", figures=tuple(figures))
            for callers, figures in self.costs.items()
        ]
        return (
            *costs,
            Table(title="loading a pair", figures=tuple(self.loading)),
            Table(title="memory of the owner's process per pair", figures=tuple(self.memory)),
        )


async def _measure_all(
    settings: Settings, options: BenchOptions, group: CallerProcesses
) -> BenchResult:
    sizes = QUICK_SIZES if options.quick else SIZES
    found = _Found()
    async with open_parts(settings, "bench") as parts:
        filled = 0
        for size, kept in [
            *((size, 2 * size) for size in sizes),
            (sizes[-1], sizes[-1] // KEPT_PART),
        ]:
            await fill(parts.pool, filled, size)
            filled = size
            await _measure_size(
                settings, parts, group, found, size=size, kept=kept, options=options
            )
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="scale",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "sizes": list(sizes), "quantity": 1},
            tables=found.tables(),
            notes=(
                "a ratio is the cost over all pairs ÷ the cost over ten of them, measured just before at"
                " the same owner and table; pairs are warm",
                "wal bytes are per reservation: the first change of a page after a checkpoint logs it"
                " whole, so many pairs on pages of their own cost more until all have been changed",
                "with 10 pairs a turn writes each row once for many reservations; from 1,000 on"
                " almost every reservation writes a row of its own",
                "where only some pairs are kept, most requests load theirs first",
                "bytes per pair are the growth of the process while it loaded all of them,"
                " by the pairs kept",
            ),
            audit=report.as_json(),
        )


async def _measure_size(
    settings: Settings,
    parts: Parts,
    group: CallerProcesses,
    found: _Found,
    *,
    size: int,
    kept: int,
    options: BenchOptions,
) -> None:
    """An owner that may keep `kept` pairs, over `size` of them, from its start to its end."""
    name = f"{size:,} pairs" + (f", {kept:,} kept" if kept < size else "")
    for statement in _GIVE_BACK:
        await parts.pool.execute(statement, timeout=_GIVE_BACK_TIMEOUT_S)
    await asyncio.to_thread(start_pool, settings, 1, OwnerConfig(pairs_max=kept))
    touched = await _touch(settings, parts, size)
    if size >= MEMORY_FROM:
        found.memory.append(_memory(name, touched, min(size, kept)))
    load_us = touched.seconds / size * 1e6
    found.loading.append(Figure(name=name, value=load_us, unit="µs/pair", better="lower"))
    where, key = await addresses(OWNER), settings.stream_key()
    for callers, processes in CALLERS:
        figures = found.costs[callers]
        few = f"{SIZES[0]} of {name}"
        # Few pairs and all of them, one after the other: a machine's own speed drifts by more.
        for pairs, shown, beside in ((SIZES[0], few, None), (size, name, few)):
            written = await parts.pool.fetchval(_WAL)
            seen = await measure_owners(
                group,
                parts.pool,
                OwnersTarget(where=where, key=key, pairs=pairs),
                processes=processes,
                concurrency=callers,
                seconds=options.seconds,
            )
            log = await parts.pool.fetchval(_WAL) - written
            figures.append(
                _cost(
                    shown,
                    seen,
                    beside=beside,
                    loaded=touched.bytes_after,
                    after=await _resident(parts),
                    log=log,
                )
            )
    await stop_pool(settings, parts.pool, 1)


async def _touch(settings: Settings, parts: Parts, size: int) -> Touched:
    """Let the owner load every pair."""
    client = StockClient(
        ray_transport(settings.stream_key()),
        Routing(OWNER),
        monotonic=time.monotonic,
        config=StockClientConfig(call_timeout_s=_LOAD_TIMEOUT_S, deadline_s=_LOAD_TIMEOUT_S),
    )
    await addresses(OWNER)
    before = await _settled(parts)
    began = time.perf_counter()
    for begin in range(0, size, _LOADS_AT_ONCE):
        numbers = range(begin, min(size, begin + _LOADS_AT_ONCE))
        answers = await client.ask([Load(pair_id(number)) for number in numbers])
        if any(answer.status != PairStatus.DONE for answer in answers):
            raise RuntimeError(f"pairs {numbers} were not loaded: {answers[0]}")
    seconds = time.perf_counter() - began
    return Touched(seconds, before, await _settled(parts))


async def _resident(parts: Parts) -> int:
    """Bytes of the owner's process in memory."""
    return psutil.Process((await owner_pids(parts.pool))[OWNER[0]]).memory_info().rss


async def _settled(parts: Parts) -> int:
    """The same, once it stays what it is: what was loaded is still being published."""
    last = await _resident(parts)
    for _ in range(_SETTLE_TRIES_MAX):
        await asyncio.sleep(_SETTLE_EVERY_S)
        now = await _resident(parts)
        if abs(now - last) <= _SETTLED_WITHIN * last:
            return now
        last = now
    return last


def _memory(name: str, touched: Touched, kept: int) -> Figure:
    grown = touched.bytes_after - touched.bytes_before
    return Figure(
        name=name,
        value=max(grown, 0) / kept,
        unit="bytes/pair kept",
        better="lower",
        details={
            "empty_MiB": touched.bytes_before / 2**20,
            "loaded_MiB": touched.bytes_after / 2**20,
        },
    )


def _cost(
    name: str, seen: Measured, *, beside: str | None, loaded: int, after: int, log: int
) -> Figure:
    """A size's cost, beside that of the smallest; memory, and what went to Postgres' log."""
    return Figure(
        name=name,
        value=1e6 / seen.durable_per_second,
        unit="µs/reservation",
        better="lower",
        peer_of=beside,
        reference=True,
        details={
            "per_s": seen.durable_per_second,
            "p50_ms": seen.p50_ms,
            "p99_ms": seen.p99_ms,
            "refused": seen.refused,
            "loaded_MiB": loaded / 2**20,
            "sold_MiB": after / 2**20,
            "wal_bytes": log / seen.accepted,
        },
    )
