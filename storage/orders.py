"""Postgres behind the checkout: orders, payments and the outbox, in batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain.orders import (
    HistoryOfCustomer,
    OrderDraft,
    OrderLine,
    OutboxEvent,
    PendingOrder,
    RecordedOrder,
    StoredOrder,
)
from domain.ports import Unavailable
from storage.key_ring import KeyRing
from storage.personal_data import PersonalData, country_of, open_personal, seal_personal
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("orders")


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


class PostgresOrderBook:
    """OrderBook and Outbox of domain.ports, on Postgres."""

    def __init__(self, pool: asyncpg.Pool, ring: KeyRing) -> None:
        self._pool = pool
        self._ring = ring

    async def record(self, drafts: Sequence[OrderDraft]) -> list[HistoryOfCustomer | RecordedOrder]:
        arguments = _record_arguments(drafts, self._ring)
        rows = await reach(lambda: self._pool.fetch(_SQL["record"], *arguments))
        written: dict[UUID, HistoryOfCustomer | RecordedOrder] = {
            row["order_id"]: HistoryOfCustomer(row["recent"], row["average"], row["country"])
            for row in rows
        }
        missing = [draft for draft in drafts if draft.order_id not in written]
        if missing:
            for draft, known in zip(missing, await self._known(missing), strict=True):
                # Our own order, written by a try whose answer was lost, is as good as new.
                ours = known.order_id == draft.order_id
                written[draft.order_id] = HistoryOfCustomer(0, None, None) if ours else known
        return [written[draft.order_id] for draft in drafts]

    async def _known(self, drafts: Sequence[OrderDraft]) -> list[RecordedOrder]:
        users = [draft.user_id for draft in drafts]
        keys = [draft.idempotency_key for draft in drafts]
        rows = await reach(lambda: self._pool.fetch(_SQL["by_keys"], users, keys))
        by_position = {row["position"]: _recorded(row) for row in rows}
        if len(by_position) < len(drafts):
            raise Unavailable("the order of an idempotency key was withdrawn meanwhile; try again")
        return [by_position[position] for position in range(1, len(drafts) + 1)]

    async def confirm(self, confirmations: Sequence[tuple[UUID, OutboxEvent]]) -> list[str]:
        ids = [order_id for order_id, _ in confirmations]
        events = [event for _, event in confirmations]
        rows = await reach(
            lambda: self._pool.fetch(
                _SQL["confirm"],
                ids,
                [event.event_id for event in events],
                [event.type for event in events],
                [_json(event.data) for event in events],
            )
        )
        return await self._statuses(ids, rows)

    async def note_fraud(self, scores: Sequence[tuple[UUID, float, str, tuple[str, ...]]]) -> None:
        ids, risks, actions, flags = zip(*scores, strict=True)
        joined = [",".join(one) for one in flags]
        await reach(lambda: self._pool.execute(_SQL["note_fraud"], ids, risks, actions, joined))

    async def fail(self, failures: Sequence[tuple[UUID, Mapping[str, Any], str]]) -> list[str]:
        ids = [order_id for order_id, _, _ in failures]
        problems = [_json(problem) for _, problem, _ in failures]
        payments = [payment for _, _, payment in failures]
        rows = await reach(lambda: self._pool.fetch(_SQL["fail"], ids, problems, payments))
        return await self._statuses(ids, rows)

    async def _statuses(self, ids: Sequence[UUID], rows: Sequence[asyncpg.Record]) -> list[str]:
        """Each order's status; asked for again where the statement could not see the newest."""
        by_id = {row["order_id"]: row["status"] for row in rows}
        unseen = [order_id for order_id, status in by_id.items() if status is None]
        if unseen:
            fresh = await reach(lambda: self._pool.fetch(_SQL["statuses"], unseen))
            by_id |= {row["order_id"]: row["status"] for row in fresh}
        return [by_id.get(order_id) or "unknown" for order_id in ids]

    async def withdraw(self, order_ids: Sequence[UUID]) -> None:
        ids = list(order_ids)
        await reach(lambda: self._pool.execute(_SQL["withdraw"], ids))

    async def by_key(self, user_id: UUID, key: str) -> RecordedOrder | None:
        row = await reach(lambda: self._pool.fetchrow(_SQL["by_keys"], [user_id], [key]))
        return None if row is None else _recorded(row)

    async def find(self, order_id: UUID, user_id: UUID) -> StoredOrder | None:
        row = await reach(lambda: self._pool.fetchrow(_SQL["find"], order_id, user_id))
        if row is None:
            return None
        items = await reach(lambda: self._pool.fetch(_SQL["find_items"], order_id))
        lines = tuple(
            OrderLine(
                product_id=item["product_id"],
                variant_id=item["variant_id"],
                sku=item["sku"] or "",
                name=item["name"],
                quantity=item["quantity"],
                unit_price_minor=item["unit_price_minor"],
            )
            for item in items
        )
        return StoredOrder(
            **_totals(row),
            created_at=row["created_at"],
            confirmed_at=row["confirmed_at"],
            failed_at=row["failed_at"],
            lines=lines,
        )

    async def personal(self, order_id: UUID) -> PersonalData | None:
        """The order's addresses and contact data; None if there is no such order.

        Raises UnknownKeyError, TamperedError.
        """
        row = await reach(lambda: self._pool.fetchrow(_SQL["personal"], order_id))
        if row is None:
            return None
        if row["sealed_personal"] is None:  # from before there were keys
            return PersonalData(row["shipping_address"], row["billing_address"], None)
        return open_personal(self._ring, order_id, row["sealed_personal"])

    async def stalled(self, older_than: datetime, limit: int) -> list[PendingOrder]:
        rows = await reach(lambda: self._pool.fetch(_SQL["stalled"], older_than, limit))
        return [PendingOrder(**dict(row)) for row in rows]

    async def holds_of(self, order_id: UUID) -> list[tuple[bytes, bytes]]:
        rows = await reach(lambda: self._pool.fetch(_SQL["holds_of"], order_id))
        return [(row["reservation_id"].bytes, row["inventory_id"].bytes) for row in rows]

    async def unpublished(self, limit: int) -> list[OutboxEvent]:
        rows = await reach(lambda: self._pool.fetch(_SQL["unpublished"], limit))
        return [OutboxEvent(**dict(row)) for row in rows]

    async def mark_published(self, event_ids: Collection[UUID]) -> None:
        ids = list(event_ids)
        await reach(lambda: self._pool.execute(_SQL["mark_published"], ids))

    async def counts(self) -> dict[str, int]:
        """How many events wait for the relay and how many orders are pending."""
        row = await reach(lambda: self._pool.fetchrow(_SQL["counts"]))
        assert row is not None
        return {"outbox_pending": row["outbox_pending"], "orders_pending": row["orders_pending"]}


