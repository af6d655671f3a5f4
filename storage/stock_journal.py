"""Postgres behind the stock owners: epochs, pairs, and one transaction per turn."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog
from asyncpg.pgproto import pgproto

from domain.ports import (
    DuplicateReservation,
    LimitPassed,
    StaleEpoch,
    Unavailable,
    VersionConflict,
)
from domain.stock import NOBODY, PLAIN, Closed, Hold, Known, MovementKind, Pair, Policy
from domain.turns import CustomerOfVariant, Instruction, Turn
from storage.left_open import passing
from storage.sql import load

_SQL = load("stock_journal")
_log = structlog.get_logger(__name__)
_STALE_EPOCH = "DB001"
_VERSION_CONFLICT = "DB002"
_LIMIT_PASSED = "DB003"
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

    async def raise_epoch(
        self, owner: str, node: str, pid: int, *, pool_size: int | None = None
    ) -> int:
        async def raised(connection: Any) -> int:
            async with connection.transaction():
                await connection.execute(_SQL["lock_owner"], owner)
                if pool_size and await connection.fetchval(_SQL["pool_is"], pool_size):
                    _log.warning("stock_pool_changed", size=pool_size, by=owner)
                return await connection.fetchval(_SQL["raise_epoch"], owner, node, pid)

        return await reach(lambda: passing(self._pool, raised))

    async def checkpoint(self, owner: str, epoch: int) -> int:
        async def caught_up(connection: Any) -> int:
            return await connection.fetchval(_SQL["checkpoint"], owner, epoch)

        with _refusals():
            return await reach(lambda: passing(self._pool, caught_up))

    async def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        ids = _uuids(inventory_ids)
        rows = await reach(lambda: self._pool.fetch(_SQL["load_pairs"], ids))
        return [_pair(row) for row in rows]

    async def write_turn(self, turn: Turn) -> list[Closed]:
        with _refusals():
            if turn.plain:
                await reach(lambda: self._pool.fetch(_SQL["write_plain_turn"], *_plain(turn)))
                return []
            rows = await reach(lambda: self._pool.fetch(_SQL["write_turn"], *_parameters(turn)))
        return [
            Closed(
                row["reservation_id"].bytes,
                row["inventory_id"].bytes,
                row["quantity"],
                row["backordered"],
            )
            for row in rows
        ]

    async def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, Known]:
        rows = await reach(lambda: self._pool.fetch(_SQL["find"], _uuids(reservation_ids)))
        return {row["reservation_id"].bytes: _known(row) for row in rows}

    async def settled(self, reservation_ids: Sequence[bytes]) -> list[bytes]:
        rows = await reach(lambda: self._pool.fetch(_SQL["settled"], _uuids(reservation_ids)))
        return [row["reservation_id"].bytes for row in rows]

    async def find_as_owner(
        self, reservation_ids: Sequence[bytes], owner: str, epoch: int
    ) -> dict[bytes, Known]:
        ids = _uuids(reservation_ids)
        rows = await reach(lambda: self._pool.fetch(_SQL["find_as_owner"], ids, owner, epoch))
        if not rows[0]["fresh"]:
            raise StaleEpoch(f"epoch {epoch} of owner {owner} is stale")
        return {row["reservation_id"].bytes: _known(row) for row in rows if row["reservation_id"]}

    async def units_of(
        self, customers: Sequence[CustomerOfVariant]
    ) -> dict[CustomerOfVariant, int]:
        variants = _uuids([variant for variant, _ in customers])
        people = _uuids([customer for _, customer in customers])
        rows = await reach(lambda: self._pool.fetch(_SQL["units_of"], variants, people))
        return {(row["variant_id"].bytes, row["customer_id"].bytes): row["units"] for row in rows}

    async def instructions(self, movement_ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        rows = await reach(lambda: self._pool.fetch(_SQL["instructions"], _uuids(movement_ids)))
        return {
            row["instruction_id"].bytes: Instruction(
                row["inventory_id"].bytes,
                MovementKind[row["kind"].upper()],
                row["quantity"],
                row["status"],
            )
            for row in rows
        }

    async def reclaim(self, owner: str) -> list[bytes]:
        async def both(connection: Any) -> list[asyncpg.Record]:
            async with connection.transaction():
                await connection.execute(_SQL["lock_owner"], owner)
                await connection.execute(_SQL["reclaim"], owner)
                await connection.execute(_SQL["log_of_reclaimed"], owner)
                return await connection.fetch(_SQL["take_home"], owner)

        rows = await reach(lambda: passing(self._pool, both))
        return [row["inventory_id"].bytes for row in rows]

    async def abandoned(
        self, *, orphaned_for_s: float, limit: int
    ) -> list[tuple[bytes, bytes, bool]]:
        rows = await reach(lambda: self._pool.fetch(_SQL["abandoned"], orphaned_for_s, limit))
        found: list[tuple[UUID, UUID, bool]] = [tuple(row) for row in rows]
        return [(one.bytes, pair.bytes, overdue) for one, pair, overdue in found]


_REFUSALS: dict[str, type[Exception]] = {
    _STALE_EPOCH: StaleEpoch,
    _VERSION_CONFLICT: VersionConflict,
    _LIMIT_PASSED: LimitPassed,
}


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the database refuses, by the names of `domain.ports`."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise DuplicateReservation(str(error)) from error
    except asyncpg.CheckViolationError as error:
        # The database refuses to oversell: memory was wrong, load the pair again.
        raise VersionConflict(str(error)) from error
    except asyncpg.PostgresError as error:
        refused = _REFUSALS.get(getattr(error, "sqlstate", None) or "")
        if refused is None:
            raise
        raise refused(str(error)) from error


_HOLD_COLUMNS = (
    *("hold_ids", "order_ids", "quantities", "expires_at", "backordered"),
    *("extension_ids", "customer_ids"),
)


def _pair(row: asyncpg.Record) -> Pair:
    policy = Policy(row["safety_stock"], row["backorder_max"], row["customer_max"])
    pair = Pair(
        row["inventory_id"].bytes,
        row["variant_id"].bytes,
        row["quantity"],
        row["version"],
        row["reserved"],
        logged_to=row["logged_to"],
        policy=PLAIN if policy == PLAIN else policy,
        owner=row["owner_name"],
    )
    if row["hold_ids"]:
        columns = zip(*(row[name] for name in _HOLD_COLUMNS), strict=True)
        for one, order, quantity, expires_at, backordered, extension, customer in columns:
            pair.holds[one.bytes] = Hold(
                order.bytes,
                quantity,
                expires_at,
                backordered,
                extension.bytes if extension else NOBODY,
                customer.bytes if customer else NOBODY,
            )
    if row["waiting_ids"]:
        waiting = zip(row["waiting_ids"], row["waiting_quantities"], strict=True)
        pair.waiting = {reservation_id.bytes: quantity for reservation_id, quantity in waiting}
        pair.backordered = sum(row["waiting_quantities"])
    return pair


def _hold(row: asyncpg.Record) -> Hold:
    extension, customer = row["extension_id"], row["customer_id"]
    return Hold(
        row["order_id"].bytes,
        row["quantity"],
        row["expires_at"],
        row["backordered"],
        extension.bytes if extension else NOBODY,
        customer.bytes if customer else NOBODY,
    )


def _known(row: asyncpg.Record) -> Known:
    return Known(row["status"], row["inventory_id"].bytes, _hold(row))


def _plain(turn: Turn) -> tuple[Any, ...]:
    """The arguments of stock_turn_plain, in its order."""
    expires_at = turn.expires_at
    together = expires_at[0] if expires_at else 0.0
    apart = any(one != together for one in expires_at)
    position = _positions(turn)
    return (
        *_beginning(turn),
        _uuids(turn.reservation_ids),
        _uuids(turn.order_ids),
        [
            position[pair] << 32 | quantity
            for pair, quantity in zip(turn.reserved_pairs, turn.quantities, strict=True)
        ],
        expires_at if apart else [],
        together,
        _uuids(turn.pair_ids),
        turn.pair_versions,
        turn.pair_taken,
    )


def _positions(turn: Turn) -> dict[bytes, int]:
    pairs = turn.pair_ids + turn.logged_ids if turn.pair_ids else turn.logged_ids
    return {pair: number for number, pair in enumerate(pairs, 1)}


def _beginning(turn: Turn) -> tuple[Any, ...]:
    """What every turn begins with: the fence, and the log."""
    return (
        turn.owner,
        turn.epoch,
        turn.previous,
        turn.number,
        _uuids(turn.logged_ids),
        turn.logged_taken,
        turn.logged_until,
    )


def _parameters(turn: Turn) -> tuple[Any, ...]:
    """The arguments of stock_turn, in its order."""
    position = _positions(turn)
    limits = list(turn.limits.items())
    extended, movements = turn.extensions, turn.movements
    limited = any(turn.customer_ids)
    return (
        *_beginning(turn),
        _uuids(turn.reservation_ids),
        _uuids(turn.order_ids),
        [position[pair] for pair in turn.reserved_pairs],
        turn.quantities,
        turn.expires_at,
        [pgproto.UUID(one) if one else None for one in turn.customer_ids] if limited else [],
        turn.backordered if any(turn.backordered) else [],
        _uuids([variant for (variant, _), _ in limits]),
        _uuids([customer for (_, customer), _ in limits]),
        [units for _, (units, _) in limits],
        [most for _, (_, most) in limits],
        _uuids([reservation for reservation, _, _ in extended]),
        _uuids([extension for _, extension, _ in extended]),
        [until for _, _, until in extended],
        _uuids([movement for movement, _, _, _ in movements]),
        [position[pair] for _, pair, _, _ in movements],
        [change for _, _, change, _ in movements],
        [balance for _, _, _, balance in movements],
        _uuids(turn.served),
        _uuids(turn.released_ids),
        _uuids(turn.expired_ids),
        _uuids(turn.pair_ids),
        turn.pair_versions,
        turn.pair_taken,
        turn.pair_moved if any(turn.pair_moved) else [],
        turn.pair_backordered if any(turn.pair_backordered) else [],
        [position[pair] for pair in turn.handed_to],
        list(turn.handed_to.values()),
    )
