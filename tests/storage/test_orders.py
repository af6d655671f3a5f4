from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.orders import (
    FAILED_BEFORE,
    HistoryOfCustomer,
    OrderDraft,
    PaymentOfOrder,
    RecordedOrder,
    confirmed_event,
)
from domain.payments import SavedMethod
from domain.ports import Unavailable
from storage.orders import PostgresOrderBook
from storage.payment_methods import PaymentMethods
from storage.sql import load
from tests.actors.drafts import draft, line, transaction_of
from tests.actors.postgres import status_of, until_someone_waits_for_a_lock
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
LATER = datetime.now(UTC) + timedelta(hours=1)
PROBLEM = {"kind": "payment_declined", "detail": "no"}


@pytest_asyncio.fixture
async def book(pool: asyncpg.Pool) -> PostgresOrderBook:
    return PostgresOrderBook(pool, a_ring())


async def _hold(pool: asyncpg.Pool, order: OrderDraft, quantity: int = 1) -> bytes:
    reservation = uuid.uuid4()
    await pool.execute(
        "INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,"
        " expires_at) VALUES ($1, $2, gen_random_uuid(), $3, now() + interval '10 minutes')",
        reservation,
        order.order_id,
        quantity,
    )
    return reservation.bytes


def _confirmation(order: OrderDraft) -> tuple[uuid.UUID, Any]:
    event = confirmed_event(uuid.uuid4(), order.order_id, order.total_minor, order.currency)
    return order.order_id, event


async def _payment(pool: asyncpg.Pool, order: OrderDraft) -> str | None:
    return await pool.fetchval(
        "SELECT status::text FROM payments WHERE order_id = $1", order.order_id
    )


async def test_a_recorded_order_is_pending_and_reads_back(book: PostgresOrderBook) -> None:
    order = draft([line(2), line(1)], billing_address={"country": "DE", "name": "Zoë 🛒"})
    assert await book.record([order]) == [HistoryOfCustomer(0, None, None)]
    stored = await book.find(order.order_id, order.user_id)
    assert stored is not None
    assert (stored.status, stored.total_minor) == ("pending", order.total_minor)
    assert [(one.name, one.quantity) for one in stored.lines] == [("Mug", 2), ("Mug", 1)]
    assert await book.find(order.order_id, uuid.uuid4()) is None
    [pending] = await book.stalled(LATER, 10)
    assert (pending.order_id, pending.user_id) == (order.order_id, order.user_id)
    [kept], [part] = pending.parts, order.parts
    assert (kept.payment_id, kept.gateway) == (part.payment_id, part.gateway)
    about = {"payer": str(order.user_id), "asked_at": kept.charge.asked_at}
    assert kept.charge == replace(part.charge, **about)
    assert await book.stalled(LATER - timedelta(days=1), 10) == []
    assert await book.counts() == {"outbox_pending": 0, "orders_pending": 1, "orders_waiting": 0}


