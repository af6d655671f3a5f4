"""Webhooks in the database: kept once, and until somebody has looked at their order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from domain.orders import OrderDraft, Parking
from domain.payments import ProviderEvent
from domain.transitions import OrderState
from storage import orders as storage_orders
from storage.orders import EVENTS_KEPT_FOR, PostgresOrderBook
from tests.actors.drafts import draft, transaction_of
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
LONG_AGO = datetime.now(UTC) - timedelta(days=1)
LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest_asyncio.fixture
async def book(pool: asyncpg.Pool) -> PostgresOrderBook:
    return PostgresOrderBook(pool, a_ring())


async def _told(book: PostgresOrderBook, order: OrderDraft, event_id: str = "evt_1") -> None:
    assert await book.note_event("stripe", ProviderEvent(event_id, "hint", transaction_of(order)))


async def _park(book: PostgresOrderBook, order: OrderDraft) -> None:
    parking = Parking(
        order_id=order.order_id,
        status=OrderState.AWAITING_PAYMENT,
        waits_until=LATER,
        actions=((order.parts[0].payment_id, "requires_action", None),),
    )
    assert await book.park([parking]) == ["awaiting_payment"]


async def _unhandled(pool: asyncpg.Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM payment_events WHERE handled_at IS NULL")


async def test_a_webhook_is_kept_once_per_gateway(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    event = ProviderEvent("evt_1", "payment_intent.succeeded", None)
    assert await book.note_event("stripe", event)
    assert not await book.note_event("stripe", event)
    assert await book.note_event("braintree", event)
    await book.event_handled("stripe", "evt_1")
    assert not await book.note_event("stripe", event)
    assert await _unhandled(pool) == 1


async def test_a_webhook_of_a_pending_order_is_kept_until_it_waits_and_is_looked_at(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    await _told(book, order)
    await book.events_settled(LATER)
    assert await _unhandled(pool) == 1
    await _park(book, order)
    # Nobody has asked the provider since it told, though the order was parked after that.
    await book.events_settled(LATER)
    assert await _unhandled(pool) == 1
    [found] = await book.waiting(datetime.now(UTC), LONG_AGO, 10)
    assert found.order_id == order.order_id
    await book.events_settled(LATER)
    assert await _unhandled(pool) == 0
    assert await book.waiting(datetime.now(UTC), LONG_AGO, 10) == []


async def test_a_webhook_after_the_last_look_is_kept(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    await _park(book, order)
    assert await book.waiting(datetime.now(UTC), LONG_AGO, 10) == []
    await _told(book, order)
    await book.events_settled(LATER)
    assert await _unhandled(pool) == 1
    [found] = await book.waiting(datetime.now(UTC), LONG_AGO, 10)
    assert found.order_id == order.order_id


async def test_webhooks_of_settled_and_unknown_orders_are_done_with_when_they_are_old(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    await _told(book, order)
    assert await book.note_event("stripe", ProviderEvent("evt_2", "hint", "nobodys"))
    await book.fail([(order.order_id, {"kind": "payment_declined", "detail": "no"}, {})])
    await book.events_settled(LONG_AGO)
    assert await _unhandled(pool) == 2
    await book.events_settled(LATER)
    assert await _unhandled(pool) == 0


async def test_webhooks_that_were_handled_long_ago_are_forgotten_a_few_at_a_time(
    pool: asyncpg.Pool, book: PostgresOrderBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_orders, "EVENTS_FORGOTTEN_AT_ONCE", 2)
    order = draft()
    await book.record([order])
    for number in range(4):
        await _told(book, order, f"evt_{number}")
        if number:
            await book.event_handled("stripe", f"evt_{number}")
    after = datetime.now(UTC) + EVENTS_KEPT_FOR
    for now, left in ((after - timedelta(hours=1), 4), (after + timedelta(hours=1), 2)):
        await book.events_settled(now)
        assert await pool.fetchval("SELECT count(*) FROM payment_events") == left
    await book.events_settled(after + timedelta(hours=1))
    # What is not handled yet is never forgotten.
    assert await pool.fetchval("SELECT array_agg(event_id) FROM payment_events") == ["evt_0"]


async def test_an_order_is_found_by_its_charge_and_by_its_id(book: PostgresOrderBook) -> None:
    order = draft()
    await book.record([order])
    by_charge = await book.open_by_charge(transaction_of(order))
    assert by_charge is not None
    assert by_charge == await book.open_by_id(order.order_id)
    assert (by_charge.order_id, by_charge.status) == (order.order_id, "pending")
    assert await book.open_by_charge("charge_unknown") is None
