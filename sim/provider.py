"""The simulated payment provider: takes no money, forgets nothing.

It behaves as a card processor does towards `domain.ports.PaymentProvider`: every call names
the charge by the caller's id and may be repeated; a void of a charge that does not exist yet
makes sure that it never will. Its books are in Postgres (schema `simulated_provider`), which
nothing but this module reads or writes, so they survive what the shop survives.

Cards: any token is charged, but for `DECLINES`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from actors.coalescer import Coalescer, Overloaded
from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import Unavailable
from domain.promises import Charge

DECLINES = {
    "card_declined": "card_declined",
    "card_insufficient_funds": "insufficient_funds",
    "card_expired": "expired_card",
}
CALL_TIMEOUT_S = 5.0
BATCH_MAX = 256

_AUTHORIZE = """
    WITH asked AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
            AS a (transaction_id, amount_minor, currency, decline_code)
    )
    INSERT INTO simulated_provider.charges
        (transaction_id, amount_minor, currency, status, decline_code)
    SELECT transaction_id, amount_minor, currency,
           CASE WHEN decline_code IS NULL THEN 'authorized' ELSE 'declined' END, decline_code
    FROM asked
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id, status, amount_minor, currency, decline_code
"""
# One statement for every later step: from the states it may start in to the one it ends in.
_MOVE = """
    UPDATE simulated_provider.charges SET status = $2, updated_at = now()
    WHERE transaction_id = ANY ($1::text[]) AND status = ANY ($3::text[])
    RETURNING transaction_id, status, amount_minor, currency, decline_code
"""
# What a step left as it was is read afterwards, never in the same statement: one that had to
# wait for another call of the same charge would still see the state before it.
_UNMOVED = """
    SELECT transaction_id, status, amount_minor, currency, decline_code
    FROM simulated_provider.charges WHERE transaction_id = ANY ($1::text[])
"""
_TOMBSTONE = """
    INSERT INTO simulated_provider.charges (transaction_id, amount_minor, currency, status)
    SELECT id, 0, 'USD', 'voided' FROM unnest($1::text[]) AS id
    ON CONFLICT (transaction_id) DO NOTHING
"""
_ALL = "SELECT transaction_id, status, amount_minor, currency FROM simulated_provider.charges"
_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
_UNREACHABLE += (asyncpg.OperatorInterventionError, asyncpg.InternalClientError)
_UNREACHABLE += (asyncpg.TransactionRollbackError, asyncpg.InsufficientResourcesError)


class SimulatedProvider:
    """PaymentProvider on a Postgres schema of its own; calls of many callers travel together.

    `latency_s` is how long the provider takes for each call, as a real one would.
    """

    name = "simulated"

    def __init__(
        self, pool: asyncpg.Pool, *, latency_s: float = 0.0, batch_spacing_s: float = 0.0
    ) -> None:
        self._pool = pool
        self._latency_s = latency_s
        self._authorizing: Coalescer[ChargeRequest, ChargeState] = Coalescer(
            self._authorize_many, batch_max=BATCH_MAX, spacing_s=batch_spacing_s
        )
        self._capturing: Coalescer[str, ChargeState] = Coalescer(
            self._capture_many, batch_max=BATCH_MAX, spacing_s=batch_spacing_s
        )

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Hold the money, unless the card is one that declines."""
        return await self._ask(self._authorizing, charge)

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take what is held; a charge that is not held stays as it is."""
        return await self._ask(self._capturing, charge.transaction_id)

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Drop the hold, for ever."""
        ids = [charge.transaction_id]
        await self._reach(lambda: self._pool.execute(_TOMBSTONE, ids))
        return (await self._move(ids, "voided", ["authorized"]))[0]

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back what was taken, in full."""
        del refund
        return (await self._move([charge.transaction_id], "refunded", ["captured"]))[0]

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """What is in the books."""
        query = f"{_ALL} WHERE transaction_id = $1"
        row = await self._reach(lambda: self._pool.fetchrow(query, charge.transaction_id))
        return (
            None
            if row is None
            else ChargeState(row["status"], row["amount_minor"], row["currency"])
        )

    async def charges(self) -> AsyncIterator[Charge]:
        """All charges, for the audit."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_ALL, prefetch=1_000):
                yield Charge(
                    transaction_id=row["transaction_id"],
                    amount_minor=row["amount_minor"],
                    currency=row["currency"],
                    status=row["status"],
                )

    async def _ask(self, coalescer: Coalescer[Any, ChargeState], item: Any) -> ChargeState:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        try:
            return await coalescer.submit(item)
        except Overloaded as error:
            raise Unavailable(f"payment provider: {error}") from error

    async def _authorize_many(self, charges: list[ChargeRequest]) -> list[ChargeState]:
        rows = await self._reach(
            lambda: self._pool.fetch(
                _AUTHORIZE,
                [charge.transaction_id for charge in charges],
                [charge.amount_minor for charge in charges],
                [charge.currency for charge in charges],
                [DECLINES.get(charge.payment_token) for charge in charges],
            )
        )
        return await self._with_unmoved([charge.transaction_id for charge in charges], rows)

    async def _capture_many(self, ids: list[str]) -> list[ChargeState]:
        return await self._move(ids, "captured", ["authorized"])

    async def _move(self, ids: list[str], to: str, from_: list[str]) -> list[ChargeState]:
        rows = await self._reach(lambda: self._pool.fetch(_MOVE, ids, to, from_))
        return await self._with_unmoved(ids, rows)

    async def _with_unmoved(
        self, ids: list[str], moved: Sequence[asyncpg.Record]
    ) -> list[ChargeState]:
        seen = {row["transaction_id"] for row in moved}
        unmoved = [one for one in ids if one not in seen]
        if not unmoved:
            return _in_order(ids, moved)
        rest = await self._reach(lambda: self._pool.fetch(_UNMOVED, unmoved))
        return _in_order(ids, [*moved, *rest])

    async def _reach(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await work()
        except _UNREACHABLE as error:
            raise Unavailable(f"payment provider: {type(error).__name__}: {error}") from error


def _in_order(ids: Sequence[str], rows: Sequence[asyncpg.Record]) -> list[ChargeState]:
    states = {
        row["transaction_id"]: ChargeState(
            row["status"], row["amount_minor"], row["currency"], row["decline_code"]
        )
        for row in rows
    }
    missing = ChargeState("voided", 0, "USD")
    return [states.get(one, missing) for one in ids]
