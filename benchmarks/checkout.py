"""Confirmed orders per second over HTTP, and how long a checkout takes.

A whole shop on this machine, the load generator beside it on the same cores. Carts are filled
over HTTP before each measured window; the window holds checkouts only, each a different guest
with a cart of one line. Two mixes: everyone after one SKU, and Zipf over the catalog. Closed
loop (each connection sends its next order when the last is answered) and open loop (orders
arrive at a fixed rate and are timed from the moment they were due).

The figures beside ours say where the time goes: the same requests refused at the door (HTTP,
Serve and HAProxy alone), and the case study's own order of steps, one transaction after the
other, without HTTP.
"""

from __future__ import annotations

import itertools
import random
import shutil
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import uvloop

from benchmarks.figures import BenchOptions, BenchResult, Figure, Table, machine_facts
from benchmarks.seed_checkout import measure_seed_checkout
from domain import ids
from domain.catalog import Product, Variant
from serve_apps.composition import Parts, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import add_products, audit_shop, databases, running_shop
from sim.catalog import WAREHOUSES
from sim.http_client import HttpClient
from sim.http_messages import Prepared, Request, Response
from sim.load import LoadResult, run_closed_loop, run_open_loop
from sim.shoppers import add_request, checkout_request, draw_address, draw_zipf

OURS = "checkout over HTTP"
CLOSED_CONNECTIONS = (64, 256)
OPEN_RATES_PER_S = (1_500,)
OPEN_IN_FLIGHT_MAX = 1_024
PRODUCTS = 1_000
STOCK = 10_000_000
ORDERS_PER_S_MAX = 4_000  # carts filled per second of a closed loop's window
FILL_CONNECTIONS = 64
REQUEST_TIMEOUT_S = 30.0
_PRODUCT_IDS = "SELECT product_id FROM products WHERE handle LIKE 'bench-%' ORDER BY handle"


def run(options: BenchOptions) -> BenchResult:
    """Open a shop, measure, audit."""
    shutil.rmtree(options.home, ignore_errors=True)
    settings = Settings(home=options.home, port=options.port, database_url="", redis_url="")
    with databases(settings) as filled:
        products = uvloop.run(_stock(filled))
    with running_shop(settings) as shop:
        urls = {"database_url": shop.run.database_url, "redis_url": shop.run.redis_url}
        filled = settings.model_copy(update=urls)
        return uvloop.run(_measure_all(filled, shop.run.base_url, products, options))


async def _stock(settings: Settings) -> list[str]:
    """A catalog with stock for any run; the products' ids, the hot one first."""
    async with open_parts(settings, "bench") as parts:
        products = [
            Product(
                handle=f"bench-{number:05d}",
                name=f"Benchmark item {number}",
                description="",
                category="Benchmark",
                seller="Doorbuster",
                tags=(),
                variants=(
                    Variant(
                        sku=f"BENCH-{number:05d}",
                        price_minor=4_999,
                        stock={WAREHOUSES[0].code: STOCK},
                    ),
                ),
            )
            for number in range(PRODUCTS)
        ]
        await add_products(parts, products)
        rows = await parts.pool.fetch(_PRODUCT_IDS)
        return [ids.encode("prod", row["product_id"]) for row in rows]


class _Checkouts:
    """Makes checkout requests of guests whose carts are filled."""

    def __init__(self, base_url: str, products: Sequence[str], seed: int) -> None:
        self._base_url = base_url
        self._products = products
        self._rng = random.Random(seed)

    async def prepare(self, orders: int, *, hot: bool) -> list[Prepared]:
        """Fill `orders` carts over HTTP; the requests that buy them."""
        carts: list[tuple[str, str]] = []

        def keep(_: Prepared, response: Response) -> None:
            if response.status == 200:
                cart = orjson.loads(response.body)
                carts.append((cart["cart_id"], cart["token"]))

        async with HttpClient(base_url=self._base_url, connections_max=1) as client:
            adds = [client.prepare(self._add(hot=hot)) for _ in range(orders)]
            filled = await run_closed_loop(
                base_url=self._base_url,
                requests=adds,
                connections=FILL_CONNECTIONS,
                requests_max=orders,
                seconds_max=600,
                on_response=keep,
            )
            if filled.errors or len(carts) != orders:
                raise RuntimeError(f"only {len(carts)} of {orders} carts were filled: {filled}")
            return [client.prepare(self._checkout(cart_id, token)) for cart_id, token in carts]

    def _add(self, *, hot: bool) -> Request:
        number = 0 if hot else draw_zipf(self._rng, len(self._products))
        product_id = self._products[number]
        return add_request(product_id=product_id, variant_id=None, quantity=1, token=None)

    def _checkout(self, cart_id: str, token: str) -> Request:
        return checkout_request(
            cart_id=cart_id,
            token=token,
            idempotency_key=str(uuid.uuid4()),
            address=draw_address(self._rng),
            card_id="card_benchmark",
        )


