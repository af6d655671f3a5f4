"""Postgres behind the checkout: orders, payments and the outbox, in batches."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from domain.orders import (
    FAILED_BEFORE,
    HistoryOfCustomer,
    InvoiceOfPayment,
    OpenOrder,
    OrderDraft,
    OrderLine,
    OutboxEvent,
    Parking,
    PaymentOfOrder,
    PaymentPart,
    RecordedOrder,
    StoredOrder,
)
from domain.payments import ChargeRequest, NextAction, ProviderEvent
from domain.ports import FraudNote, Unavailable
from domain.reviews import ReviewDecision
from domain.transitions import OrderState
from storage.key_ring import KeyRing
from storage.personal_data import PersonalData, country_of, open_personal, seal_personal
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("orders")
EVENTS_KEPT_FOR = timedelta(days=30)
"""Webhooks that were handled. Providers repeat theirs for some days at most."""
EVENTS_FORGOTTEN_AT_ONCE = 1_000


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

    async def note_fraud(self, scores: Sequence[FraudNote]) -> None:
        ids, risks, actions, flags, reasons = zip(*scores, strict=True)
        values = (ids, risks, actions, [",".join(one) for one in flags], list(map(_json, reasons)))
        await reach(lambda: self._pool.execute(_SQL["note_fraud"], *values))

    async def fail(
        self, failures: Sequence[tuple[UUID, Mapping[str, Any], Mapping[str, str]]]
    ) -> list[str]:
        ids = [order_id for order_id, _, _ in failures]
        problems = [_json(problem) for _, problem, _ in failures]
        charges = [charge for _, _, left in failures for charge in left.items()]
        names = [transaction_id for transaction_id, _ in charges]
        states = [state for _, state in charges]
        rows = await reach(lambda: self._pool.fetch(_SQL["fail"], ids, problems, names, states))
        now = {row["order_id"] for row in rows if row["now"]}
        statuses = zip(ids, await self._statuses(ids, rows), strict=True)
        return [
            FAILED_BEFORE if status == OrderState.FAILED and one not in now else status
            for one, status in statuses
        ]

    async def fail_review(
        self, order_id: UUID, failure: Mapping[str, Any], decision: ReviewDecision | None = None
    ) -> str:
        told = (None, None, None) if decision is None else (decision.by, decision.note, decision.at)
        values = (order_id, dict(failure), *told)
        rows = await reach(lambda: self._pool.fetch(_SQL["fail_review"], *values))
        return (await self._statuses([order_id], rows))[0]

    async def park(self, parkings: Sequence[Parking]) -> list[str]:
        told = [(one.order_id, *action) for one in parkings for action in one.actions]
        rows = await reach(
            lambda: self._pool.fetch(
                _SQL["park"],
                [one.order_id for one in parkings],
                [one.status for one in parkings],
                [one.waits_until for one in parkings],
                [order_id for order_id, _, _, _ in told],
                [payment_id for _, payment_id, _, _ in told],
                [status for _, _, status, _ in told],
                [_json(_of_action(action)) for _, _, _, action in told],
            )
        )
        return await self._statuses([one.order_id for one in parkings], rows)

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
        payments = await reach(lambda: self._pool.fetch(_SQL["find_payments"], order_id))
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
            waits_until=row["waits_until"],
            actions=_actions(row["actions"]),
            payments=tuple(_payment(payment) for payment in payments),
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

    async def stalled(self, older_than: datetime, limit: int) -> list[OpenOrder]:
        return await self._open_orders("stalled", older_than, limit)

    async def waiting(
        self, now: datetime, looked_at_before: datetime, limit: int
    ) -> list[OpenOrder]:
        return await self._open_orders("waiting", now, looked_at_before, limit)

    async def open_by_charge(self, transaction_id: str) -> OpenOrder | None:
        return next(iter(await self._open_orders("open_by_charge", transaction_id)), None)

    async def open_by_id(self, order_id: UUID) -> OpenOrder | None:
        return next(iter(await self._open_orders("open_by_id", order_id)), None)

    async def _open_orders(self, query: str, *arguments: Any) -> list[OpenOrder]:
        rows = await reach(lambda: self._pool.fetch(_SQL[query], *arguments))
        grouped = itertools.groupby(rows, key=lambda row: row["order_id"])
        return [_open_order(list(group)) for _, group in grouped]

    async def switch_gateway(self, transaction_id: str, gateway: str, age_max_s: float) -> bool:
        values = (transaction_id, gateway, age_max_s)
        row = await reach(lambda: self._pool.fetchrow(_SQL["switch_gateway"], *values))
        return row is not None

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while somebody else has it."""
        row = await reach(lambda: self._pool.fetchrow(_SQL["lease"], name, holder, seconds))
        return row is not None

    async def note_event(self, gateway: str, event: ProviderEvent) -> bool:
        """Keep a webhook; False if it had come before."""
        values = (gateway, event.event_id, event.type, event.transaction_id)
        return await reach(lambda: self._pool.fetchval(_SQL["note_event"], *values)) is not None

    async def event_handled(self, gateway: str, event_id: str) -> None:
        """Nothing is left to be done about a webhook."""
        await reach(lambda: self._pool.execute(_SQL["event_handled"], gateway, event_id))

    async def events_settled(self, received_before: datetime) -> None:
        values = (received_before, received_before - EVENTS_KEPT_FOR, EVENTS_FORGOTTEN_AT_ONCE)
        await reach(lambda: self._pool.execute(_SQL["events_settled"], *values))

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
        return dict(row)


