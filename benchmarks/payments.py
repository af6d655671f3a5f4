"""What a whole checkout costs: promotions, tax, fraud, sealed data, and the way to a provider.

Three shops one after the other in one home, with everything switched on: the provider in
process; the same taking 150 ms for each call; and Stripe's client over HTTP to `doorbuster
provider` on this machine. Everything runs on the same cores, the load generator included. Beside
the orders per second stands where the processor's time went, by the clocks of the processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvloop

from benchmarks.figures import BenchOptions, BenchResult, Figure, MachineFacts, Table, machine_facts
from benchmarks.order_load import EVERYTHING_ON, NO_PROMOTIONS, ONE_LINE, Mix, OrderLoad, stock_shop
from benchmarks.process_cpu import read_clocks, spent_between
from domain.promises import AuditReport
from serve_apps.composition import Parts, open_parts
from serve_apps.port_blocks import is_free
from serve_apps.settings import Settings
from serve_apps.shop_process import audit_shop, databases, running_shop
from sim.http_client import HttpClient
from sim.http_messages import Prepared
from sim.load import LoadResult, run_closed_loop, run_open_loop

CLOSED_CONNECTIONS = (64, 256)
ROUNDS = 2  # of mixes in turn: the machine's own speed drifts
OPEN_RATES_PER_S = (1_000, 500, 250)
OPEN_IN_FLIGHT_MAX = 1_024
PROVIDER_LATENCY_MS = 150
ORDERS_PER_S_MAX = 1_600  # carts filled per second of a closed loop's window
WARM_UP_ORDERS = 300
REQUEST_TIMEOUT_S = 30.0
PROVIDER_READY_S = 60.0
PROVIDER_STOP_S = 20.0
MIXES = (EVERYTHING_ON, NO_PROMOTIONS, ONE_LINE)
LOAD_GENERATOR = "load generator"
PAYMENT_PROVIDER = "payment provider"
STRIPE = "everything on, Stripe over HTTP"
_NOTES = (
    "each order is confirmed, paid and durable before it is answered",
    "the load generator runs on the same cores",
    "of the rounds of a closed loop, the one with the most orders counts",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One measured window: what the load saw, and what each part took of the processor."""

    load: LoadResult
    cpu_s: Mapping[str, float]

    @property
    def orders(self) -> int:
        """Confirmed ones."""
        return self.load.by_status.get(201, 0)

    @property
    def orders_per_s(self) -> float:
        """Confirmed ones, per second."""
        return self.orders / self.load.duration_s if self.load.duration_s else 0.0