async def _measure_all(
    settings: Settings, base_url: str, products: Sequence[str], options: BenchOptions
) -> BenchResult:
    checkouts = _Checkouts(base_url, products, seed=1)
    connections = CLOSED_CONNECTIONS[:1] if options.quick else CLOSED_CONNECTIONS
    async with open_parts(settings, "bench") as parts:
        await _closed(checkouts, base_url, options, connections=16, hot=False, orders_max=500)
        tables: list[Table] = []
        for hot, count in itertools.product((True, False), connections):
            seen = await _closed(checkouts, base_url, options, connections=count, hot=hot)
            title = f"{_mix(hot)}, closed loop, {count} connections"
            figures = [_figure(OURS, seen, 201)]
            if hot:
                figures += await _beside(parts, base_url, options, count)
            tables.append(Table(title=title, figures=tuple(figures)))
        for hot, rate in itertools.product((True, False), OPEN_RATES_PER_S):
            seen = await _open(checkouts, base_url, options, rate=rate, hot=hot)
            title = f"{_mix(hot)}, open loop, {rate:,} orders/s due"
            tables.append(Table(title=title, figures=(_figure(OURS, seen, 201),)))
        report = await audit_shop(parts)
        return BenchResult(
            name="checkout",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "products": len(products), "lines": 1},
            tables=tuple(tables),
            notes=(
                "each order is confirmed, paid and durable before it is answered",
                "the load generator runs on the same cores",
            ),
            audit=report.as_json(),
        )


def _mix(hot: bool) -> str:
    return "one hot SKU" if hot else "Zipf mix"


async def _closed(
    checkouts: _Checkouts,
    base_url: str,
    options: BenchOptions,
    *,
    connections: int,
    hot: bool,
    orders_max: int | None = None,
) -> LoadResult:
    orders = orders_max or int(options.seconds * ORDERS_PER_S_MAX)
    requests = await checkouts.prepare(orders, hot=hot)
    return await run_closed_loop(
        base_url=base_url,
        requests=requests,
        connections=connections,
        requests_max=orders,
        seconds_max=options.seconds,
        timeout_s=REQUEST_TIMEOUT_S,
    )


async def _open(
    checkouts: _Checkouts, base_url: str, options: BenchOptions, *, rate: int, hot: bool
) -> LoadResult:
    orders = int(options.seconds * rate)
    requests = await checkouts.prepare(orders, hot=hot)
    return await run_open_loop(
        base_url=base_url,
        requests=requests,
        rate_per_s=rate,
        in_flight_max=OPEN_IN_FLIGHT_MAX,
        requests_max=orders,
        seconds_max=options.seconds,
        timeout_s=REQUEST_TIMEOUT_S,
    )


async def _beside(
    parts: Parts, base_url: str, options: BenchOptions, connections: int
) -> list[Figure]:
    """What the same number of connections get from HTTP alone, and from the case study."""
    refused = Request(method="POST", path="/api/v1/orders/checkout", headers=(), body=b"{}")
    async with HttpClient(base_url=base_url, connections_max=1) as client:
        prepared = client.prepare(refused)
    door = await run_closed_loop(
        base_url=base_url,
        requests=itertools.repeat(prepared),
        connections=connections,
        requests_max=10_000_000,
        seconds_max=options.seconds,
    )
    study = await measure_seed_checkout(
        parts.pool, concurrency=connections, seconds=options.seconds
    )
    return [
        _figure("the same request, refused at the door", door, 401, reference=True),
        Figure(
            name="the case study's steps, one after the other, no HTTP",
            value=study.durable_per_second,
            unit="orders/s",
            peer_of=OURS,
            details={"p50_ms": study.p50_ms, "p99_ms": study.p99_ms},
        ),
    ]


def _figure(name: str, seen: LoadResult, status: int, *, reference: bool = False) -> Figure:
    good = seen.by_status.get(status, 0)
    details: dict[str, Any] = {
        "p50_ms": seen.latency_ms_p50,
        "p99_ms": seen.latency_ms_p99,
        "max_ms": seen.latency_ms_max,
        "errors": seen.errors,
        "refused": seen.requests - good - seen.errors,
    }
    return Figure(
        name=name,
        value=good / seen.duration_s,
        unit="orders/s",
        peer_of=OURS if reference else None,
        reference=reference,
        details=details,
    )
