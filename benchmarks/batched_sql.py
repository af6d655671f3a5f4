"""Batched SQL as a peer of the stock owners: the best we can write without an owner.

Requests of many callers are gathered exactly as ours are, one statement settles a batch, and
what is written is what an owner writes, in tables that are made like ours. It does less than
an owner: no fence, no expiry watched, no availability published, and nobody is told what is
left. Two ways to write the statement:

- `windowed`: lock the rows in the order of their ids, let a window sum decide who still gets
  something, move the rows, insert. Any number of connections, no deadlock.
- `summed`: the client adds up what it asks of each pair, one conditional UPDATE moves what
  suffices for all of it; what does not suffice is asked again the first way. For one
  connection only: an UPDATE locks in no particular order.

A batch in which an id was there before fails on its unique constraint and is done again with
a look-up first, as an owner does it. A request that does not fit keeps smaller ones behind it
in the same batch from their turn: with one unit each, as measured, nobody is refused wrongly.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg
import uuid_utils
from asyncpg.pgproto import pgproto

from actors.coalescer import Coalescer
from benchmarks import callers
from benchmarks.engine import TTL_S, draw_pairs
from storage.postgres import open_pool

BATCH_MAX = 1_024
QUEUE_MAX = 20_000
_FILL_TIMEOUT_S = 600.0

CREATE = """
DROP SCHEMA IF EXISTS batched_peer CASCADE;
CREATE SCHEMA batched_peer;
CREATE TABLE batched_peer.inventory (LIKE public.inventory INCLUDING ALL) WITH (fillfactor = 50);
CREATE TABLE batched_peer.inventory_reservations
    (LIKE public.inventory_reservations INCLUDING ALL);
INSERT INTO batched_peer.inventory (inventory_id, product_id, variant_id, warehouse_id, quantity)
SELECT inventory_id, product_id, variant_id, warehouse_id, quantity + reserved
FROM public.inventory;
"""
_ANALYZE = "VACUUM (ANALYZE) batched_peer.inventory, batched_peer.inventory_reservations"
DROP = "DROP SCHEMA IF EXISTS batched_peer CASCADE"
SOLD = "SELECT count(*) FROM batched_peer.inventory_reservations"
BOOKS = """
SELECT (SELECT sum(reserved) FROM batched_peer.inventory)
     = (SELECT coalesce(sum(quantity), 0) FROM batched_peer.inventory_reservations)
"""
_KNOWN = """
SELECT reservation_id FROM batched_peer.inventory_reservations WHERE reservation_id = ANY ($1)
"""
_WINDOWED = """
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::float8[])
        WITH ORDINALITY AS a (id, order_id, pair, quantity, expires_at, position)
), locked AS MATERIALIZED (
    SELECT i.inventory_id, i.quantity FROM batched_peer.inventory i
    WHERE i.inventory_id = ANY ($6::uuid[]) ORDER BY i.inventory_id FOR UPDATE
), queued AS (
    SELECT a.*, l.quantity AS available,
           sum(a.quantity) OVER (PARTITION BY a.pair ORDER BY a.position) AS up_to
    FROM asked a JOIN locked l ON l.inventory_id = a.pair
), accepted AS MATERIALIZED (
    SELECT * FROM queued WHERE up_to <= available
), moved AS (
    UPDATE batched_peer.inventory i SET
        quantity = i.quantity - t.taken, reserved = i.reserved + t.taken,
        version = i.version + 1, updated_at = now()
    FROM (SELECT pair, sum(quantity) AS taken FROM accepted GROUP BY pair) t
    WHERE i.inventory_id = t.pair
)
INSERT INTO batched_peer.inventory_reservations
    (reservation_id, order_id, inventory_id, quantity, expires_at)
SELECT id, order_id, pair, quantity, to_timestamp(expires_at) FROM accepted
RETURNING reservation_id
"""
_SUMMED = """
WITH moved AS (
    UPDATE batched_peer.inventory i SET
        quantity = i.quantity - t.taken, reserved = i.reserved + t.taken,
        version = i.version + 1, updated_at = now()
    FROM unnest($6::uuid[], $7::int[]) AS t (pair, taken)
    WHERE i.inventory_id = t.pair AND i.quantity >= t.taken
    RETURNING i.inventory_id
)
INSERT INTO batched_peer.inventory_reservations
    (reservation_id, order_id, inventory_id, quantity, expires_at)
SELECT a.id, a.order_id, a.pair, a.quantity, to_timestamp(a.expires_at)
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::float8[])
    AS a (id, order_id, pair, quantity, expires_at)