class _Shop:
    """The shop of one phase under load."""

    def __init__(
        self, parts: Parts, base_url: str, options: BenchOptions, others: Mapping[int, str]
    ) -> None:
        self._base_url = base_url
        self._options = options
        self._home = parts.settings.home
        self._others = {os.getpid(): LOAD_GENERATOR, **others}
        self._load = OrderLoad(parts, seed=1)

    async def warm_up(self) -> None:
        """Caches fill, statements are prepared."""
        for mix in MIXES:
            await self.closed(mix, 16, orders_max=WARM_UP_ORDERS // len(MIXES))

    async def closed(self, mix: Mix, connections: int, *, orders_max: int | None = None) -> Seen:
        """Each connection sends its next order when the last one is answered."""
        orders = orders_max or int(self._options.seconds * ORDERS_PER_S_MAX)
        requests = await self._prepared(mix, orders)
        before = read_clocks(self._home, self._others)
        load = await run_closed_loop(
            base_url=self._base_url,
            requests=requests,
            connections=connections,
            requests_max=orders,
            seconds_max=self._options.seconds,
            timeout_s=REQUEST_TIMEOUT_S,
        )
        return Seen(load=load, cpu_s=spent_between(before, read_clocks(self._home, self._others)))

    async def open(self, mix: Mix, rate: int) -> Seen:
        """Orders come at a fixed rate and are timed from the moment they were due."""
        orders = int(self._options.seconds * rate)
        requests = await self._prepared(mix, orders)
        before = read_clocks(self._home, self._others)
        load = await run_open_loop(
            base_url=self._base_url,
            requests=requests,
            rate_per_s=rate,
            in_flight_max=OPEN_IN_FLIGHT_MAX,
            requests_max=orders,
            seconds_max=self._options.seconds,
            timeout_s=REQUEST_TIMEOUT_S,
        )
        return Seen(load=load, cpu_s=spent_between(before, read_clocks(self._home, self._others)))

    async def _prepared(self, mix: Mix, orders: int) -> list[Prepared]:
        requests = await self._load.prepare(mix, orders)
        async with HttpClient(base_url=self._base_url, connections_max=1) as client:
            return [client.prepare(request) for request in requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """What was seen of one shop: closed loops by mix and connections, open loops by rate."""

    closed: Mapping[tuple[str, int], Seen]
    opened: Mapping[int, Seen]
    audit: AuditReport
    machine: MachineFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What to measure in one shop, and what its environment says."""

    mixes: Sequence[Mix] = ()
    connections: Sequence[int] = ()
    rates: Sequence[int] = ()
    environment: Mapping[str, str]
    provider_port: int = 0
    """Where `doorbuster provider` is to listen; 0: there is none."""


def run(options: BenchOptions) -> BenchResult:
    """Stock, then open each shop, measure and audit it."""
    shutil.rmtree(options.home, ignore_errors=True)
    settings = Settings(home=options.home, port=options.port, database_url="", redis_url="")
    connections = CLOSED_CONNECTIONS[:1] if options.quick else CLOSED_CONNECTIONS
    with databases(settings) as filled:
        uvloop.run(_stock(filled))
    plain = _Plan(mixes=MIXES, connections=connections, environment={})
    phases = {"in process": _measured(settings, options, plain)}
    if not options.quick:
        slow = {"DOORBUSTER_PROVIDER_LATENCY_MS": str(PROVIDER_LATENCY_MS)}
        rates = _Plan(rates=OPEN_RATES_PER_S, environment=slow)
        phases["slow provider"] = _measured(settings, options, rates)
        stripe = _stripe_plan(connections, options.port)
        phases["Stripe over HTTP"] = _measured(settings, options, stripe)
    return _result(options, phases)


async def _stock(settings: Settings) -> None:
    async with open_parts(settings, "bench") as parts:
        await stock_shop(parts)


def _stripe_plan(connections: Sequence[int], shop_port: int) -> _Plan:
    port = next(one for one in range(shop_port + 1, shop_port + 1_000) if is_free(one))
    return _Plan(
        mixes=(EVERYTHING_ON,),
        connections=connections,
        environment={
            "DOORBUSTER_STRIPE_API_KEY": "sk_test_benchmark",
            "DOORBUSTER_STRIPE_BASE_URL": f"http://127.0.0.1:{port}",
        },
        provider_port=port,
    )


def _measured(settings: Settings, options: BenchOptions, plan: _Plan) -> _Phase:
    """Open a shop as planned, measure it, audit it, close it."""
    with (
        _environment(plan.environment),
        running_shop(settings) as shop,
        _provider(settings.home, plan.provider_port) as others,
    ):
        urls = {"database_url": shop.run.database_url, "redis_url": shop.run.redis_url}
        filled = settings.model_copy(update=urls)
        return uvloop.run(_measure(filled, shop.run.base_url, options, plan, others))


async def _measure(
    settings: Settings,
    base_url: str,
    options: BenchOptions,
    plan: _Plan,
    others: Mapping[int, str],
) -> _Phase:
    closed: dict[tuple[str, int], Seen] = {}
    # The simulated provider's own books are the audit's witness, whichever door was used.
    async with open_parts(settings, "bench") as parts:
        shop = _Shop(parts, base_url, options, others)
        await shop.warm_up()
        for count in plan.connections:
            for number in range(1 if options.quick else ROUNDS):
                # There and back: whoever is first finds the machine in another state.
                for mix in plan.mixes if number % 2 == 0 else reversed(plan.mixes):
                    seen = await shop.closed(mix, count)
                    best = closed.get((mix.name, count))
                    if best is None or seen.orders_per_s > best.orders_per_s:
                        closed[mix.name, count] = seen
        opened = {rate: await shop.open(EVERYTHING_ON, rate) for rate in plan.rates}
        return _Phase(
            closed=closed,
            opened=opened,
            audit=await audit_shop(parts),
            machine=await machine_facts(parts.pool),
        )


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The shop that is started inside gets these settings."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _provider(home: Path, port: int) -> Iterator[Mapping[int, str]]:
    """`doorbuster provider` on the books of the shop that runs; its process id."""
    if not port:
        yield {}
        return
    command = [sys.executable, "-m", "doorbuster", "provider", "--home", str(home)]
    with (home / "logs" / "provider.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until_it_answers(process, port)
        yield {process.pid: PAYMENT_PROVIDER}
    finally:
        process.terminate()
        try:
            process.wait(PROVIDER_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PROVIDER_READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/v1/payment_intents/pi_none", timeout=5)
            return
        time.sleep(0.1)
    raise RuntimeError(
        f"no payment provider answers at port {port}; see logs/provider.log in the home folder"
    )


def _result(options: BenchOptions, phases: Mapping[str, _Phase]) -> BenchResult:
    first = phases["in process"]
    seen = dict(first.closed)
    if "Stripe over HTTP" in phases:
        wire = phases["Stripe over HTTP"].closed
        seen |= {(STRIPE, count): one for (_, count), one in wire.items()}
    counts = sorted({count for _, count in first.closed})
    tables = [closed_table(count, _of_count(seen, count)) for count in counts]
    if "slow provider" in phases:
        tables.append(open_table(phases["slow provider"].opened))
    tables += [cpu_table(count, _of_count(seen, count)) for count in counts]
    audits = {name: phase.audit for name, phase in phases.items()}
    return BenchResult(
        name="payments",
        machine=first.machine,
        date=datetime.now(UTC),
        parameters={
            "seconds": options.seconds,
            "provider_latency_ms": PROVIDER_LATENCY_MS,
            "load_average": os.getloadavg(),
        },
        tables=tuple(tables),
        notes=_NOTES,
        audit={
            "ok": all(audit.ok for audit in audits.values()),
            "shops": {name: audit.as_json() for name, audit in audits.items()},
        },
    )


def _of_count(seen: Mapping[tuple[str, int], Seen], count: int) -> dict[str, Seen]:
    return {name: one for (name, connections), one in seen.items() if connections == count}


def closed_table(connections: int, seen: Mapping[str, Seen]) -> Table:
    """Orders per second by mix, everything on beside the others."""
    own = EVERYTHING_ON.name
    return Table(
        title=f"closed loop, {connections} connections",
        figures=tuple(
            _figure(name, one, peer_of=None if name == own else own) for name, one in seen.items()
        ),
    )


def open_table(seen: Mapping[int, Seen]) -> Table:
    """Orders per second by what was due."""
    return Table(
        title=f"everything on, open loop, provider takes {PROVIDER_LATENCY_MS} ms per call",
        figures=tuple(_figure(f"{rate:,} orders/s due", one) for rate, one in seen.items()),
    )


def cpu_table(connections: int, seen: Mapping[str, Seen]) -> Table:
    """Processor time per confirmed order by part of the shop: everything on, then the others."""
    spent = {name: _us_per_order(one) for name, one in seen.items()}
    own = spent[EVERYTHING_ON.name]
    parts = sorted({part for one in spent.values() for part in one}, key=lambda p: -own.get(p, 0))
    columns = {NO_PROMOTIONS.name: "without_us", ONE_LINE.name: "plain_us", STRIPE: "stripe_us"}
    return Table(
        title=f"processor time per order, {connections} connections",
        figures=tuple(
            Figure(
                name=part,
                value=own.get(part, 0.0),
                unit="µs/order",
                better="lower",
                details={
                    column: spent[name].get(part, 0.0)
                    for name, column in columns.items()
                    if name in spent
                },
            )
            for part in parts
        ),
    )


def _us_per_order(seen: Seen) -> dict[str, float]:
    return {part: seconds * 1e6 / max(seen.orders, 1) for part, seconds in seen.cpu_s.items()}


def _figure(name: str, seen: Seen, *, peer_of: str | None = None) -> Figure:
    load = seen.load
    return Figure(
        name=name,
        value=seen.orders_per_s,
        unit="orders/s",
        peer_of=peer_of,
        details={
            "p50_ms": load.latency_ms_p50,
            "p99_ms": load.latency_ms_p99,
            "errors": load.errors,
            "not_confirmed": load.requests - seen.orders - load.errors,
        },
    )