async def test_how_an_order_was_paid_reads_back_without_tokens(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft([line(1)])
    await book.record([order])
    own = await book.find(order.order_id, order.user_id)
    [part] = order.parts
    expected = PaymentOfOrder(
        kind="card", amount_minor=order.total_minor, currency=order.currency, status="created"
    )
    assert own is not None
    assert own.payments == (expected,)
    saved = SavedMethod(
        kind="card",
        token=part.charge.payment_token,
        customer="cus_1",
        brand="visa",
        last_four="4242",
        expiry_month=12,
        expiry_year=2034,
    )
    methods = PaymentMethods(pool, uuid.uuid4)
    await methods.add(uuid.uuid4(), part.gateway, saved)  # somebody else's
    assert await book.find(order.order_id, order.user_id) == own
    await methods.add(order.user_id, part.gateway, saved)
    own = await book.find(order.order_id, order.user_id)
    assert own is not None
    assert own.payments == (replace(expected, last_four="4242"),)


async def test_recording_again_is_as_good_as_once(book: PostgresOrderBook) -> None:
    order, other = draft(), draft()
    await book.record([order])
    again = await book.record([order, other])
    assert all(isinstance(one, HistoryOfCustomer) for one in again)
    assert await book.counts() == {"outbox_pending": 0, "orders_pending": 2, "orders_waiting": 0}


async def test_a_key_belongs_to_one_order_of_one_customer(book: PostgresOrderBook) -> None:
    """P6."""
    first = draft()
    second = draft(user_id=first.user_id, request_hash=b"other")
    third = draft(user_id=first.user_id, idempotency_key="other key")
    stranger = draft()
    answers = await book.record([first, second, third, stranger])
    known = answers[1]
    assert isinstance(known, RecordedOrder)
    assert (known.order_id, known.request_hash) == (first.order_id, b"hash")
    assert [isinstance(one, RecordedOrder) for one in answers] == [False, True, False, False]
    assert await book.by_key(first.user_id, "key") == known
    assert await book.by_key(uuid.uuid4(), "key") is None


async def test_a_key_that_is_freed_meanwhile_may_be_tried_again(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    first = draft()
    second, bystander = draft(user_id=first.user_id), draft()
    await book.record([first])

    class Withdrawing(PostgresOrderBook):
        async def _known(self, drafts: Any) -> Any:
            await book.withdraw([first.order_id])
            return await super()._known(drafts)

    with pytest.raises(Unavailable):
        await Withdrawing(pool, a_ring()).record([second, bystander])
    answers = await book.record([second, bystander])
    assert all(isinstance(one, HistoryOfCustomer) for one in answers)


async def test_the_history_of_a_customer(pool: asyncpg.Pool, book: PostgresOrderBook) -> None:
    first = draft([line(2)], shipping_address={"country": "DE"})
    await book.record([first])
    await _hold(pool, first, 2)
    await book.confirm([_confirmation(first)])
    failed = draft([line(9)], user_id=first.user_id, idempotency_key="2")
    await book.record([failed])
    await book.fail([(failed.order_id, PROBLEM, {})])
    [history] = await book.record([draft(user_id=first.user_id, idempotency_key="3")])
    assert history == HistoryOfCustomer(2, first.total_minor, "DE")


async def test_confirming_moves_everything_at_once(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft([line(2), line(1)])
    await book.record([order])
    held = [await _hold(pool, order, 2), await _hold(pool, order, 1)]
    assert len(await book.holds_of(order.order_id)) == 2
    confirmation = _confirmation(order)
    assert await book.confirm([confirmation]) == ["confirmed"]
    assert [await status_of(pool, one) for one in held] == ["allocated"] * 2
    assert await _payment(pool, order) == "captured"
    assert await book.unpublished(10) == [confirmation[1]]
    assert await book.holds_of(order.order_id) == []
    # A repeat changes nothing: not even a second event.
    assert await book.confirm([_confirmation(order)]) == ["confirmed"]
    assert await book.counts() == {"outbox_pending": 1, "orders_pending": 0, "orders_waiting": 0}


async def test_each_order_of_a_batch_is_confirmed_as_a_whole_or_not_at_all(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    whole, half, failed, unknown = (draft([line(2)]) for _ in range(4))
    await book.record([whole, half, failed])
    await _hold(pool, whole, 2)
    kept = await _hold(pool, half, 1)
    lost = await _hold(pool, half, 1)
    await pool.execute(
        "UPDATE inventory_reservations SET status = 'expired' WHERE reservation_id = $1",
        uuid.UUID(bytes=lost),
    )
    await book.fail([(failed.order_id, PROBLEM, {})])
    answers = await book.confirm([_confirmation(one) for one in (whole, half, failed, unknown)])
    assert answers == ["confirmed", "not_held", "failed", "unknown"]
    assert await status_of(pool, kept) == "active"
    assert await _payment(pool, half) == "created"
    assert len(await book.unpublished(10)) == 1


async def _while_another_does(pool: asyncpg.Pool, statement: str, values: Any, work: Any) -> Any:
    """What `work` answers if it has to wait for another's transaction to commit."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch(statement, *values)
        waiting = asyncio.create_task(work)
        await until_someone_waits_for_a_lock(pool)
        await transaction.commit()
    return await waiting


async def test_two_confirmations_at_once_both_hear_that_it_is_confirmed(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    """Whoever hears anything else gives the money of a confirmed order back (P7)."""
    order = draft()
    await book.record([order])
    await _hold(pool, order)
    order_id, event = _confirmation(order)
    values = ([order_id], [event.event_id], [event.type], ["{}"])
    answers = await _while_another_does(
        pool, load("orders")["confirm"], values, book.confirm([_confirmation(order)])
    )
    assert answers == ["confirmed"]
    assert len(await book.unpublished(10)) == 1


async def test_a_confirmation_that_waits_for_a_failure_hears_of_it(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    held = await _hold(pool, order)
    values = ([order.order_id], ["{}"], [], [])
    answers = await _while_another_does(
        pool, load("orders")["fail"], values, book.confirm([_confirmation(order)])
    )
    assert answers == ["failed"]
    assert await status_of(pool, held) == "active"


async def test_a_failure_that_waits_for_a_confirmation_hears_of_it(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    await _hold(pool, order)
    order_id, event = _confirmation(order)
    values = ([order_id], [event.event_id], [event.type], ["{}"])
    answers = await _while_another_does(
        pool, load("orders")["confirm"], values, book.fail([(order_id, PROBLEM, {})])
    )
    assert answers == ["confirmed"]
    assert await _payment(pool, order) == "captured"


async def test_failing_says_why_and_happens_once(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order = draft()
    await book.record([order])
    declined = {transaction_of(order): "declined"}
    failures = [(order.order_id, PROBLEM, declined), (uuid.uuid4(), PROBLEM, {})]
    assert await book.fail(failures) == ["failed", "unknown"]
    assert await book.fail([(order.order_id, {"kind": "other"}, {})]) == [FAILED_BEFORE]
    assert await _payment(pool, order) == "declined"
    known = await book.by_key(order.user_id, "key")
    assert known is not None
    assert (known.status, known.failure) == ("failed", PROBLEM)


async def test_withdrawing_frees_the_key_of_a_pending_order_only(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    order, done = draft(), draft()
    await book.record([order, done])
    await _hold(pool, done)
    await book.confirm([_confirmation(done)])
    await book.withdraw([order.order_id, done.order_id])
    assert await book.by_key(order.user_id, "key") is None
    assert await book.by_key(done.user_id, "key") is not None
    fresh = draft(user_id=order.user_id)
    assert isinstance((await book.record([fresh]))[0], HistoryOfCustomer)


async def test_a_fraud_score_is_kept(pool: asyncpg.Pool, book: PostgresOrderBook) -> None:
    first, second = draft(), draft()
    await book.record([first, second])
    flags = ("high_velocity", "new_payment_method")
    why = {"reasons": [{"name": "model", "points": 5.5, "sentence": "So."}], "model_version": "1"}
    await book.note_fraud(
        [(first.order_id, 45.5, "review", flags, why), (second.order_id, 61.0, "decline", (), {})]
    )
    rows = await pool.fetch("SELECT * FROM orders ORDER BY fraud_score")
    assert [(row["fraud_action"], tuple(row["fraud_flags"])) for row in rows] == [
        ("review", flags),
        ("decline", ()),
    ]
    assert [row["fraud_reasons"] for row in rows] == [why, {}]


async def test_the_outbox_keeps_the_order_of_its_ids(
    pool: asyncpg.Pool, book: PostgresOrderBook
) -> None:
    orders = [draft() for _ in range(5)]
    await book.record(orders)
    for order in orders:
        await _hold(pool, order)
    confirmations = [_confirmation(order) for order in orders]
    await book.confirm(confirmations)
    expected = sorted((event for _, event in confirmations), key=lambda one: one.event_id)
    assert await book.unpublished(3) == expected[:3]
    await book.mark_published([one.event_id for one in expected[:3]])
    assert await book.unpublished(10) == expected[3:]


async def test_a_closed_pool_is_unavailable(pool: asyncpg.Pool, book: PostgresOrderBook) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await book.record([draft()])
