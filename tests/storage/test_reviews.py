"""Orders in review in Postgres: the queue, decisions, and who is too late."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.orders import OrderDraft, Parking, confirmed_event
from domain.reviews import Review, ReviewDecision
from storage.orders import PostgresOrderBook
from storage.reviews import PostgresReviews
from tests.actors.drafts import draft, line
from tests.actors.postgres import add_pair, until_someone_waits_for_a_lock
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
UNTIL = NOW + timedelta(days=1)
SOON = NOW + timedelta(minutes=5)
FLAGS = ("address_mismatch", "high_velocity")
WHY = {
    "reasons": [{"name": "high_velocity", "points": 25.0, "sentence": "Many orders lately."}],
    "model_version": "2026-11-26.f29ecf7b",
}
PROBLEM = {"kind": "payment_declined", "detail": "no"}


def decision(*, approve: bool = True, by: str = "ann", at: datetime = NOW) -> ReviewDecision:
    return ReviewDecision(approve=approve, by=by, note="seen", at=at)


@dataclass
class Books:
    """Orders, and those of them that are to be looked at."""

    pool: asyncpg.Pool
    orders: PostgresOrderBook
    reviews: PostgresReviews

    async def park(self, order: OrderDraft) -> str:
        waiting = Parking(order_id=order.order_id, status="in_review", waits_until=UNTIL)
        return (await self.orders.park([waiting]))[0]

    async def in_review(self, number: int = 1, **changes: Any) -> OrderDraft:
        order_id = uuid.UUID(int=number)
        order = draft(order_id=order_id, idempotency_key=str(number), **changes)
        await self.orders.record([order])
        await self.orders.note_fraud([(order_id, 41.5, "review", FLAGS, WHY)])
        assert await self.park(order) == "in_review"
        return order

    async def found(self, order: OrderDraft) -> Review:
        review = await self.reviews.find(order.order_id)
        assert review is not None
        return review

    async def decline(self, order: OrderDraft, by: str | None = "bob") -> str:
        told = None if by is None else decision(approve=False, by=by)
        return await self.orders.fail_review(order.order_id, PROBLEM, told)

    async def payment(self, order: OrderDraft) -> str:
        return await self.pool.fetchval(
            "SELECT status::text FROM payments WHERE order_id = $1", order.order_id
        )


@pytest_asyncio.fixture
async def books(pool: asyncpg.Pool) -> AsyncIterator[Books]:
    yield Books(pool, PostgresOrderBook(pool, a_ring()), PostgresReviews(pool))


async def test_an_order_in_review_says_what_it_is_and_why_it_waits(books: Books) -> None:
    variant_id = uuid.uuid4()
    await add_pair(books.pool, 5, variant_id=variant_id)
    order = await books.in_review(lines=[line(2, variant_id=variant_id), line(1)])
    review = await books.found(order)
    assert [review] == await books.reviews.queue(10)
    assert (review.order_id, review.user_id) == (order.order_id, order.user_id)
    assert (review.status, review.waits_until) == ("in_review", UNTIL)
    assert (review.risk_score, review.flags) == (41.5, FLAGS)
    assert (review.reasons, review.model_version) == (
        tuple(WHY["reasons"]),
        WHY["model_version"],
    )
    assert (review.total_minor, review.currency) == (order.total_minor, "USD")
    assert (review.payment_method, review.country) == ("card", "US")
    assert [(one.sku, one.name, one.quantity) for one in review.lines] == [
        (variant_id.hex, "Mug", 2),
        ("", "Mug", 1),
    ]
    assert review.decision is None
    assert await books.reviews.waiting() == 1


async def test_an_order_from_before_reasons_were_kept(books: Books) -> None:
    order = await books.in_review()
    await books.pool.execute("UPDATE orders SET fraud_reasons = NULL")
    review = await books.found(order)
    assert (review.reasons, review.model_version) == ((), None)


async def test_the_queue_comes_in_pages_the_oldest_first(books: Books) -> None:
    for number in (3, 1, 5, 2, 4):
        await books.in_review(number)
    seen: list[int] = []
    after = None
    while page := await books.reviews.queue(2, after):
        after = page[-1].order_id
        seen += [one.order_id.int for one in page]
    assert seen == [1, 2, 3, 4, 5]


async def test_decided_orders_leave_the_queue_for_the_journal(books: Books) -> None:
    orders = [await books.in_review(number) for number in (1, 2, 3)]
    for minute, order in enumerate((orders[1], orders[0])):
        at = NOW + timedelta(minutes=minute)
        await books.reviews.accept(order.order_id, decision(at=at), SOON)
    assert [one.order_id.int for one in await books.reviews.queue(10)] == [3]
    assert await books.reviews.waiting() == 1
    [newest] = await books.reviews.decided(1)
    [oldest] = await books.reviews.decided(10, newest.order_id)
    assert (newest.order_id.int, oldest.order_id.int) == (1, 2)
    assert oldest.decision == decision()
    assert await books.reviews.decided(10, oldest.order_id) == []


async def test_accepting_lets_the_order_be_charged(books: Books) -> None:
    order = await books.in_review()
    await books.reviews.accept(order.order_id, decision(), SOON)
    review = await books.found(order)
    assert (review.status, review.waits_until, review.decision) == ("accepted", UNTIL, decision())
    later = NOW + timedelta(seconds=11)
    assert await books.orders.waiting(NOW, NOW - timedelta(seconds=10), 10) == []
    [due] = await books.orders.waiting(later, NOW + timedelta(seconds=1), 10)
    assert (due.order_id, due.status) == (order.order_id, "accepted")


async def test_accepting_at_the_last_moment_leaves_time_for_the_charge(books: Books) -> None:
    order = await books.in_review()
    last, until = UNTIL - timedelta(seconds=1), UNTIL + timedelta(minutes=5)
    await books.reviews.accept(order.order_id, decision(at=last), until)
    assert (await books.found(order)).waits_until == until


async def test_when_the_time_is_over_nothing_is_accepted(books: Books) -> None:
    order = await books.in_review()
    await books.reviews.accept(order.order_id, decision(at=UNTIL), UNTIL + timedelta(minutes=5))
    review = await books.found(order)
    assert (review.status, review.waits_until, review.decision) == ("in_review", UNTIL, None)


async def test_declining_fails_the_order_and_its_payment(books: Books) -> None:
    order = await books.in_review()
    assert await books.decline(order) == "failed"
    review = await books.found(order)
    assert (review.status, review.waits_until) == ("failed", None)
    assert review.decision == decision(approve=False, by="bob")
    assert review.failure == PROBLEM
    stored = await books.orders.find(order.order_id, order.user_id)
    assert stored is not None
    assert (stored.failure, stored.failed_at is not None) == (PROBLEM, True)
    assert await books.payment(order) == "voided"


async def test_what_nobody_decided_fails_without_a_decision(books: Books) -> None:
    order = await books.in_review()
    assert await books.decline(order, by=None) == "failed"
    assert (await books.found(order)).decision is None
    assert await books.reviews.decided(10) == []


async def test_the_first_decision_counts(books: Books) -> None:
    accepted, declined = await books.in_review(1), await books.in_review(2)
    await books.reviews.accept(accepted.order_id, decision(), SOON)
    assert await books.decline(accepted) == "accepted"
    assert await books.decline(accepted, by=None) == "accepted"
    await books.decline(declined)
    await books.reviews.accept(declined.order_id, decision(), SOON)
    await books.decline(declined, by="cid")
    assert (await books.found(accepted)).decision == decision()
    assert (await books.found(declined)).decision == decision(approve=False, by="bob")
    assert await books.payment(accepted) == "created"


@pytest.mark.parametrize("first", ["accept", "decline"])
async def test_of_two_decisions_at_the_same_moment_one_waits_and_sees(
    books: Books, first: str
) -> None:
    """The second statement begins before the first commits."""
    order = await books.in_review()

    async def accept(on: Any) -> None:
        await PostgresReviews(on).accept(order.order_id, decision(), SOON)

    async def decline(on: Any) -> str:
        told = decision(approve=False, by="bob")
        book = PostgresOrderBook(on, a_ring())
        return await book.fail_review(order.order_id, PROBLEM, told)

    steps: tuple[Callable[[Any], Awaitable[Any]], ...] = (accept, decline)
    one, other = steps if first == "accept" else steps[::-1]
    async with books.pool.acquire() as connection:
        async with connection.transaction():
            await one(connection)
            late = asyncio.create_task(other(books.pool))
            await until_someone_waits_for_a_lock(books.pool)
        status = await late
    review = await books.found(order)
    assert review.decision is not None
    assert review.decision.approve == (first == "accept")
    assert review.status == ("accepted" if first == "accept" else "failed")
    assert status == ("accepted" if first == "accept" else None)


async def test_a_late_repeat_does_not_put_up_for_review_again(books: Books) -> None:
    order = await books.in_review()
    await books.reviews.accept(order.order_id, decision(), SOON)
    assert await books.park(order) == "accepted"
    waiting = Parking(order_id=order.order_id, status="awaiting_payment", waits_until=UNTIL)
    assert await books.orders.park([waiting]) == ["awaiting_payment"]
    assert await books.park(order) == "awaiting_payment"


async def test_other_orders_are_none_of_its_business(books: Books) -> None:
    plain, risky = draft(), draft()
    await books.orders.record([plain, risky])
    await books.orders.note_fraud([(risky.order_id, 90.0, "decline", FLAGS, WHY)])
    for order in (plain, risky):
        assert await books.reviews.find(order.order_id) is None
        await books.reviews.accept(order.order_id, decision(), SOON)
        assert await books.decline(order) == "pending"
    assert await books.orders.fail_review(uuid.uuid4(), PROBLEM) == "unknown"
    assert await books.reviews.queue(10) == []


async def test_a_confirmed_order_keeps_its_decision(books: Books) -> None:
    order = await books.in_review()
    await books.reviews.accept(order.order_id, decision(), SOON)
    await books.pool.execute(
        "INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,"
        " expires_at) VALUES (gen_random_uuid(), $1, gen_random_uuid(), 1, now() + interval '1h')",
        order.order_id,
    )
    event = confirmed_event(uuid.uuid4(), order.order_id, order.total_minor, order.currency)
    assert await books.orders.confirm([(order.order_id, event)]) == ["confirmed"]
    review = await books.found(order)
    assert (review.status, review.decision) == ("confirmed", decision())
