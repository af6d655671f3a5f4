"""From the death of an owner to its successor's first answer, under load.

Callers reserve without pause over the owner's stream, the caretaker watches as in a shop. The
clock runs from the signal to the first HELD answer to a request that was made after it: such an
answer can only be a successor's. Killed, and stopped (a process that hangs: nothing of it is
gone, and it does not answer).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from datetime import UTC, datetime

import psutil
import uvloop

from actors.ray_runtime import OwnerFinder, ray_transport, start_caretaker
from actors.routing import Routing
from actors.stock_client import StockClient
from benchmarks.callers import Reserve
from benchmarks.engine import (
    draw_pairs,
    engine,
    fill,
    owner_pids,
    reserving,
    start_pool,
)
from benchmarks.figures import BenchOptions, BenchResult, Figure, Table, machine_facts
from domain.owners import pool_names
from domain.ports import Unavailable
from serve_apps.composition import Parts, build_caretaker, build_owner, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop

ROUNDS = {signal.SIGKILL: 7, signal.SIGSTOP: 5}
QUICK_ROUNDS = {signal.SIGKILL: 2, signal.SIGSTOP: 1}
NAMES = {signal.SIGKILL: "killed (kill -9)", signal.SIGSTOP: "hanging (SIGSTOP)"}
OWNER = pool_names(1)
CALLERS = 64
PAIRS = 1_000
"""Enough that none is hot, and the caretaker leaves them where they are."""
ANSWER_TIMEOUT_S = 60.0
CALM_S = 2.0
"""Load between two rounds: the owner answers, and is seen to answer."""


def run(options: BenchOptions) -> BenchResult:
    """Kill and stop an owner several times; RuntimeError when no successor answers."""
    with engine(options) as settings:
        start_pool(settings, 1)
        start_caretaker(OWNER, build_caretaker, build_owner, settings.stream_key())
        return uvloop.run(_measure_all(settings, options))


class _Load:
    """Callers that never stop, and when a request made after a moment was first held."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._after = float("inf")
        self._held: asyncio.Future[float] | None = None
        self.refused = 0
        self.accepted = 0

    async def call_for_ever(self) -> None:
        while True:
            began = time.perf_counter()
            if not await self._reserve():
                self.refused += 1
                continue
            self.accepted += 1
            if began > self._after and self._held is not None and not self._held.done():
                self._held.set_result(time.perf_counter() - self._after)

    async def first_held(self) -> float:
        """Seconds from now to the first HELD answer to a request made from now on."""
        self._held = asyncio.get_running_loop().create_future()
        self._after = time.perf_counter()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await self._held


async def _measure_all(settings: Settings, options: BenchOptions) -> BenchResult:
    async with open_parts(settings, "bench") as parts:
        await fill(parts.pool, 0, PAIRS)
        client = StockClient(
            ray_transport(settings.stream_key()), Routing(OWNER), monotonic=time.monotonic
        )
        load = _Load(reserving(client, draw_pairs(0, PAIRS, 0.0)))
        callers = [asyncio.create_task(load.call_for_ever()) for _ in range(CALLERS)]
        try:
            figures = [
                await _rounds(parts, load, how, count)
                for how, count in (QUICK_ROUNDS if options.quick else ROUNDS).items()
            ]
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            await _end_stopped(parts)
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="failover",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"callers": CALLERS, "pairs": PAIRS},
            tables=(Table(title="an owner under load is", figures=tuple(figures)),),
            notes=("from the signal to the first HELD answer to a request made after it; medians",),
            audit=report.as_json(),
        )


async def _rounds(parts: Parts, load: _Load, how: signal.Signals, count: int) -> Figure:
    seconds: list[float] = []
    refused = load.refused
    for _ in range(count):
        before = await _answering(parts)
        await load.first_held()  # the load is on
        await asyncio.sleep(CALM_S)
        os.kill(before, how)
        seconds.append(await load.first_held())
        if (await owner_pids(parts.pool))[OWNER[0]] == before:
            raise RuntimeError(f"owner {OWNER[0]} answered although its process got {how.name}")
    return Figure(
        name=NAMES[how],
        value=statistics.median(seconds),
        unit="s",
        better="lower",
        details={
            "min_s": min(seconds),
            "max_s": max(seconds),
            "rounds": count,
            "refused": load.refused - refused,
        },
    )


async def _answering(parts: Parts) -> int:
    """The process of the owner once it answers."""
    finder = OwnerFinder()
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while True:
            try:
                await finder.address(OWNER[0])
            except Unavailable:
                await asyncio.sleep(0.05)
                continue
            return (await owner_pids(parts.pool))[OWNER[0]]


async def _end_stopped(parts: Parts) -> None:
    """A round that failed may leave a stopped process, which would not end with Ray."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process((await owner_pids(parts.pool))[OWNER[0]])
        if process.status() == psutil.STATUS_STOPPED:
            process.kill()
