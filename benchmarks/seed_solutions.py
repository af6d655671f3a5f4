"""The case study's three ways to reserve stock, as peers of the stock owners.

Each follows its listing statement by statement, on the listing's own tables in a schema of
their own. Where a listing leaves a step open (`create_reservation`, `get_reservation`), the
cheapest step that does what its name says stands in. Nothing holds the peers back: statements
are prepared, the pool has the size at which they are fastest and skips the session reset
between two uses. Run them under uvloop, as everything else here.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from benchmarks import callers
from benchmarks.figures import Measured, closed_loop

PRODUCT_ID = UUID("5eed0000-0000-4000-8000-000000000001")
WAREHOUSE_ID = UUID("5eed0000-0000-4000-8000-000000000002")

CONNECTIONS_MAX = 64
"""The most connections to Postgres that the peers may hold."""

CONNECTIONS = min((os.cpu_count() or 1) + 1, CONNECTIONS_MAX)
"""What serves the peers best: of 2 to 64 on two cores, 3 gave the strongest of them its highest
rates at 64 and 256 callers, up to twice those of 64, and none of the others lost by it. One hot
row has one writer at a time; more only adds waiters."""

REDIS_CONNECTIONS_MAX = 1_024
"""Enough for a connection per caller: no lock holder waits behind callers without the lock."""

RETRIES_MAX = 3
BACK_OFF_S = 0.01
LOCK_TTL_S = 10
RESERVATION_TTL_S = 600
STATEMENT_TIMEOUT_S = 30.0

# The case study's tables; its inline INDEX clauses become statements, as Postgres wants them.
_CREATE = """
DROP SCHEMA IF EXISTS seed_peer CASCADE;
CREATE SCHEMA seed_peer;
CREATE TABLE seed_peer.inventory (
    inventory_id UUID PRIMARY KEY,
    product_id UUID NOT NULL,
    variant_id UUID,
    warehouse_id UUID NOT NULL,
    quantity INT NOT NULL CHECK (quantity >= 0),
    reserved INT DEFAULT 0,
    version INT DEFAULT 0,
    updated_at TIMESTAMP DEFAULT NOW(),
    UNIQUE (product_id, variant_id, warehouse_id)
);
CREATE INDEX inventory_product ON seed_peer.inventory (product_id);
CREATE INDEX inventory_warehouse ON seed_peer.inventory (warehouse_id);
CREATE TABLE seed_peer.inventory_reservations (
    reservation_id UUID PRIMARY KEY,
    order_id UUID NOT NULL,
    product_id UUID NOT NULL,
    variant_id UUID,
    quantity INT NOT NULL,
    warehouse_id UUID NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    status VARCHAR(20) DEFAULT 'active'
);
CREATE INDEX reservations_order ON seed_peer.inventory_reservations (order_id);
CREATE INDEX reservations_expires ON seed_peer.inventory_reservations (expires_at);
CREATE INDEX reservations_status ON seed_peer.inventory_reservations (status);
"""
_DROP = "DROP SCHEMA IF EXISTS seed_peer CASCADE"
_STOCK = """
INSERT INTO seed_peer.inventory (inventory_id, product_id, warehouse_id, quantity)
VALUES ($1, $2, $3, $4)
"""
_CREATE_RESERVATION = """
INSERT INTO seed_peer.inventory_reservations
    (reservation_id, order_id, product_id, quantity, warehouse_id, expires_at)
VALUES ($1, $2, $3, $4, $5, NOW() + $6 * INTERVAL '1 second')
"""
_SOLD_AS_RESERVATIONS = """
SELECT COALESCE(SUM(quantity), 0)::bigint FROM seed_peer.inventory_reservations
"""
_SOLD_AS_RESERVED = "SELECT COALESCE(SUM(reserved), 0)::bigint FROM seed_peer.inventory"
_LEFT = "SELECT COALESCE(SUM(quantity), 0)::bigint FROM seed_peer.inventory"

_READ_VERSION = """
SELECT quantity, version, warehouse_id
FROM seed_peer.inventory
WHERE product_id = $1
  AND quantity >= $2
ORDER BY quantity DESC
LIMIT 1
"""
_COMPARE_AND_SET = """
UPDATE seed_peer.inventory
SET quantity = quantity - $1,
    version = version + 1,
    updated_at = NOW()
WHERE product_id = $2
  AND warehouse_id = $3
  AND version = $4
  AND quantity >= $1
"""
_READ_UNDER_LOCK = """
SELECT quantity, warehouse_id
FROM seed_peer.inventory
WHERE product_id = $1
  AND quantity >= $2
LIMIT 1
"""
_TAKE_UNDER_LOCK = """
UPDATE seed_peer.inventory
SET quantity = quantity - $1
WHERE product_id = $2
  AND warehouse_id = $3
"""
_CONFIRM = """
UPDATE seed_peer.inventory
SET quantity = quantity - $1,
    reserved = reserved + $1
