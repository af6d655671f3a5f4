"""Refunds in the books: counted before they are made, once per key, never above what was taken."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from domain.ports import Unavailable
from domain.refunds import RefundRecord, RefundScope, refunded_event
from storage.refunds import PostgresRefunds
from tests.actors.postgres import until_someone_waits_for_a_lock
from tests.storage.sold import (
    WHOLE,
    amount,
    asks,
    created,
    events,
    payments_of,
    refused,
    sell,
    settle,
    units,
)

pytestmark = pytest.mark.asyncio
TOTAL = 3_580
LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def book(pool: asyncpg.Pool) -> PostgresRefunds:
    return PostgresRefunds(pool)


async def test_a_refund_is_counted_when_it_is_written_down(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool, 3_000, 580)
    refund = await created(book, asks(order.order_id, amount(1_000)))
    assert (refund.status, refund.amount_minor, refund.currency) == ("pending", 1_000, "USD")
    assert [(one.part, one.amount_minor) for one in refund.parts] == [(1, 838), (2, 162)]
    for one, sold in zip(refund.parts, order.parts, strict=True):
        assert (one.gateway, one.payment_id) == (sold.gateway, sold.payment_id)
        assert one.charge.transaction_id == sold.transaction_id
        assert one.charge.amount_minor == sold.charge.amount_minor
        assert one.charge.payer == str(order.user_id)
        assert one.charge.asked_at is not None
    assert await payments_of(pool, order) == [("captured", 838), ("captured", 162)]
    assert await book.of_order(order.order_id) == [refund]
    assert await book.find(refund.refund_id) == refund
    assert await book.find(uuid.uuid4()) is None


async def test_when_all_parts_are_done_the_refund_is_and_the_event_is_written_once(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool, 3_000, 580)
    refund = await created(book, asks(order.order_id))
    await settle(book, refund, 2)
    assert await payments_of(pool, order) == [("captured", 3_000), ("refunded", 580)]
    assert await events(pool) == []
    for _ in range(2):
        await settle(book, refund, 1, 2)
    found = await book.find(refund.refund_id)
    assert found is not None
    assert found.status == "done"
    assert await payments_of(pool, order) == [("refunded", 3_000), ("refunded", 580)]
    about = {"order_id": str(order.order_id), "refund_id": str(refund.refund_id)}
    assert await events(pool) == [{**about, "amount_minor": TOTAL, "currency": "USD"}]
    assert await book.undone() == []


async def test_a_payment_is_refunded_when_its_last_refund_is_done(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool)
    first = await created(book, asks(order.order_id, amount(1_000)))
    rest = await created(book, asks(order.order_id))
    await settle(book, rest)
    assert await payments_of(pool, order) == [("captured", TOTAL)]
    await settle(book, first)
    assert await payments_of(pool, order) == [("refunded", TOTAL)]


async def test_two_who_finish_different_parts_at_once_finish_the_refund(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool, 3_000, 580)
    refund = await created(book, asks(order.order_id))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM refunds FOR UPDATE")
        both = [asyncio.create_task(settle(book, refund, one)) for one in (1, 2)]
        await until_someone_waits_for_a_lock(pool)
        await transaction.commit()
    await asyncio.gather(*both)
    found = await book.find(refund.refund_id)
    assert found is not None
    assert found.status == "done"
    assert len(await events(pool)) == 1


async def test_lines_are_counted_and_named(pool: asyncpg.Pool, book: PostgresRefunds) -> None:
    order = await sell(pool)
    [line] = order.lines
    wanted = RefundScope(units=units(2, line.variant_id).units, shipping=True)
    refund = await created(book, asks(order.order_id, wanted))
    [back] = refund.lines
    assert (back.sku, back.variant_id) == (line.variant_id.hex, line.variant_id)
    assert (back.quantity, back.amount_minor, refund.shipping_minor) == (2, 2_053, 500)
    refusal = await refused(book, asks(order.order_id, units(2, back.sku)))
    assert refusal.name == "line_already_refunded"
    refusal = await refused(book, asks(order.order_id, RefundScope(shipping=True)))
    assert (refusal.name, refusal.balance_minor) == ("shipping_already_refunded", 1_027)
    last = await created(book, asks(order.order_id, units(1, back.sku)))
    assert last.amount_minor == 1_027
    assert (await refused(book, asks(order.order_id))).name == "nothing_to_refund"


async def test_a_key_is_one_refund(pool: asyncpg.Pool, book: PostgresRefunds) -> None:
    order, other = await sell(pool), await sell(pool)
    first = asks(order.order_id, amount(100), idempotency_key="key")
    refund = await created(book, first)
    again = asks(order.order_id, amount(100), idempotency_key="key")
    assert await book.create(again) == RefundRecord(refund=refund, repeated=True)
    changed = asks(order.order_id, amount(200), idempotency_key="key", request_hash=b"other")
    assert (await refused(book, changed)).name == "idempotency_key_reused"
    assert await payments_of(pool, order) == [("captured", 100)]
    await created(book, asks(other.order_id, amount(100), idempotency_key="key"))
    # Also when nothing is left that could be given back a second time.
    await created(book, asks(order.order_id))
    assert await book.create(again) == RefundRecord(refund=refund, repeated=True)


async def test_one_key_at_once_is_one_refund(pool: asyncpg.Pool, book: PostgresRefunds) -> None:
    order = await sell(pool)
    tries = [asks(order.order_id, amount(100), idempotency_key="key") for _ in range(6)]
    made = await asyncio.gather(*map(book.create, tries))
    assert all(isinstance(one, RefundRecord) for one in made)
    assert len({one.refund.refund_id for one in made if isinstance(one, RefundRecord)}) == 1
    assert await payments_of(pool, order) == [("captured", 100)]


async def test_any_number_of_operators_at_once_never_pass_what_was_taken(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    order = await sell(pool, 2_000, 1_000, 580)
    item = order.lines[0].variant_id
    scopes = [amount(chance.randint(1, 900)) for _ in range(12)]
    scopes += [units(1, item), units(2, item), units(2, item), WHOLE, WHOLE]
    scopes += [RefundScope(shipping=True)] * 3
    chance.shuffle(scopes)
    made = await asyncio.gather(*[book.create(asks(order.order_id, one)) for one in scopes])
    given = sum(one.refund.amount_minor for one in made if isinstance(one, RefundRecord))
    rest = await book.create(asks(order.order_id))
    given += rest.refund.amount_minor if isinstance(rest, RefundRecord) else 0
    assert given == TOTAL, f"seed {seed}"
    assert [one for _, one in await payments_of(pool, order)] == [2_000, 1_000, 580]
    units_back = await pool.fetchval("SELECT sum(quantity) FROM refund_lines")
    assert units_back == 3, f"seed {seed}"


async def test_the_table_itself_refuses_more_than_was_taken(pool: asyncpg.Pool) -> None:
    order = await sell(pool)
    with pytest.raises(asyncpg.CheckViolationError, match="never_refunded_above"):
        await pool.execute(
            "UPDATE payments SET refunded_minor = amount_minor + 1 WHERE order_id = $1",
            order.order_id,
        )


async def test_only_captured_money_of_a_sold_order_is_refunded(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    assert await book.create(asks(uuid.uuid4())) is None
    order = await sell(pool, 3_000, 580)
    await pool.execute("UPDATE payments SET status = 'voided' WHERE part = 2")
    assert (await created(book, asks(order.order_id))).amount_minor == 3_000
    pending = await sell(pool)
    await pool.execute("UPDATE orders SET status = 'pending' WHERE order_id = $1", pending.order_id)
    assert (await refused(book, asks(pending.order_id))).name == "order_not_refundable"
    free = await sell(pool, total_minor=0, discount_minor=3_580, parts=())
    assert (await refused(book, asks(free.order_id))).name == "nothing_to_refund"


async def test_orders_from_before_tax_was_shared_are_refunded_by_line(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool)  # drafts keep no shares
    assert await pool.fetchval("SELECT tax_minor FROM order_items") is None
    refund = await created(book, asks(order.order_id, units(3, order.lines[0].variant_id)))
    assert refund.amount_minor == 3_080


async def test_open_refunds_are_found_the_longest_unseen_first_and_then_left_alone(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool)
    made = [await created(book, asks(order.order_id, amount(100))) for _ in range(3)]
    assert await book.due(made[0].created_at - timedelta(seconds=1), 10) == []
    await settle(book, made[1])
    first = await book.due(LATER, 1)
    assert [one.refund_id for one in first] == [made[0].refund_id]
    found = await book.due(LATER, 10)
    assert {one.refund_id for one in found} == {made[0].refund_id, made[2].refund_id}
    seen = datetime.now(UTC) - timedelta(minutes=1)
    assert await book.due(seen, 10) == []


async def test_what_a_provider_refused_waits_for_an_operator(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool, 3_000, 580)
    refund = await created(book, asks(order.order_id))
    await settle(book, refund, 2)
    await settle(book, refund, p1="less is left")
    assert await book.due(LATER, 10) == []
    [shown] = await book.undone()
    assert shown.status == "refused"
    assert [(one.status, one.refusal) for one in shown.parts] == [
        ("refused", "less is left"),
        ("done", None),
    ]
    assert await book.retry(refund.refund_id)
    assert not await book.retry(refund.refund_id)
    [again] = await book.due(LATER, 10)
    assert [one.status for one in again.parts] == ["pending", "done"]
    await settle(book, again, 1)
    assert await payments_of(pool, order) == [("refunded", 3_000), ("refunded", 580)]


async def test_what_was_refused_by_one_and_done_by_another_is_done(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool)
    refund = await created(book, asks(order.order_id))
    await settle(book, refund, p1="less is left")
    await settle(book, refund, 1)
    await settle(book, refund, p1="less is left")
    found = await book.find(refund.refund_id)
    assert found is not None
    assert [one.refusal for one in found.parts] == [None]
    assert found.status == "done"


async def test_a_closed_pool_is_unavailable(pool: asyncpg.Pool, book: PostgresRefunds) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await book.create(asks(uuid.uuid4()))
    with pytest.raises(Unavailable):
        await book.of_order(uuid.uuid4())


async def test_what_a_provider_refused_is_settled_outside_by_somebody_who_says_how(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool, 3_000, 580)
    refund = await created(book, asks(order.order_id))
    event = refunded_event(uuid.uuid4(), refund)
    await settle(book, refund, p1="500 are left to give back")
    first, second = refund.parts
    settled = await book.settle_outside(refund.refund_id, "bob", "by bank transfer", event)
    assert settled == [first.payment_id]
    # What is open may yet be given back by its provider, and is not settled with it.
    found = await book.find(refund.refund_id)
    assert found is not None
    assert [part.status for part in found.parts] == ["settled", "pending"]
    assert (found.parts[0].settled_by, found.parts[0].settled_note) == ("bob", "by bank transfer")
    assert found.parts[0].refusal == "500 are left to give back"
    assert found.status == "pending"
    assert await events(pool) == []
    assert not await book.retry(refund.refund_id)
    # A late answer of the provider changes nothing any more.
    await settle(book, refund, p1="again")
    await settle(book, refund, 1, 2)
    found = await book.find(refund.refund_id)
    assert found is not None
    assert [part.status for part in found.parts] == ["settled", "done"]
    assert found.status == "done"
    assert second.payment_id not in settled
    assert len(await events(pool)) == 1
    assert (await refused(book, asks(order.order_id, amount(1)))).balance_minor == 0


async def test_only_what_was_refused_is_settled_outside(
    pool: asyncpg.Pool, book: PostgresRefunds
) -> None:
    order = await sell(pool)
    refund = await created(book, asks(order.order_id))
    event = refunded_event(uuid.uuid4(), refund)
    assert await book.settle_outside(refund.refund_id, "bob", "in cash", event) == []
    await settle(book, refund, p1="no")
    both = [book.settle_outside(refund.refund_id, "bob", "in cash", event) for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert sorted([len(first), len(second)]) == [0, 1]
    assert await payments_of(pool, order) == [("refunded", TOTAL)]
    assert len(await events(pool)) == 1
    assert await book.undone() == []
