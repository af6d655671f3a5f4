"""The frame of every benchmark: its figures beside its peers', as a table and as JSON."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import psutil
import rich.box
import rich.table
from rich.console import Group, RenderableType
from rich.markup import escape

from domain.histogram import LatencyHistogram

WARM_UP_S = 0.3
"""Calls run but are not counted while caches fill and statements are prepared."""

PAUSE_AFTER_REFUSAL_S = 0.05
"""A refused caller comes back after this; without it a solution that refuses at once would
be measured by how fast the callers can hammer it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What the command line gives a benchmark."""

    home: Path
    port: int
    seconds: float  # per measured point
    quick: bool  # fewer points, shorter; for a look, not for the README


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number, or a peer's number beside it."""

    name: str
    value: float
    unit: str
    peer_of: str | None = None
    """Our figure of the same table that this one is compared with; None for our own."""
    better: Literal["higher", "lower"] = "higher"
    reference: bool = False
    """Shown with its ratio, but not one of the peers that the strongest is picked from."""
    details: Mapping[str, float] = field(default_factory=dict[str, float])
    """What else was seen, by a name that ends in its unit: `p99_ms`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times better `figure` is than `peer`; None when a division by zero was due."""

    table: str
    figure: str
    peer: str
    ratio: float | None
    reference: bool
    strongest: bool  # of the figure's peers, references aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures measured under the same conditions; ValueError if a peer stands beside nothing."""

    title: str
    figures: tuple[Figure, ...]

    def __post_init__(self) -> None:
        own = {figure.name: figure for figure in self.figures if figure.peer_of is None}
        for peer in self.figures:
            if peer.peer_of is not None and (
                peer.peer_of not in own or own[peer.peer_of].unit != peer.unit
            ):
                raise ValueError(
                    f"{peer.name!r} is compared with {peer.peer_of!r}, of which table"
                    f" {self.title!r} has no figure in {peer.unit}; add it to that table"
                )

    def ratios(self) -> tuple[Ratio, ...]:
        """Every peer's ratio to our figure, in the table's order."""
        own = {figure.name: figure for figure in self.figures if figure.peer_of is None}
        return tuple(
            Ratio(
                table=self.title,
                figure=peer.peer_of,
                peer=peer.name,
                ratio=_ratio(own[peer.peer_of], peer),
                reference=peer.reference,
                strongest=peer is self._strongest(peer.peer_of),
            )
            for peer in self.figures
            if peer.peer_of is not None
        )

    def _strongest(self, name: str) -> Figure | None:
        peers = [peer for peer in self.figures if peer.peer_of == name and not peer.reference]
        return max(peers, key=lambda p: p.value if p.better == "higher" else -p.value, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Where a figure was measured; only ratios move from machine to machine."""

    cores: int
    memory_bytes: int
    python: str
    postgres: str
    fsync: str
    synchronous_commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """All that one run of a benchmark found."""

    name: str
    machine: MachineFacts
    date: datetime  # aware, UTC
    parameters: Mapping[str, object]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    audit: Mapping[str, object] | None = None
    """The audit's own document, where the benchmark sold something."""

    def ratios(self) -> tuple[Ratio, ...]:
        """The ratios of all tables."""
        return tuple(ratio for table in self.tables for ratio in table.ratios())

    def as_json(self) -> dict[str, object]:
        """One document of plain values for any JSON encoder: a row per figure and its ratios."""
        return {
            "name": self.name,
            "machine": asdict(self.machine),
            "date": self.date.astimezone(UTC).isoformat(timespec="seconds"),
            "parameters": dict(self.parameters),
            "rows": [
                {"table": table.title, **asdict(figure)}
                for table in self.tables
                for figure in table.figures
            ],
            "ratios": [asdict(ratio) for ratio in self.ratios()],
            "notes": list(self.notes),
            "audit": None if self.audit is None else dict(self.audit),
        }


class Run(Protocol):
    """A benchmark module's `run`; faults are raised, figures are returned whatever they are."""

    def __call__(self, options: BenchOptions) -> BenchResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark that `doorbuster bench` can list without importing it."""

    name: str
    module: str
    summary: str

    def run(self, options: BenchOptions) -> BenchResult:
        """Import the module and run it."""
        run: Run = importlib.import_module(self.module).run
        return run(options)


class UnknownBenchmarkError(LookupError):
    """There is no benchmark of that name; the message lists those there are."""


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="hot-pair",
            module="benchmarks.hot_pair",
            summary="durable reservations/s on one pair, beside the case study's three solutions",
        ),
        Benchmark(
            name="pairs",
            module="benchmarks.many_pairs",
            summary="reservations/s over 10,000 pairs, Zipf 1.0, beside batched SQL",
        ),
        Benchmark(
            name="scale",
            module="benchmarks.scale",
            summary="cost per reservation and memory per pair, from 10 to 1,000,000 pairs",
        ),
        Benchmark(
            name="failover",
            module="benchmarks.failover",
            summary="from kill -9 (and SIGSTOP) of an owner to its successor's first answer",
        ),
        Benchmark(
            name="owners",
            module="benchmarks.many_owners",
            summary="50 dedicated owners on one machine, all selling at once",
        ),
        Benchmark(
            name="checkout",
            module="benchmarks.checkout",
            summary="confirmed orders/s over HTTP, one hot SKU and a Zipf mix",
        ),
        Benchmark(
            name="payments",
            module="benchmarks.payments",
            summary="confirmed orders/s with everything on, a slow provider, and Stripe over HTTP",
        ),
        Benchmark(
            name="fraud",
            module="benchmarks.fraud",
            summary="ms to score a batch of 100 orders for fraud, beside scikit-learn's own trees",
        ),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`; UnknownBenchmarkError naming all others otherwise."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    raise UnknownBenchmarkError(
        f"there is no benchmark {name!r}; choose one of: {', '.join(sorted(BENCHMARKS))}"
    )


class FetchesRows(Protocol):
    """An asyncpg connection or pool."""

    async def fetchrow(self, query: str, /) -> Mapping[str, str] | None: ...


async def machine_facts(database: FetchesRows) -> MachineFacts:
    """What this machine and the database at hand are."""
    settings = await database.fetchrow(
        "SELECT current_setting('server_version') AS postgres, current_setting('fsync') AS fsync,"
        " current_setting('synchronous_commit') AS synchronous_commit"
    )
    assert settings is not None, "a SELECT without FROM gives one row"
    return MachineFacts(
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        postgres=settings["postgres"],
        fsync=settings["fsync"],
        synchronous_commit=settings["synchronous_commit"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a closed loop of callers saw.

    `accepted` and `refused` count every call, warm-up and the last calls included; the rate and
    the quantiles (of accepted calls) count those that were answered inside the window.
    `false_refusals` are refusals given while stock was certainly left.
    """

    accepted: int
    refused: int
    durable_per_second: float
    p50_ms: float
    p99_ms: float
    false_refusals: int

    def details(self) -> dict[str, float]:
        """The columns beside the rate, as `Figure.details` takes them."""
        return {
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "refused": self.refused,
            "false_refusals": self.false_refusals,
        }


class Tally:
    """What one closed loop counted; times on `time.perf_counter`, which all processes share."""

    def __init__(self, *, stock: int, opens_at: float, closes_at: float) -> None:
        self.stock = stock
        self.opens_at = opens_at
        self.closes_at = closes_at
        self.accepted = self.refused = self.false_refusals = self.in_flight = 0
        self.latencies = LatencyHistogram()

    def answered(self, accepted: bool, started_at: float, now: float) -> None:
        """One call under way has come back."""
        self.in_flight -= 1
        if accepted:
            self.accepted += 1
            if self.opens_at <= now < self.closes_at:
                self.latencies.record((now - started_at) * 1_000)
            return
        self.refused += 1
        # Even if every call under way were accepted, a unit would be left: none was missing.
        if self.accepted + self.in_flight < self.stock:
            self.false_refusals += 1


async def closed_loop(
    reserve: Callable[[], Awaitable[bool]],
    *,
    concurrency: int,
    seconds: float,
    stock: int,
    warm_up_s: float = WARM_UP_S,
    pause_after_refusal_s: float = PAUSE_AFTER_REFUSAL_S,
) -> Measured:
    """`concurrency` callers, each taking one unit after the other for `seconds` after warm-up.

    `reserve` takes one unit and answers once that is durable; `stock` is what there was at the
    start. An error of any call ends the run and is raised.
    """
    opens_at = time.perf_counter() + warm_up_s
    tally = Tally(stock=stock, opens_at=opens_at, closes_at=opens_at + seconds)
    await call_until_closed(reserve, tally, concurrency, pause_after_refusal_s)
    return Measured(
        accepted=tally.accepted,
        refused=tally.refused,
        durable_per_second=tally.latencies.count / seconds,
        p50_ms=tally.latencies.quantile(0.5),
        p99_ms=tally.latencies.quantile(0.99),
        false_refusals=tally.false_refusals,
    )


async def call_until_closed(
    reserve: Callable[[], Awaitable[bool]],
    tally: Tally,
    concurrency: int,
    pause_after_refusal_s: float = PAUSE_AFTER_REFUSAL_S,
) -> None:
    """`concurrency` callers, one call after the other, until the tally's window closes."""

    async def call() -> None:
        while (started_at := time.perf_counter()) < tally.closes_at:
            tally.in_flight += 1
            accepted = await reserve()
            tally.answered(accepted, started_at, time.perf_counter())
            if not accepted:
                await asyncio.sleep(pause_after_refusal_s)

    async with asyncio.TaskGroup() as callers:
        for _ in range(concurrency):
            callers.create_task(call())


def render(result: BenchResult) -> RenderableType:
    """A table each, every figure above its peers, with what we are as a multiple of each peer."""
    heading = f"{result.name}, {result.date.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    tables = (_rendered(table) for table in result.tables)
    return Group(escape(heading), *tables, escape(_caption(result)))


def _rendered(table: Table) -> rich.table.Table:
    names = tuple(dict.fromkeys(name for figure in table.figures for name in figure.details))
    ratios = {(ratio.figure, ratio.peer): ratio for ratio in table.ratios()}
    grid = rich.table.Table(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    compared = ("ours ÷ peer",) if ratios else ()
    for heading in ("figure", "value", "unit", *compared, *names):
        numeric = heading not in ("figure", "unit")
        grid.add_column(
            heading.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=heading == "unit",
            min_width=_widest(heading, table) if numeric else None,
        )
    for figure in table.figures:
        ratio = ratios.get((figure.peer_of or "", figure.name))
        grid.add_row(
            escape(f"  {figure.name}" if ratio else figure.name),
            _number(figure.value),
            escape(figure.unit),
            *((_times(ratio),) if compared else ()),
            *(_number(figure.details[n]) if n in figure.details else "" for n in names),
            style="" if ratio else "green",
        )
    return grid


def _widest(heading: str, table: Table) -> int:
    """Characters of a column's longest word, so that a narrow terminal cuts no number."""
    told = [f.value if heading == "value" else f.details.get(heading, 0.0) for f in table.figures]
    words = heading.replace("_", " ").split()
    return max(map(len, [*words, *map(_number, told)]))


def _ratio(own: Figure, peer: Figure) -> float | None:
    above, below = (own, peer) if own.better == "higher" else (peer, own)
    return above.value / below.value if below.value else None


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def _times(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    times = "–" if ratio.ratio is None else f"{ratio.ratio:,.1f}×"
    return f"[bold]{times}[/bold]" if ratio.strongest else times


def _caption(result: BenchResult) -> str:
    machine = result.machine
    lines = [
        f"{machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, Python {machine.python},"
        f" PostgreSQL {machine.postgres}, fsync {machine.fsync},"
        f" synchronous_commit {machine.synchronous_commit}",
        *result.notes,
    ]
    if result.audit is not None:
        lines.append("audit: clean" if result.audit.get("ok") else "audit: VIOLATIONS, see --json")
    return "\n".join(lines)