WHERE product_id = $2
"""
_TAKE_AND_RESERVE = """
WITH taken AS (
    UPDATE seed_peer.inventory
    SET quantity = quantity - $4,
        version = version + 1,
        updated_at = NOW()
    WHERE product_id = $3
      AND quantity >= $4
    RETURNING warehouse_id
)
INSERT INTO seed_peer.inventory_reservations
    (reservation_id, order_id, product_id, quantity, warehouse_id, expires_at)
SELECT $1, $2, $3, $4, warehouse_id, NOW() + $5 * INTERVAL '1 second' FROM taken
"""

_RELEASE_LOCK = """
if redis.call("get", KEYS[1]) == ARGV[1] then
    return redis.call("del", KEYS[1])
else
    return 0
end
"""
_ONE_ROW_UPDATED = "UPDATE 1"
_ONE_ROW_INSERTED = "INSERT 0 1"


class AccountingError(RuntimeError):
    """A peer's table does not hold exactly what the peer told its callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedTarget:
    """A peer for callers in processes of their own; `connections` of each process."""

    kind: type[_OnPostgres]
    database_url: str
    redis_url: str
    connections: int

    def open(self, process: int) -> AbstractAsyncContextManager[callers.Reserve]:
        """Prepare the peer's tables before."""
        del process
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[callers.Reserve]:
        async with open_peers(self.database_url, self.redis_url, connections=self.connections) as (
            pool,
            redis,
        ):
            solution = cast("SeedSolution", self.kind(pool, redis))
            yield lambda: solution.reserve(PRODUCT_ID, 1, uuid.uuid4())


