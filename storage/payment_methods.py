"""Means of payment that customers keep: the provider's names for them, never a card number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from domain.payments import RemovedMethod, SavedMethod
from domain.transitions import OrderState
from storage.sql import load
from storage.stock_journal import reach

METHODS_OF_CUSTOMER_MAX = 20
BRAND_LENGTH_MAX = 40
LAST_DIGITS = 4
UNDER_WAY = (
    OrderState.PENDING,
    OrderState.IN_REVIEW,
    OrderState.ACCEPTED,
    OrderState.AWAITING_PAYMENT,
)
"""Orders that may yet be charged."""
T = TypeVar("T")
_SQL = load("payment_methods")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMethod:
    """A means of payment as a customer keeps it."""

    method_id: UUID
    user_id: UUID
    gateway: str
    """The provider that knows its token."""
    method: SavedMethod
    is_default: bool
    created_at: datetime


class PaymentMethods:
    """On Postgres. `new_id` gives a fresh, sortable id. Every method raises Unavailable.

    A customer has METHODS_OF_CUSTOMER_MAX of them at most, and one default as long as there is any.
    """

    def __init__(self, pool: asyncpg.Pool, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._new_id = new_id

    async def of_customer(self, user_id: UUID) -> list[StoredMethod]:
        """A customer's own, the default first, then the newest."""
        rows = await reach(lambda: self._pool.fetch(_SQL["of_customer"], user_id))
        return [_kept(row) for row in rows]

    async def load_many(self, wanted: Sequence[tuple[UUID, UUID]]) -> list[StoredMethod | None]:
        """What (user_id, method_id) name, in their order; None for what is not that customer's."""
        users, methods = [user for user, _ in wanted], [method for _, method in wanted]
        rows = await reach(lambda: self._pool.fetch(_SQL["load_many"], users, methods))
        found = {row["position"]: _kept(row) for row in rows}
        return [found.get(position) for position in range(1, len(wanted) + 1)]

    async def has_room(self, user_id: UUID, gateway: str, token: str) -> bool:
        """True if this one could be added now."""
        values = (user_id, gateway, token, METHODS_OF_CUSTOMER_MAX)
        return await reach(lambda: self._pool.fetchval(_SQL["has_room"], *values))

    async def add(
        self, user_id: UUID, gateway: str, method: SavedMethod, *, default: bool = False
    ) -> StoredMethod | None:
        """Keep one; None if the customer has as many as may be.

        The first is the default, whatever is said. The same token again is the same method.
        """
        expiry = (method.expiry_month, method.expiry_year)
        brand, last_four = method.brand[:BRAND_LENGTH_MAX], method.last_four[-LAST_DIGITS:]
        values = (method.kind, gateway, method.token, method.customer, brand, last_four, *expiry)
        method_id = self._new_id()
        place = (user_id, gateway, method.token, METHODS_OF_CUSTOMER_MAX)

        async def work(connection: Any) -> StoredMethod | None:
            if not await connection.fetchval(_SQL["has_room"], *place):
                return None
            await connection.execute(_SQL["keep_attached"], user_id, gateway, method.token)
            if default:
                await connection.execute(_SQL["clear_default"], user_id)
            return _kept(await connection.fetchrow(_SQL["add"], method_id, user_id, *values))

        return await self._alone(user_id, work)

    async def make_default(self, user_id: UUID, method_id: UUID) -> StoredMethod | None:
        """The one that is used unless another is named; None if it is not the customer's."""

        async def work(connection: Any) -> StoredMethod | None:
            if await connection.fetchrow(_SQL["find"], user_id, method_id) is None:
                return None
            await connection.execute(_SQL["clear_default"], user_id)
            return _kept(await connection.fetchrow(_SQL["set_default"], user_id, method_id))

        return await self._alone(user_id, work)

    async def remove(self, user_id: UUID, method_id: UUID) -> bool:
        """Forget one; False if the customer has no such. After the default, the newest is it.

        Orders that it paid keep their token: they can still be refunded. The provider is told
        later (`due`), so this does not depend on it.
        """

        async def work(connection: Any) -> bool:
            removed = await connection.fetchval(_SQL["remove"], user_id, method_id)
            await connection.execute(_SQL["newest_is_default"], user_id)
            return removed is not None

        return await self._alone(user_id, work)

    # -- letting providers forget: RemovedMethods --------------------------------------------------

    async def due(
        self, looked_at_before: datetime, gateways: Sequence[str], limit: int
    ) -> list[RemovedMethod]:
        values = (looked_at_before, list(gateways), limit, list(UNDER_WAY))
        rows = await reach(lambda: self._pool.fetch(_SQL["due_for_detaching"], *values))
        return [RemovedMethod(**dict(row)) for row in rows]

    async def detached(self, removed: RemovedMethod) -> None:
        values = (removed.user_id, removed.gateway, removed.token, removed.removed_at)
        await reach(lambda: self._pool.execute(_SQL["detached"], *values))

    async def _alone(self, user_id: UUID, work: Callable[[Any], Awaitable[T]]) -> T:
        """In a transaction that no other change of this customer's methods is in."""

        async def transaction() -> T:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock_customer"], user_id)
                return await work(connection)

        return await reach(transaction)


def _kept(row: asyncpg.Record) -> StoredMethod:
    return StoredMethod(
        method_id=row["method_id"],
        user_id=row["user_id"],
        gateway=row["gateway"],
        method=SavedMethod(
            token=row["token"],
            customer=row["customer"],
            kind=row["type"],
            brand=row["brand"],
            last_four=row["last_four"],
            expiry_month=row["expiry_month"],
            expiry_year=row["expiry_year"],
        ),
        is_default=row["is_default"],
        created_at=row["created_at"],
    )
