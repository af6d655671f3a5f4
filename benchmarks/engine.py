"""The stock engine as the benchmarks use it: databases, Ray, owners, pairs, and a way to call.

Owners are Ray actors in processes of their own, as in a shop. Callers in other processes are
told where they listen; that spares them Ray, not a step of the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
import os
import random
import shutil
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg
import psutil
import ray
import uuid_utils

from actors.owner_stream import Address, StreamTransport
from actors.ray_runtime import NAMESPACE, OwnerFinder, RayOwnerHost, start_owners
from actors.routing import Routing
from actors.stock_client import StockClient
from actors.stock_owner import OwnerConfig, StockOwner
from benchmarks import callers
from benchmarks.figures import BenchOptions, Figure, Measured
from domain.owners import owner_number, pool_names
from domain.ports import Unavailable
from domain.stock import Reserve, ReserveStatus
from serve_apps.composition import connect, keep_collections_short, owner_over
from serve_apps.settings import Settings
from serve_apps.supervisor import RAY_ENVIRONMENT, hold, servers
from storage.embedded import socket_folder

STOCK = 1_000_000
TTL_S = 3_600.0
PICKS = 200_000
"""Picks drawn before a window opens; then they begin again."""
_FILL_TIMEOUT_S = 600.0
_FILL_AT_ONCE = 100_000
_VARIANTS_PER_PRODUCT = 100
_PAIRS_GONE_TIMEOUT_S = 10.0
_POLL_S = 0.02

SOLD = "SELECT count(*) FROM inventory_reservations"
OWNER_PIDS = "SELECT owner_name, pid FROM stock_owners"

# By the ids' own text, so that callers elsewhere know them without asking. What is written is
# what an import writes; its checks of foreign keys, row by row, are what takes the time.
_FILL = (
    """
    INSERT INTO sellers (seller_id, name) VALUES (md5('seller')::uuid, 'Benchmark')
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO warehouses (warehouse_id, code, name, country, lat, lon)
    VALUES (md5('warehouse')::uuid, 'BENCH', 'Benchmark', 'US', 0, 0) ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO products (product_id, seller_id, handle, name, price_minor)
    SELECT md5('product-' || n)::uuid, md5('seller')::uuid, 'bench-' || n, 'Benchmark ' || n, 100
    FROM generate_series({begin} / {each}, ({end} - 1) / {each}) AS n ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO product_variants (variant_id, product_id, sku)
    SELECT md5('variant-' || n)::uuid, md5('product-' || n / {each})::uuid, 'BENCH-' || n
    FROM generate_series({begin}, {end} - 1) AS n
    """,
    """
    INSERT INTO inventory (inventory_id, product_id, variant_id, warehouse_id, quantity)
    SELECT md5('pair-' || n)::uuid, md5('product-' || n / {each})::uuid,
           md5('variant-' || n)::uuid, md5('warehouse')::uuid, {stock}
    FROM generate_series({begin}, {end} - 1) AS n
    """,
    """
    INSERT INTO stock_movements (inventory_id, kind, quantity, reason, actor, balance)
    SELECT md5('pair-' || n)::uuid, 'received', {stock}, 'benchmark', 'benchmark', {stock}
    FROM generate_series({begin}, {end} - 1) AS n
    """,
)


def pair_id(number: int) -> bytes:
    """The id of the pair that `fill` makes under this number, from 0."""
    return hashlib.md5(f"pair-{number}".encode(), usedforsecurity=False).digest()


async def fill(pool: asyncpg.Pool, begin: int, end: int, *, stock: int = STOCK) -> None:
    """Pairs `begin` to `end` - 1, each with `stock` units, in a catalog that explains them."""
    for low in range(begin, end, _FILL_AT_ONCE):
        high = min(end, low + _FILL_AT_ONCE)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in _FILL:
                text = statement.format(
                    begin=low, end=high, each=_VARIANTS_PER_PRODUCT, stock=stock
                )
                await connection.execute(text, timeout=_FILL_TIMEOUT_S)
    await pool.execute(
        "VACUUM (ANALYZE) inventory, inventory_reservations", timeout=_FILL_TIMEOUT_S
    )


@contextlib.contextmanager
def engine(options: BenchOptions, *, owners: int = 1) -> Iterator[Settings]:
    """Fresh databases and a Ray without owners; settings for a pool of `owners`."""
    shutil.rmtree(options.home, ignore_errors=True)
    settings = Settings(home=options.home, database_url="", redis_url="", stock_owners=owners)
    with hold(options.home), servers(settings) as (filled, _), _ray(filled):
        yield filled


@contextlib.contextmanager
def _ray(settings: Settings) -> Iterator[None]:
    """Ray on the settings' databases."""
    values = {"home": str(settings.home.resolve()), "stock_owners": str(settings.stock_owners)}
    values |= {"database_url": settings.database_url, "redis_url": settings.redis_url}
    environment = {f"DOORBUSTER_{name.upper()}": value for name, value in values.items()}
    os.environ.update(RAY_ENVIRONMENT | environment)
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        num_cpus=max(os.cpu_count() or 1, 2),
        object_store_memory=100 * 1024 * 1024,
        _temp_dir=str(socket_folder(settings.home) / "r"),
    )
    try:
        yield
    finally:
        ray.shutdown()


async def _build(name: str, *, owners: int, config: OwnerConfig | None) -> StockOwner:
    """An owner of a pool of `owners`, in the process it is called in."""
    settings = Settings().model_copy(update={"stock_owners": owners})
    parts = await connect(settings, name, by_key=True)
    keep_collections_short()
    return owner_over(parts, name, config)