class SeedSolution(Protocol):
    """A peer: one product in one warehouse, reserved by many callers at once."""

    name: str

    async def prepare(self, stock: int) -> None:
        """Fresh tables in the schema `seed_peer`, with `stock` units of `PRODUCT_ID`."""
        ...

    async def reserve(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        """True once the reservation is in Postgres; False is what a shopper reads as sold out."""
        ...

    async def sold(self) -> int:
        """Units that Postgres holds as sold."""
        ...

    async def left(self) -> int:
        """Units that Postgres holds as available."""
        ...

    async def clear(self) -> None:
        """Drop the schema and forget the keys in Redis."""
        ...


async def _keep_session(connection: Any) -> None:
    """Nothing here changes a session, so a connection goes back without a round trip."""


@asynccontextmanager
async def open_peers(
    database_url: str, redis_url: str, *, connections: int = CONNECTIONS
) -> AsyncIterator[tuple[asyncpg.Pool, Redis]]:
    """A warm pool of `connections` (at most `CONNECTIONS_MAX`) and Redis, for a `with`."""
    if not 1 <= connections <= CONNECTIONS_MAX:
        raise ValueError(f"the peers take 1 to {CONNECTIONS_MAX} connections, not {connections}")
    redis = Redis.from_url(
        redis_url,
        max_connections=REDIS_CONNECTIONS_MAX,
        socket_timeout=STATEMENT_TIMEOUT_S,
    )
    try:
        async with asyncpg.create_pool(
            database_url,
            min_size=connections,
            max_size=connections,
            command_timeout=STATEMENT_TIMEOUT_S,
            max_inactive_connection_lifetime=0,
            reset=_keep_session,
        ) as pool:
            yield pool, redis
    finally:
        await redis.aclose()


class _OnPostgres:
    """What all peers share: the tables, and a record of a reservation."""

    _sold_query = _SOLD_AS_RESERVATIONS

    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._db = pool
        self._redis = redis

    async def prepare(self, stock: int) -> None:
        async with self._db.acquire() as connection, connection.transaction():
            await connection.execute(_CREATE)
            await connection.execute(_STOCK, uuid.uuid4(), PRODUCT_ID, WAREHOUSE_ID, stock)

    async def sold(self) -> int:
        return await self._db.fetchval(self._sold_query)

    async def left(self) -> int:
        return await self._db.fetchval(_LEFT)

    async def clear(self) -> None:
        await self._db.execute(_DROP)


async def _create_reservation(
    db: Any, order_id: UUID, product_id: UUID, quantity: int, warehouse_id: UUID
) -> None:
    await db.execute(
        _CREATE_RESERVATION,
        uuid.uuid4(),
        order_id,
        product_id,
        quantity,
        warehouse_id,
        RESERVATION_TTL_S,
    )


class OptimisticLocking(_OnPostgres):
    """Solution 1: read the version, compare and set, three tries with exponential back-off."""

    name = "seed solution 1: optimistic locking"

    async def reserve(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        for attempt in range(RETRIES_MAX):
            async with self._db.acquire() as db:
                inventory = await db.fetchrow(_READ_VERSION, product_id, quantity)
                if inventory is None:
                    return False
                warehouse_id = inventory["warehouse_id"]
                updated = await db.execute(
                    _COMPARE_AND_SET, quantity, product_id, warehouse_id, inventory["version"]
                )
                if updated == _ONE_ROW_UPDATED:
                    await _create_reservation(db, order_id, product_id, quantity, warehouse_id)
                    return True
            await asyncio.sleep(BACK_OFF_S * 2**attempt)
        return False


class RedisLock(_OnPostgres):
    """Solution 2: a lock in Redis around read, update and insert; refuses while it is held."""

    name = "seed solution 2: Redis lock"

    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        super().__init__(pool, redis)
        self._release = redis.register_script(_RELEASE_LOCK)

    async def reserve(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        lock_key = f"inventory:lock:{product_id}"
        lock_id = str(uuid.uuid4())
        if not await self._redis.set(lock_key, lock_id, nx=True, ex=LOCK_TTL_S):
            return False
        try:
            return await self._reserve_under_lock(product_id, quantity, order_id)
        finally:
            await self._release(keys=[lock_key], args=[lock_id])

    async def _reserve_under_lock(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        async with self._db.acquire() as db:
            inventory = await db.fetchrow(_READ_UNDER_LOCK, product_id, quantity)
            if inventory is None:
                return False
            warehouse_id = inventory["warehouse_id"]
            await db.execute(_TAKE_UNDER_LOCK, quantity, product_id, warehouse_id)
            await _create_reservation(db, order_id, product_id, quantity, warehouse_id)
            return True

    async def clear(self) -> None:
        await self._redis.delete(f"inventory:lock:{PRODUCT_ID}")
        await super().clear()


class RedisReservation(_OnPostgres):
    """Solution 3: DECRBY in Redis, a reservation with a TTL, confirmed to Postgres.

    The listing keeps the reservation under an id of its own and looks it up by order; a second
    key, written in the same round trip, leads from the order to it. Its background job only
    acts on what nobody confirmed within ten minutes, so no measurement meets it.
    """

    name = "seed solution 3: Redis reservation, confirmed"
    _sold_query = _SOLD_AS_RESERVED

    async def prepare(self, stock: int) -> None:
        await super().prepare(stock)
        await self._redis.set(f"inventory:{PRODUCT_ID}:available", stock)

    async def reserve(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        if not await self.reserve_with_ttl(product_id, quantity, order_id):
            return False
        await self.confirm_reservation(order_id)
        return True

    async def reserve_with_ttl(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        """The listing's first half: held in Redis alone, so not yet durable."""
        available_key = f"inventory:{product_id}:available"
        if await self._redis.decrby(available_key, quantity) < 0:
            await self._redis.incrby(available_key, quantity)
            return False
        reservation_id = str(uuid.uuid4())
        reservation = json.dumps(
            {
                "id": reservation_id,
                "product_id": str(product_id),
                "quantity": quantity,
                "order_id": str(order_id),
                "expires_at": time.time() + RESERVATION_TTL_S,
            }
        )
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(f"reservation:{reservation_id}", reservation, ex=RESERVATION_TTL_S)
            pipe.set(f"reservation:order:{order_id}", reservation, ex=RESERVATION_TTL_S)
            await pipe.execute()
        return True

    async def confirm_reservation(self, order_id: UUID) -> None:
        """The listing's second half; LookupError when the reservation is gone."""
        text = await self._redis.get(f"reservation:order:{order_id}")
        if text is None:
            raise LookupError(f"order {order_id} has no reservation; it expired or was confirmed")
        reservation = json.loads(text)
        await self._db.execute(_CONFIRM, reservation["quantity"], reservation["product_id"])
        await self._redis.delete(
            f"reservation:{reservation['id']}", f"reservation:order:{order_id}"
        )

    async def clear(self) -> None:
        await self._redis.delete(f"inventory:{PRODUCT_ID}:available")
        await super().clear()


class ConditionalUpdate(_OnPostgres):
    """Not of the case study: one conditional UPDATE and the insert, in one statement."""

    name = "one conditional UPDATE"

    async def reserve(self, product_id: UUID, quantity: int, order_id: UUID) -> bool:
        inserted = await self._db.execute(
            _TAKE_AND_RESERVE, uuid.uuid4(), order_id, product_id, quantity, RESERVATION_TTL_S
        )
        return inserted == _ONE_ROW_INSERTED


SEED_SOLUTIONS = (OptimisticLocking, RedisLock, RedisReservation)
REFERENCES = (ConditionalUpdate,)


async def measure(
    solution: SeedSolution, *, concurrency: int, seconds: float, stock: int
) -> Measured:
    """Prepare `stock` units and let `concurrency` callers take one after the other.

    Raises ValueError when the stock ran out, which would make the rate meaningless, and
    AccountingError when the table does not hold exactly what the callers were told.
    """
    await solution.prepare(stock)
    measured = await closed_loop(
        lambda: solution.reserve(PRODUCT_ID, 1, uuid.uuid4()),
        concurrency=concurrency,
        seconds=seconds,
        stock=stock,
    )
    await verify(solution, measured.accepted, stock)
    return measured


async def verify(solution: SeedSolution, accepted: int, stock: int) -> None:
    """Raises what `measure` raises unless Postgres holds exactly what was told."""
    sold, left = await solution.sold(), await solution.left()
    if sold != accepted or sold + left != stock:
        raise AccountingError(
            f"{solution.name} accepted {accepted} of {stock} units, but Postgres holds"
            f" {sold} sold and {left} left; do not use this figure"
        )
    if left == 0:
        raise ValueError(
            f"{solution.name} sold all {stock} units before the time was over; measure with more"
        )
