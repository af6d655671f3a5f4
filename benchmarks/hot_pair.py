"""Durable reservations per second on one pair: the owner actor beside the case study's solutions.

All on the same embedded Postgres and Redis, in one run, in alternation: at each concurrency
first ours, then each peer. Ours goes the whole way: caller → stock client → Ray actor call →
owner → one transaction per turn → answer.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import ray
import uuid_utils
import uvloop

from actors.ray_runtime import NAMESPACE, ray_transport, start_owners
from actors.routing import Routing
from actors.stock_client import StockClient
from benchmarks.figures import (
    BenchOptions,
    BenchResult,
    Figure,
    Measured,
    Table,
    closed_loop,
    machine_facts,
)
from benchmarks.seed_solutions import REFERENCES, SEED_SOLUTIONS, measure, open_peers
from domain.catalog import Product, Variant
from domain.owners import pool_names
from domain.stock import Reserve, ReserveStatus
from serve_apps.composition import build_owner, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import add_products, audit_shop
from serve_apps.supervisor import RAY_ENVIRONMENT, hold, servers
from sim.catalog import WAREHOUSES
from storage.embedded import socket_folder

CONCURRENCIES = (1, 16, 64, 256)
QUICK_CONCURRENCIES = (64,)
STOCK = 100_000_000
PEER_STOCK = 1_000_000
TTL_S = 3_600.0
OWNER = pool_names(1)
_FIND = "SELECT inventory_id FROM inventory JOIN product_variants USING (variant_id) WHERE sku = $1"
_SOLD = "SELECT count(*), coalesce(sum(quantity), 0) FROM inventory_reservations"


def run(options: BenchOptions) -> BenchResult:
    """Measure every concurrency; raises if a figure does not agree with Postgres."""
    shutil.rmtree(options.home, ignore_errors=True)
    settings = Settings(home=options.home, database_url="", redis_url="", stock_owners=1)
    with hold(options.home), servers(settings) as (filled, _), _ray(filled):
        return uvloop.run(_measure_all(filled, options))


@contextmanager
def _ray(settings: Settings) -> Iterator[None]:
    """Ray with one owner, on the settings' databases."""
    values = {"home": str(settings.home.resolve()), "stock_owners": "1"}
    values |= {"database_url": settings.database_url, "redis_url": settings.redis_url}
    environment = {f"DOORBUSTER_{name.upper()}": value for name, value in values.items()}
    os.environ.update(RAY_ENVIRONMENT | environment)
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(socket_folder(settings.home) / "r"),
    )
    try:
        start_owners(OWNER, build_owner, settings.stream_key())
        yield
    finally:
        ray.shutdown()


async def _measure_all(settings: Settings, options: BenchOptions) -> BenchResult:
    async with (
        open_parts(settings, "bench") as parts,
        open_peers(settings.database_url, settings.redis_url) as (pool, redis),
    ):
        pair = await _stock_one_pair(parts)
        transport = ray_transport(settings.stream_key())
        client = StockClient(transport, Routing(OWNER), monotonic=time.monotonic)
        tables: list[Table] = []
        for concurrency in QUICK_CONCURRENCIES if options.quick else CONCURRENCIES:
            ours = await _ours(client, pair, parts.pool, concurrency, options.seconds)
            figures = [_figure("stock owner, group commit", ours, None)]
            for kind in (*SEED_SOLUTIONS, *REFERENCES):
                solution = kind(pool, redis)
                seen = await measure(
                    solution, concurrency=concurrency, seconds=options.seconds, stock=PEER_STOCK
                )
                await solution.clear()
                reference = kind in REFERENCES
                figures.append(_figure(solution.name, seen, figures[0].name, reference=reference))
            tables.append(Table(title=f"{concurrency} callers", figures=tuple(figures)))
        report = await audit_shop(parts, settle=False)
        return BenchResult(
            name="hot-pair",
            machine=await machine_facts(parts.pool),
            date=datetime.now(UTC),
            parameters={"seconds": options.seconds, "warehouses": len(WAREHOUSES), "quantity": 1},
            tables=tuple(tables),
            notes=(
                "each figure counts reservations that were committed before they were answered",
            ),
            audit=report.as_json(),
        )


def _figure(name: str, seen: Measured, peer_of: str | None, *, reference: bool = False) -> Figure:
    return Figure(
        name=name,
        value=seen.durable_per_second,
        unit="reservations/s",
        peer_of=peer_of,
        reference=reference,
        details=seen.details(),
    )


async def _stock_one_pair(parts: Any) -> bytes:
    variant = Variant(sku="HOT-PAIR", price_minor=100, stock={WAREHOUSES[0].code: STOCK})
    product = Product(
        handle="hot-pair",
        name="Hot pair",
        description="",
        category="Benchmark",
        seller="Doorbuster",
        tags=(),
        variants=(variant,),
    )
    await add_products(parts, [product])
    return (await parts.pool.fetchval(_FIND, variant.sku)).bytes


async def _ours(
    client: StockClient, pair: bytes, pool: asyncpg.Pool, concurrency: int, seconds: float
) -> Measured:
    """Our rate; AssertionError if Postgres holds anything but what was answered."""
    before = await pool.fetchrow(_SOLD)
    fresh = uuid_utils.uuid7

    async def reserve() -> bool:
        request = Reserve(fresh().bytes, fresh().bytes, pair, 1, TTL_S)
        return (await client.submit(request)).status == ReserveStatus.HELD

    measured = await closed_loop(reserve, concurrency=concurrency, seconds=seconds, stock=STOCK)
    after = await pool.fetchrow(_SOLD)
    assert before is not None
    assert after is not None
    written = after[0] - before[0]
    if written != measured.accepted or not written:
        raise RuntimeError(
            f"{measured.accepted} reservations were answered, {written} are in Postgres"
        )
    return measured
