"""Postgres behind refunds: what was asked back, of which payments, and what became of it.

A refund is written down in one transaction that holds the order's payments; it counts against
them from then on, long before a provider hears of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain import ids
from domain.orders import OutboxEvent
from domain.payments import ChargeRequest
from domain.refunds import (
    PaidPart,
    Refund,
    RefundDraft,
    RefundedLine,
    RefundPart,
    RefundPlan,
    RefundRecord,
    RefundRefusal,
    SoldLine,
    SoldOrder,
    plan_refund,
)
from domain.returns import ReturnedUnits, TakenFrom, instruction_of
from domain.transitions import PaymentState
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("refunds")
REFUSAL_LENGTH_MAX = 500
UNDONE_MAX = 1_000
"""Refunds that are listed at once."""


class PostgresRefunds:
    """RefundBook of domain.ports, on Postgres. Every method raises Unavailable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(self, draft: RefundDraft) -> RefundRecord | RefundRefusal | None:
        async def work() -> RefundRecord | RefundRefusal | None:
            async with self._pool.acquire() as connection, connection.transaction():
                return await _create(connection, draft)

        return await reach(work)

    async def due(self, looked_at_before: datetime, limit: int) -> list[Refund]:
        return await self._found("due", looked_at_before, limit)

    async def settle(
        self,
        refund: Refund,
        done: Collection[UUID],
        refused: Mapping[UUID, str],
        event: OutboxEvent,
    ) -> None:
        told = [refusal[:REFUSAL_LENGTH_MAX] or "no reason given" for refusal in refused.values()]
        refund_id = refund.refund_id

        async def note(connection: Any) -> None:
            await connection.execute(_SQL["note_done"], refund_id, list(done))
            await connection.execute(_SQL["note_refused"], refund_id, list(refused), told)

        await self._settled(refund_id, note, event)

    async def settle_outside(
        self, refund_id: UUID, by: str, how: str, event: OutboxEvent
    ) -> list[UUID]:
        """Note that the parts which a provider refused are settled without it; their payments.

        `by` is who answers for that, `how` says where the money went. They are never asked for
        again. With the last open part, the event is written.
        """
        settled: list[UUID] = []

        async def note(connection: Any) -> None:
            rows = await connection.fetch(_SQL["settle_refused"], refund_id, by, how)
            settled[:] = [row["payment_id"] for row in rows]

        await self._settled(refund_id, note, event)
        return settled

    async def _settled(
        self, refund_id: UUID, note: Callable[[Any], Awaitable[None]], event: OutboxEvent
    ) -> None:
        """`note` what became of parts, and what that means for payments and refund, as one."""
        data = orjson.dumps(event.data).decode()

        async def work() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                run: Any = connection.execute
                await run(_SQL["lock_refund"], refund_id)
                await run(_SQL["lock_payments_of_refund"], refund_id)
                await note(connection)
                await run(_SQL["note_payments"], refund_id)
                about = (event.event_id, event.type, event.subject, data)
                await run(_SQL["note_refund"], refund_id, *about)

        await reach(work)

    async def find(self, refund_id: UUID) -> Refund | None:
        """One refund."""
        found = await reach(lambda: _find(self._pool, [refund_id]))
        return found[0] if found else None

    async def of_order(self, order_id: UUID) -> list[Refund]:
        """An order's refunds, oldest first."""
        return await self._found("of_order", order_id)

    async def undone(self, limit: int = UNDONE_MAX) -> list[Refund]:
        """Refunds that are pending or refused, oldest first."""
        return await self._found("undone", limit)

    async def currency_of(self, order_id: UUID) -> str | None:
        """The currency of an order; None if there is no such order."""
        return await reach(lambda: self._pool.fetchval(_SQL["order_exists"], order_id))

    async def retry(self, refund_id: UUID) -> bool:
        """Ask again for the parts that a provider refused; False if there are none."""
        return await reach(lambda: self._pool.fetchval(_SQL["retry"], refund_id)) is not None

    async def _found(self, query: str, *arguments: Any) -> list[Refund]:
        async def work() -> list[Refund]:
            rows = await self._pool.fetch(_SQL[query], *arguments)
            return await _find(self._pool, [row["refund_id"] for row in rows])

        return await reach(work)


async def _create(connection: Any, draft: RefundDraft) -> RefundRecord | RefundRefusal | None:
    # Each statement after the lock sees what was committed while it was waited for.
    payments = await connection.fetch(_SQL["lock_payments"], draft.order_id)
    order = await _sold_order(connection, draft, payments)
    if order is None:
        return None
    known = await connection.fetchval(_SQL["by_key"], draft.order_id, draft.idempotency_key)
    if known is not None:
        [refund] = await _find(connection, [known])
        if refund.request_hash == draft.request_hash:
            return RefundRecord(refund=refund, repeated=True)
        return RefundRefusal(
            name="idempotency_key_reused",
            detail="this Idempotency-Key came with another refund of the order before; use a new"
            " key for a new refund",
            balance_minor=order.balance_minor,
            currency=order.currency,
        )
    plan = plan_refund(order, draft.scope)
    if isinstance(plan, RefundRefusal):
        return plan
    await connection.execute(_SQL["create"], *_columns(draft, plan, order.currency))
    if plan.returns:
        await connection.execute(_SQL["return_to_stock"], *_returns(draft, plan))
    [refund] = await _find(connection, [draft.refund_id])
    return RefundRecord(refund=refund, repeated=False)