JOIN moved ON moved.inventory_id = a.pair
RETURNING reservation_id
"""


class Asked(NamedTuple):
    """One request; ids are 16 bytes, expires_at in Unix seconds."""

    reservation_id: bytes
    order_id: bytes
    pair: bytes
    quantity: int
    expires_at: float


class BatchedSql:
    """Gathers requests and settles each batch by one statement, on `connections` connections."""

    def __init__(self, pool: asyncpg.Pool, *, connections: int, summed: bool = False) -> None:
        if summed and connections > 1:
            raise ValueError("the summed statement is for one connection: it could deadlock")
        self._pool = pool
        self._summed = summed
        self._lane: Coalescer[Asked, bool] = Coalescer(
            self.settle, batch_max=BATCH_MAX, queue_max=QUEUE_MAX, in_flight_max=connections
        )

    async def reserve(self, asked: Asked) -> bool:
        """True once the reservation is durable, on a repeat too; False if there is too little."""
        return await self._lane.submit(asked)

    async def settle(self, batch: Sequence[Asked]) -> list[bool]:
        """One batch at once, answers in order."""
        try:
            accepted = await self._write(batch)
        except asyncpg.UniqueViolationError:
            accepted = await self._write_what_is_new(batch)
        return [one.reservation_id in accepted for one in batch]

    async def _write(self, batch: Sequence[Asked]) -> set[bytes]:
        if not self._summed:
            return await self._windowed(batch)
        taken = Counter[bytes]()
        for one in batch:
            taken[one.pair] += one.quantity
        columns = [*_columns(batch), _uuids(list(taken)), list(taken.values())]
        accepted = _ids(await self._pool.fetch(_SUMMED, *columns))
        if len(accepted) < len(batch):
            rest = [one for one in batch if one.reservation_id not in accepted]
            accepted |= await self._windowed(rest)
        return accepted

    async def _windowed(self, batch: Sequence[Asked]) -> set[bytes]:
        pairs = _uuids(list({one.pair: None for one in batch}))
        return _ids(await self._pool.fetch(_WINDOWED, *_columns(batch), pairs))

    async def _write_what_is_new(self, batch: Sequence[Asked]) -> set[bytes]:
        """Each id once, and none that is there; whoever races us makes us look again."""
        while True:
            ids = [one.reservation_id for one in batch]
            known = _ids(await self._pool.fetch(_KNOWN, _uuids(ids)))
            fresh = {one.reservation_id: one for one in batch if one.reservation_id not in known}
            try:
                return known | await self._windowed(list(fresh.values()))
            except asyncpg.UniqueViolationError:
                continue


def _columns(batch: Sequence[Asked]) -> list[Any]:
    return [
        _uuids([one.reservation_id for one in batch]),
        _uuids([one.order_id for one in batch]),
        _uuids([one.pair for one in batch]),
        [one.quantity for one in batch],
        [one.expires_at for one in batch],
    ]


def _uuids(ids: Sequence[bytes]) -> list[Any]:
    make = pgproto.UUID
    return [make(one) for one in ids]


def _ids(rows: Sequence[asyncpg.Record]) -> set[bytes]:
    return {row["reservation_id"].bytes for row in rows}


async def prepare(pool: asyncpg.Pool) -> None:
    """Fresh tables with the pairs that are in ours, and the stock that those had."""
    await pool.execute(CREATE, timeout=_FILL_TIMEOUT_S)
    await pool.execute(_ANALYZE, timeout=_FILL_TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchedSqlTarget:
    """Batched SQL for callers in processes of their own; `connections` of each process."""

    database_url: str
    connections: int
    summed: bool
    pairs: int
    exponent: float

    def open(self, process: int) -> AbstractAsyncContextManager[callers.Reserve]:
        """The same picks as our own callers'."""
        return self._open(process)

    @contextlib.asynccontextmanager
    async def _open(self, process: int) -> AsyncIterator[callers.Reserve]:
        picks = draw_pairs(process, self.pairs, self.exponent)
        fresh, now = uuid_utils.uuid7, time.time
        pool = await open_pool(
            self.database_url,
            min_size=self.connections,
            max_size=self.connections,
            by_key=True,
        )
        try:
            writer = BatchedSql(pool, connections=self.connections, summed=self.summed)

            async def reserve() -> bool:
                asked = Asked(fresh().bytes, fresh().bytes, next(picks), 1, now() + TTL_S)
                return await writer.reserve(asked)

            yield reserve
        finally:
            await pool.close()