def _record_arguments(drafts: Sequence[OrderDraft], ring: KeyRing) -> list[Any]:
    """The columns of the `record` query, in its order."""
    lines = [
        (draft.order_id, number, line)
        for draft in drafts
        for number, line in enumerate(draft.lines, 1)
    ]
    parts = [
        (draft.order_id, number, part, part.charge)
        for draft in drafts
        for number, part in enumerate(draft.parts, 1)
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
        [line.discount_minor for _, _, line in lines],
        [line.tax_minor for _, _, line in lines],
        [part.payment_id for _, _, part, _ in parts],
        [order_id for order_id, _, _, _ in parts],
        [number for _, number, _, _ in parts],
        [charge.transaction_id for _, _, _, charge in parts],
        [charge.amount_minor for _, _, _, charge in parts],
        [charge.currency for _, _, _, charge in parts],
        [charge.kind for _, _, _, charge in parts],
        [charge.payment_token for _, _, _, charge in parts],
        [part.gateway for _, _, part, _ in parts],
        [charge.customer for _, _, _, charge in parts],
        [charge.return_url for _, _, _, charge in parts],
        [_json(d.pricing) for d in drafts],
    ]


def _personal(draft: OrderDraft) -> PersonalData:
    return PersonalData(draft.shipping_address, draft.billing_address, draft.contact)


def _totals(row: asyncpg.Record) -> dict[str, Any]:
    names = ("order_id", "status", "failure", "subtotal_minor", "tax_minor", "shipping_minor")
    names += ("discount_minor", "total_minor", "currency", "estimated_delivery")
    return {name: row[name] for name in names}


def _recorded(row: asyncpg.Record) -> RecordedOrder:
    return RecordedOrder(
        **_totals(row),
        request_hash=row["request_hash"],
        waits_until=row["waits_until"],
        actions=_actions(row["actions"]),
    )


def _of_action(action: NextAction | None) -> Mapping[str, Any] | None:
    if action is None:
        return None
    return {"kind": action.kind, "url": action.url, "instructions": dict(action.instructions)}


def _actions(kept: Sequence[Mapping[str, Any]] | None) -> tuple[NextAction, ...]:
    return tuple(NextAction(**one) for one in kept or ())


def _payment(row: asyncpg.Record) -> PaymentOfOrder:
    names = ("kind", "amount_minor", "currency", "status", "last_four")
    return PaymentOfOrder(**{name: row[name] for name in names}, invoice=_invoice(row))


def _invoice(row: asyncpg.Record) -> InvoiceOfPayment | None:
    if row["number"] is None:
        return None
    return InvoiceOfPayment(
        number=row["number"], due_on=row["due_on"], open_minor=row["open_minor"]
    )


def _open_order(rows: Sequence[asyncpg.Record]) -> OpenOrder:
    order = rows[0]
    parts = tuple(
        PaymentPart(payment_id=row["payment_id"], gateway=row["gateway"], charge=_charge(row))
        for row in rows
        if row["payment_id"] is not None
    )
    names = ("order_id", "user_id", "status", "total_minor", "currency", "waits_until")
    return OpenOrder(**{name: order[name] for name in names}, parts=parts)


def _charge(row: asyncpg.Record) -> ChargeRequest:
    return ChargeRequest(
        row["transaction_id"],
        row["amount_minor"],
        row["currency"],
        row["payment_token"],
        kind=row["payment_method"],
        payer=str(row["user_id"]),
        customer=row["customer"],
        return_url=row["return_url"],
        asked_at=row["created_at"],
    )