async def _sold_order(
    connection: Any, draft: RefundDraft, payments: Sequence[asyncpg.Record]
) -> SoldOrder | None:
    order_id = draft.order_id
    row = await connection.fetchrow(_SQL["order"], order_id)
    if row is None:
        return None
    lines = await connection.fetch(_SQL["order_lines"], order_id)
    parts = tuple(
        PaidPart(
            payment_id=payment["payment_id"],
            part=payment["part"],
            captured_minor=payment["amount_minor"],
            refunded_minor=payment["refunded_minor"],
        )
        for payment in payments
        if payment["status"] == PaymentState.CAPTURED
    )
    # No index leads from an order to what it took: this reads all reservations that there are.
    restocks = draft.scope.restocks
    taken = await connection.fetch(_SQL["taken_from"], order_id) if restocks else ()
    return SoldOrder(
        **dict(row),
        lines=tuple(SoldLine(**dict(one)) for one in lines),
        parts=parts,
        taken=tuple(TakenFrom(**dict(one)) for one in taken),
    )


def _columns(draft: RefundDraft, plan: RefundPlan, currency: str) -> list[Any]:
    """What the `create` query takes, in its order."""
    return [
        *(draft.refund_id, draft.order_id, plan.amount_minor, plan.shipping_minor, currency),
        *(draft.reason, draft.requested_by, draft.idempotency_key, draft.request_hash),
        [one.line for one in plan.lines],
        [one.quantity for one in plan.lines],
        [one.amount_minor for one in plan.lines],
        [one.payment_id for one in plan.parts],
        [one.amount_minor for one in plan.parts],
    ]


def _returns(draft: RefundDraft, plan: RefundPlan) -> list[Any]:
    """What the `return_to_stock` query takes, in its order."""
    return [
        *(draft.refund_id, draft.requested_by, draft.reason),
        ids.encode("refund", draft.refund_id),
        [instruction_of(draft.refund_id, one) for one in plan.returns],
        [one.line for one in plan.returns],
        [one.inventory_id for one in plan.returns],
        [one.quantity for one in plan.returns],
    ]


async def _find(books: Any, refund_ids: Sequence[UUID]) -> list[Refund]:
    """The refunds with their lines and parts, oldest first. `books` is a pool or a connection."""
    if not refund_ids:
        return []
    refunds = await books.fetch(_SQL["find"], refund_ids)
    lines = _grouped(await books.fetch(_SQL["find_lines"], refund_ids))
    parts = _grouped(await books.fetch(_SQL["find_parts"], refund_ids))
    returns = _grouped(await books.fetch(_SQL["find_returns"], refund_ids))
    return [
        _refund(row, *(rows.get(row["refund_id"], ()) for rows in (lines, parts, returns)))
        for row in refunds
    ]


def _grouped(rows: Sequence[asyncpg.Record]) -> dict[UUID, list[asyncpg.Record]]:
    by_refund = itertools.groupby(rows, key=lambda row: row["refund_id"])
    return {refund_id: list(group) for refund_id, group in by_refund}


def _refund(
    row: asyncpg.Record,
    lines: Sequence[asyncpg.Record],
    parts: Sequence[asyncpg.Record],
    returns: Sequence[asyncpg.Record],
) -> Refund:
    names = ("refund_id", "order_id", "amount_minor", "shipping_minor", "currency", "reason")
    names += ("requested_by", "request_hash", "created_at", "done_at")
    return Refund(
        **{name: row[name] for name in names},
        lines=tuple(_line(one, returns) for one in lines),
        parts=tuple(_part(one, row["user_id"]) for one in parts),
    )


def _line(row: asyncpg.Record, returns: Sequence[asyncpg.Record]) -> RefundedLine:
    names = ("line", "variant_id", "sku", "quantity", "amount_minor")
    of_return = ("instruction_id", "inventory_id", "warehouse", "quantity", "status", "refusal")
    return RefundedLine(
        **{name: row[name] for name in names},
        returns=tuple(
            ReturnedUnits(**{name: one[name] for name in of_return})
            for one in returns
            if one["line"] == row["line"]
        ),
    )


def _part(row: asyncpg.Record, user_id: UUID) -> RefundPart:
    charge = ChargeRequest(
        row["transaction_id"],
        row["charge_minor"],
        row["currency"],
        row["payment_token"],
        kind=row["payment_method"],
        payer=str(user_id),
        customer=row["customer"],
        return_url=row["return_url"],
        asked_at=row["created_at"],
    )
    names = ("payment_id", "part", "gateway", "amount_minor", "done_at", "refusal")
    names += ("settled_by", "settled_note")
    return RefundPart(**{name: row[name] for name in names}, charge=charge)
