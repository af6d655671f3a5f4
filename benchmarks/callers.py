"""Callers in processes of their own: what is measured does not share a core's loop with them.

Each process runs an event loop with its part of the callers; all open their window at the same
moment of the machine's monotonic clock, and their histograms are put together. A process ends
with the group, and with its parent whatever happens to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import uvloop

from benchmarks.figures import WARM_UP_S, Measured, Tally, call_until_closed
from domain.histogram import LatencyHistogram
from serve_apps.composition import calm_the_collector

Reserve = Callable[[], Awaitable[bool]]

PROCESSES_MAX = 4
START_TIMEOUT_S = 60.0
LAST_CALLS_TIMEOUT_S = 60.0
_LEAD_S = 0.05  # from the word "go" to the first call: all processes have heard it by then
_PR_SET_PDEATHSIG = 1


class Target(Protocol):
    """What callers reserve at. Travels to each process, so it holds plain values only."""

    def open(self, process: int) -> AbstractAsyncContextManager[Reserve]:
        """A call that takes one unit and is True once that is durable; `process` from 0."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One process's part of a measurement."""

    target: Target
    process: int
    callers: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one process saw; `latencies` as LatencyHistogram.to_list writes them."""

    accepted: int
    refused: int
    latencies: list[float]


class CallerFailedError(RuntimeError):
    """A process of callers failed or did not answer; nothing was measured."""


class CallerProcesses:
    """A group of processes that wait for loads."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes: list[Any] = []  # multiprocessing's
        self._pipes: list[Any] = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self._pipes.append(ours)

    def measure(
        self,
        target: Target,
        *,
        processes: int,
        callers: int,
        seconds: float,
        stock: int,
        warm_up_s: float = WARM_UP_S,
    ) -> Measured:
        """`callers` in all, spread over the first `processes` of the group.

        Blocks; call it in a thread. Raises CallerFailedError, and ValueError when the stock
        (units at the start) may have run out, which would make the rate meaningless.
        """
        pipes = self._pipes[:processes]
        for number, pipe in enumerate(pipes):
            part = callers // processes + (number < callers % processes)
            load = Load(
                target=target, process=number, callers=part, seconds=seconds, warm_up_s=warm_up_s
            )
            pipe.send(load)
        for pipe in pipes:
            _receive(pipe, START_TIMEOUT_S)  # it is connected and waits
        go = time.perf_counter() + _LEAD_S
        for pipe in pipes:
            pipe.send(go)
        limit_s = warm_up_s + seconds + LAST_CALLS_TIMEOUT_S
        return merge([_receive(pipe, limit_s) for pipe in pipes], callers, seconds, stock)

    def close(self) -> None:
        """End every process."""
        for pipe in self._pipes:
            pipe.close()
        for process in self.processes:
            process.kill()
            process.join()


@contextlib.contextmanager
def caller_processes(size: int = PROCESSES_MAX) -> Iterator[CallerProcesses]:
    """A group for the length of a `with`."""
    group = CallerProcesses(size)
    try:
        yield group
    finally:
        group.close()


def merge(seen: Sequence[Seen], callers: int, seconds: float, stock: int) -> Measured:
    """What all processes saw together. ValueError when the stock may have run out."""
    accepted = sum(one.accepted for one in seen)
    refused = sum(one.refused for one in seen)
    if accepted + callers > stock:
        raise ValueError(f"{accepted} of {stock} units were sold; measure with more stock")
    latencies = LatencyHistogram()
    for one in seen:
        latencies.merge(LatencyHistogram.from_list(one.latencies))
    return Measured(
        accepted=accepted,
        refused=refused,
        durable_per_second=latencies.count / seconds,
        p50_ms=latencies.quantile(0.5),
        p99_ms=latencies.quantile(0.99),
        false_refusals=refused,  # stock was left to the end
    )


def _receive(pipe: Any, timeout_s: float) -> Any:
    try:
        if not pipe.poll(timeout_s):
            raise CallerFailedError(f"a process of callers said nothing for {timeout_s} s")
        answer = pipe.recv()
    except EOFError as error:
        raise CallerFailedError("a process of callers has died; see its error above") from error
    if isinstance(answer, str):
        raise CallerFailedError(f"a process of callers failed: {answer}")
    return answer


def _serve(pipe: Connection) -> None:
    """The body of a process: one load after the other, until the parent hangs up."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's matter
    calm_the_collector()
    while True:
        try:
            load = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(uvloop.run(_run(load, pipe)))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


async def _run(load: Load, pipe: Connection) -> Seen:
    async with load.target.open(load.process) as reserve:
        pipe.send(None)
        go: float = pipe.recv()
        opens_at = go + load.warm_up_s
        tally = Tally(stock=0, opens_at=opens_at, closes_at=opens_at + load.seconds)
        while time.perf_counter() < go:
            pass  # less than _LEAD_S; a timer would wake each process at another moment
        await call_until_closed(reserve, tally, load.callers)
    return Seen(accepted=tally.accepted, refused=tally.refused, latencies=tally.latencies.to_list())