def start_pool(settings: Settings, owners: int, config: OwnerConfig | None = None) -> None:
    """Start the owners of a pool of this size and wait until they answer."""
    build = functools.partial(_build, owners=owners, config=config)
    start_owners(pool_names(owners), build, settings.stream_key())


async def stop_pool(settings: Settings, pool: asyncpg.Pool, owners: int) -> None:
    """Stop them and wait until they are gone: the next pool may have the same names."""
    names = pool_names(owners)
    build = functools.partial(_build, owners=owners, config=None)
    host = RayOwnerHost(names, build, settings.stream_key())
    pids = await owner_pids(pool)
    for name in names:
        await host.stop(name)
    deadline = time.monotonic() + _PAIRS_GONE_TIMEOUT_S
    while any(psutil.pid_exists(pids[name]) for name in names) or set(names) & await host.running():
        if time.monotonic() > deadline:
            raise RuntimeError(f"owners {', '.join(names)} did not stop")
        await asyncio.sleep(_POLL_S)


async def owner_pids(pool: asyncpg.Pool) -> dict[str, int]:
    """The process of each owner that ever was."""
    return {row["owner_name"]: row["pid"] for row in await pool.fetch(OWNER_PIDS)}


async def addresses(owners: Sequence[str]) -> dict[str, Address]:
    """Where owners listen now."""
    finder = OwnerFinder()
    return {owner: await finder.address(owner) for owner in owners}


def draw(rng: random.Random, count: int, exponent: float, picks: int = PICKS) -> array[int]:
    """Ranks from 0 to `count` - 1 with weight (rank + 1) ** -exponent; 0 is uniform."""
    if not exponent:
        return array("I", (rng.randrange(count) for _ in range(picks)))
    weights = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(count)))
    return array("I", rng.choices(range(count), cum_weights=weights, k=picks))


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersTarget:
    """Our way: stock client, stream, owner, one transaction per turn, answer."""

    where: Mapping[str, Address]
    key: bytes = field(repr=False)
    pool: int = 1
    pairs: int = 1
    """Of the pairs that `fill` makes, those below this number are asked for."""
    exponent: float = 0.0
    held_by: Mapping[int, str] = field(default_factory=dict[int, str])
    """Owners of pairs that are not at home, by the pairs' numbers."""

    def open(self, process: int) -> contextlib.AbstractAsyncContextManager[callers.Reserve]:
        """Callers of different processes pick by different seeds."""
        return self._open(process)

    @contextlib.asynccontextmanager
    async def _open(self, process: int) -> AsyncIterator[callers.Reserve]:
        async def find(owner: str) -> Address:
            if owner not in self.where:
                raise Unavailable(f"nobody said where owner {owner} listens")
            return self.where[owner]

        routing = Routing(pool_names(self.pool))
        for number, owner in self.held_by.items():
            routing.learn(pair_id(number), owner_number(owner))
        client = StockClient(StreamTransport(find, self.key), routing, monotonic=time.monotonic)
        yield reserving(client, draw_pairs(process, self.pairs, self.exponent))


def draw_pairs(seed: int, count: int, exponent: float) -> Iterator[bytes]:
    """Ids of the first `count` pairs of `fill`, drawn by rank, without end."""
    ranks = draw(random.Random(seed), count, exponent)
    known = {rank: pair_id(rank) for rank in set(ranks)}
    return itertools.cycle([known[rank] for rank in ranks])


def reserving(client: StockClient, picks: Iterator[bytes]) -> callers.Reserve:
    """A call that reserves one unit of the next pick, under fresh ids."""
    fresh = uuid_utils.uuid7

    async def reserve() -> bool:
        request = Reserve(fresh().bytes, fresh().bytes, next(picks), 1, TTL_S)
        return (await client.submit(request)).status == ReserveStatus.HELD

    return reserve


async def measure_owners(
    group: callers.CallerProcesses,
    pool: asyncpg.Pool,
    target: OwnersTarget,
    *,
    processes: int,
    concurrency: int,
    seconds: float,
    stock: int = STOCK,
) -> Measured:
    """Our rate; RuntimeError if Postgres holds anything but what was answered."""
    before = await pool.fetchval(SOLD)
    measured = await asyncio.to_thread(
        functools.partial(
            group.measure,
            target,
            processes=processes,
            callers=concurrency,
            seconds=seconds,
            stock=stock,
        )
    )
    written = await pool.fetchval(SOLD) - before
    if written != measured.accepted or not written:
        raise RuntimeError(
            f"{measured.accepted} reservations were answered, {written} are in Postgres"
        )
    return measured


def rate(
    name: str, seen: Measured, peer_of: str | None = None, *, reference: bool = False, **more: float
) -> Figure:
    """A measured rate as a figure; `more` are details."""
    return Figure(
        name=name,
        value=seen.durable_per_second,
        unit="reservations/s",
        peer_of=peer_of,
        reference=reference,
        details={**seen.details(), **more},
    )


async def best_of_owners(
    group: callers.CallerProcesses,
    pool: asyncpg.Pool,
    target: OwnersTarget,
    name: str,
    *,
    layouts: Sequence[int],
    concurrency: int,
    seconds: float,
    stock: int,
) -> Figure:
    """The best rate of the owners over several numbers of calling processes."""
    found: list[Figure] = []
    for processes in layouts:
        seen = await measure_owners(
            group,
            pool,
            target,
            processes=processes,
            concurrency=concurrency,
            seconds=seconds,
            stock=stock,
        )
        found.append(rate(name, seen, processes=processes))
    return max(found, key=lambda figure: figure.value)
