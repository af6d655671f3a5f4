"""Postgres behind the stock owners: epochs, pairs, and one transaction per turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from asyncpg.pgproto import pgproto

from domain.ports import DuplicateReservation, StaleEpoch, Unavailable, VersionConflict
from domain.stock import Closed, Hold, Pair, Turn
from storage.sql import load

_SQL = load("stock_journal")
_STALE_EPOCH = "DB001"
_VERSION_CONFLICT = "DB002"
T = TypeVar("T")

# The server is gone, is starting, is stopping, did not answer in time, is out of something, or
# rolled the transaction back for another one's sake: each passes, and the work may be repeated.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InternalClientError,
)


async def reach(work: Callable[[], Awaitable[T]]) -> T:
    """`work`'s result; Unavailable where the database could not be reached."""
    try:
        return await work()
    except UNREACHABLE as error:
        raise Unavailable(f"Postgres: {type(error).__name__}: {error}") from error


def _uuids(ids: Sequence[bytes]) -> list[Any]:
    make = pgproto.UUID  # C: ten times faster to make and to send than uuid.UUID
    return [make(one) for one in ids]


class PostgresStockJournal:
    """StockJournal and StockSweep of domain.ports, on Postgres."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def raise_epoch(self, owner: str, node: str, pid: int) -> int:
        return await reach(lambda: self._pool.fetchval(_SQL["raise_epoch"], owner, node, pid))

    async def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        ids = _uuids(inventory_ids)

        async def both() -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
            # One snapshot for both: a row and the holds that explain it.
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                pairs = await connection.fetch(_SQL["load_pairs"], ids)
                return pairs, await connection.fetch(_SQL["load_holds"], ids)

        rows, holds = await reach(both)
        pairs = {
            row["inventory_id"].bytes: Pair(
                row["inventory_id"].bytes,
                row["variant_id"].bytes,
                row["quantity"],
                row["version"],
            )
            for row in rows
        }
        for row in holds:
            # A stray without its pair is the audit's matter (P2), no reason to stop the owner.
            if (pair := pairs.get(row["inventory_id"].bytes)) is not None:
                hold = Hold(row["order_id"].bytes, row["quantity"], row["expires_at"])
                pair.holds[row["reservation_id"].bytes] = hold
        return list(pairs.values())

    async def write_turn(self, turn: Turn) -> list[Closed]:
        position = {pair: number for number, pair in enumerate(turn.pair_ids, 1)}
        try:
            rows = await self._pool.fetch(
                _SQL["write_turn"],
                turn.owner,
                turn.epoch,
                _uuids(turn.reservation_ids),
                _uuids(turn.order_ids),
                [position[pair] for pair in turn.reserved_pairs],
                turn.quantities,
                turn.expires_at,
                _uuids(turn.released_ids),
                _uuids(turn.expired_ids),
                _uuids(turn.pair_ids),
                turn.pair_versions,
                turn.pair_taken,
            )
        except asyncpg.UniqueViolationError as error:
            raise DuplicateReservation(str(error)) from error
        except asyncpg.CheckViolationError as error:
            # The database refuses to oversell: memory was wrong, load the pair again.
            raise VersionConflict(str(error)) from error
        except UNREACHABLE as error:
            raise Unavailable(f"Postgres: {type(error).__name__}: {error}") from error
        except asyncpg.PostgresError as error:
            sqlstate: str | None = getattr(error, "sqlstate", None)
            if sqlstate == _STALE_EPOCH:
                raise StaleEpoch(str(error)) from error
            if sqlstate == _VERSION_CONFLICT:
                raise VersionConflict(str(error)) from error
            raise
        return [
            Closed(row["reservation_id"].bytes, row["inventory_id"].bytes, row["quantity"])
            for row in rows
        ]

    async def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, tuple[str, bytes, Hold]]:
        rows = await reach(lambda: self._pool.fetch(_SQL["find"], _uuids(reservation_ids)))
        return {
            row["reservation_id"].bytes: (
                row["status"],
                row["inventory_id"].bytes,
                Hold(row["order_id"].bytes, row["quantity"], row["expires_at"]),
            )
            for row in rows
        }

    async def abandoned(
        self, *, orphaned_for_s: float, limit: int
    ) -> list[tuple[bytes, bytes, bool]]:
        rows = await reach(lambda: self._pool.fetch(_SQL["abandoned"], orphaned_for_s, limit))
        found: list[tuple[UUID, UUID, bool]] = [tuple(row) for row in rows]
        return [(one.bytes, pair.bytes, overdue) for one, pair, overdue in found]