def _record_arguments(drafts: Sequence[OrderDraft], ring: KeyRing) -> list[Any]:
    """The columns of the `record` query, in its order."""
    lines = [
        (draft.order_id, number, line)
        for draft in drafts
        for number, line in enumerate(draft.lines, 1)
    ]
    return [
        [d.order_id for d in drafts],
        [d.user_id for d in drafts],
        [d.cart_id for d in drafts],
        [d.idempotency_key for d in drafts],
        [d.request_hash for d in drafts],
        [d.subtotal_minor for d in drafts],
        [d.tax_minor for d in drafts],
        [d.shipping_minor for d in drafts],
        [d.discount_minor for d in drafts],
        [d.total_minor for d in drafts],
        [d.currency for d in drafts],
        [d.payment_method for d in drafts],
        [d.shipping_method for d in drafts],
        [seal_personal(ring, d.order_id, _personal(d)) for d in drafts],
        [country_of(d.shipping_address) for d in drafts],
        [d.estimated_delivery for d in drafts],
        [order_id for order_id, _, _ in lines],
        [number for _, number, _ in lines],
        [line.product_id for _, _, line in lines],
        [line.variant_id for _, _, line in lines],
        [line.name for _, _, line in lines],
        [line.quantity for _, _, line in lines],
        [line.unit_price_minor for _, _, line in lines],
        [d.payment_id for d in drafts],
        [d.transaction_id for d in drafts],
        [d.payment_token for d in drafts],
        [d.gateway for d in drafts],
    ]


def _personal(draft: OrderDraft) -> PersonalData:
    return PersonalData(draft.shipping_address, draft.billing_address, draft.contact)


def _totals(row: asyncpg.Record) -> dict[str, Any]:
    names = ("order_id", "status", "failure", "subtotal_minor", "tax_minor", "shipping_minor")
    names += ("discount_minor", "total_minor", "currency", "estimated_delivery")
    return {name: row[name] for name in names}


def _recorded(row: asyncpg.Record) -> RecordedOrder:
    return RecordedOrder(**_totals(row), request_hash=row["request_hash"])
