"""Promotions in Postgres: limits hold whoever asks at once, and what is given back is free again."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from domain.promotions import AUTOMATIC_MAX, Kind, Promotion, PromotionError, Scope
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus
from storage.postgres import open_pool
from storage.promotions import PostgresPromotions, unbalanced_orders, violations
from tests.domain.promotion_samples import promotion

REDEEMED, USED_UP = RedemptionStatus.REDEEMED, RedemptionStatus.USED_UP
CUSTOMER_USED_UP, RETURNED = RedemptionStatus.CUSTOMER_USED_UP, RedemptionStatus.RETURNED

pytestmark = pytest.mark.asyncio


async def added(book: PostgresPromotions, **changes: Any) -> Promotion:
    one = promotion(**{"code": f"C{uuid4().hex[:12].upper()}", **changes})
    await book.add(one)
    return one


def use(*promotions: Promotion, user: UUID | None = None, order: UUID | None = None) -> Redemption:
    return Redemption(
        order_id=order or uuid4(),
        user_id=user or uuid4(),
        promotion_ids=tuple(one.promotion_id for one in promotions),
    )


def statuses(outcomes: Sequence[RedemptionOutcome]) -> list[RedemptionStatus]:
    return [one.status for one in outcomes]


async def uses(pool: asyncpg.Pool, one: Promotion) -> int:
    return await pool.fetchval(
        "SELECT uses FROM promotion_counters WHERE promotion_id = $1", one.promotion_id
    )


_UNDECIDED = ("pending", "in_review", "accepted", "awaiting_payment")


async def order_with(pool: asyncpg.Pool, order_id: UUID, status: str) -> None:
    await pool.execute(
        "INSERT INTO orders (order_id, user_id, cart_id, idempotency_key, request_hash, status,"
        " subtotal_minor, tax_minor, shipping_minor, total_minor, currency, payment_method,"
        " shipping_method, shipping_address, estimated_delivery, confirmed_at, failed_at, failure,"
        " waits_until)"
        " VALUES ($1, $1, $1, 'key', '', $2::order_status, 0, 0, 0, 0, 'USD', 'card', 'standard',"
        " '{}', '2026-12-01', CASE WHEN $2 = 'confirmed' THEN now() END,"
        " CASE WHEN $2 = 'failed' THEN now() END, CASE WHEN $2 = 'failed' THEN '{}'::jsonb END,"
        " CASE WHEN $2 IN ('in_review', 'accepted', 'awaiting_payment') THEN now() END)",
        order_id,
        status,
    )


async def test_of_a_batch_the_first_get_what_is_left(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_max=3)
    batch = [use(one) for _ in range(5)]
    outcomes = await book.redeem_many(batch)
    assert statuses(outcomes) == [REDEEMED] * 3 + [USED_UP] * 2
    assert outcomes[4].promotion_id == one.promotion_id
    assert await uses(pool, one) == 3
    assert statuses(await book.redeem_many(batch)) == statuses(outcomes)
    assert await uses(pool, one) == 3
    assert await violations(pool) == []


async def test_a_customer_has_no_more_than_a_customer_may(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_per_customer_max=2)
    ann, bob = uuid4(), uuid4()
    batch = [use(one, user=user) for user in (ann, bob, ann, ann, bob)]
    outcomes = await book.redeem_many(batch)
    assert statuses(outcomes) == [REDEEMED, REDEEMED, REDEEMED, CUSTOMER_USED_UP, REDEEMED]
    assert await book.exhausted(ann, [one.promotion_id]) == {one.promotion_id}
    assert await book.exhausted(uuid4(), [one.promotion_id]) == frozenset()
    assert await violations(pool) == []


async def test_an_order_gets_all_of_its_promotions_or_none(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    few, many = await added(book, uses_max=1), await added(book, uses_max=10)
    outcomes = await book.redeem_many([use(many, few), use(many, few), use(many)])
    assert statuses(outcomes) == [REDEEMED, USED_UP, REDEEMED]
    assert outcomes[1].promotion_id == few.promotion_id
    assert (await uses(pool, few), await uses(pool, many)) == (1, 2)
    assert await violations(pool) == []


async def test_what_has_no_limit_is_written_down_and_needs_no_counter(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    free = await added(book, code=None)
    outcomes = await book.redeem_many([use(free) for _ in range(20)] + [use()])
    assert statuses(outcomes) == [REDEEMED] * 21
    assert await uses(pool, free) is None
    assert (await book.overview(everything=False, limit=10))[0].uses == 20
    assert await violations(pool) == []


async def test_a_promotion_that_is_not_there_is_told_of(pool: asyncpg.Pool) -> None:
    book, stranger = PostgresPromotions(pool), promotion()
    [outcome] = await book.redeem_many([use(stranger)])
    assert outcome == RedemptionOutcome(
        status=RedemptionStatus.UNKNOWN, promotion_id=stranger.promotion_id
    )


async def test_uses_are_given_back_once_and_not_taken_again(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_max=1, uses_per_customer_max=1)
    first, second = use(one), use(one)
    assert statuses(await book.redeem_many([first, second])) == [REDEEMED, USED_UP]
    assert await book.give_back([first.order_id, uuid4()]) == 1
    assert await book.give_back([first.order_id]) == 0
    assert await book.give_back([]) == 0
    assert await uses(pool, one) == 0
    assert statuses(await book.redeem_many([first, second])) == [RETURNED, REDEEMED]
    assert await violations(pool) == []


async def test_an_order_cannot_change_its_mind(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one, other = await added(book), await added(book)
    order = uuid4()
    assert statuses(await book.redeem_many([use(one, order=order)])) == [REDEEMED]
    assert statuses(await book.redeem_many([use(one, other, order=order)])) == [RETURNED]


async def test_orphans_are_returned_and_standing_orders_are_not(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_max=10)
    batch = {status: use(one) for status in ("confirmed", *_UNDECIDED, "failed", "")}
    await book.redeem_many(list(batch.values()))
    for status, asked in batch.items():
        if status:
            await order_with(pool, asked.order_id, status)
    now = datetime.now(UTC)
    assert await book.return_orphans(now - timedelta(hours=1), 100) == 0
    later = now + timedelta(hours=1)
    assert await book.return_orphans(later, 100) == 2
    assert await book.return_orphans(later, 100) == 0
    assert await uses(pool, one) == 1 + len(_UNDECIDED)
    open_ones = await pool.fetch(
        "SELECT order_id FROM promotion_redemptions WHERE state = 'redeemed' AND settled_at IS NULL"
    )
    undecided = {batch[status].order_id for status in _UNDECIDED}
    assert {row["order_id"] for row in open_ones} == undecided
    assert await violations(pool) == []


async def test_many_replicas_at_once_never_pass_a_limit(database_url: str) -> None:
    """Eight connections, each with batches in an order of its own, and uses given back between."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pool = await open_pool(database_url, max_size=8)
    try:
        book = PostgresPromotions(pool)
        total, each, both = (
            await added(book, uses_max=40),
            await added(book, uses_per_customer_max=3),
            await added(book, uses_max=60, uses_per_customer_max=2),
        )
        free = await added(book)
        users = [uuid4() for _ in range(12)]
        outcomes: Counter[RedemptionStatus] = Counter()
        kept: list[Redemption] = []
        returned = 0

        async def replica(own: random.Random) -> None:
            nonlocal returned
            for _ in range(12):
                batch = [
                    use(
                        *own.sample([total, each, both, free], own.randint(1, 4)),
                        user=own.choice(users),
                    )
                    for _ in range(own.randint(1, 12))
                ]
                answers = statuses(await book.redeem_many(batch))
                outcomes.update(answers)
                got = [one for one, said in zip(batch, answers, strict=True) if said is REDEEMED]
                if own.random() < 0.5:
                    assert set(statuses(await book.redeem_many(got))) <= {REDEEMED}
                gone = [one.order_id for one in got if own.random() < 0.3]
                returned += len(gone)
                await asyncio.gather(book.give_back(gone), book.give_back(gone))
                kept.extend(one for one in got if one.order_id not in gone)
                assert await violations(pool) == []

        async with asyncio.timeout(60):
            await asyncio.gather(*(replica(random.Random(chance.random())) for _ in range(8)))
        assert await violations(pool) == []
        assert outcomes[REDEEMED] == len(kept) + returned
        assert outcomes[USED_UP]
        assert outcomes[CUSTOMER_USED_UP]
        held = Counter(promotion_id for one in kept for promotion_id in one.promotion_ids)
        assert await uses(pool, total) == held[total.promotion_id] <= 40
        assert await uses(pool, both) == held[both.promotion_id] <= 60
    finally:
        await pool.close()


async def test_the_last_use_goes_to_one_of_many(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_max=1)
    answers = await asyncio.gather(*(book.redeem_many([use(one)]) for _ in range(16)))
    assert sorted(statuses([only for [only] in answers])) == [REDEEMED] + [USED_UP] * 15


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE promotion_counters SET uses = uses - 1", "counter_differs"),
        ("UPDATE promotion_customers SET uses = uses - 1", "counter_of_customer_differs"),
        ("UPDATE promotions SET uses_max = 1", "over_the_maximum"),
        ("UPDATE promotions SET uses_per_customer_max = 1", "over_the_maximum_of_a_customer"),
        (
            "UPDATE promotion_redemptions SET promotion_id = gen_random_uuid()",
            "unknown_promotion",
        ),
    ],
)
async def test_the_audit_sees_what_is_wrong(pool: asyncpg.Pool, damage: str, what: str) -> None:
    book, user = PostgresPromotions(pool), uuid4()
    one = await added(book, uses_max=5, uses_per_customer_max=5)
    await book.redeem_many([use(one, user=user), use(one, user=user)])
    assert await violations(pool) == []
    await pool.execute(damage)
    assert what in {violation.what for violation in await violations(pool)}


async def test_the_audit_sees_a_discount_that_was_never_counted(pool: asyncpg.Pool) -> None:
    book, order = PostgresPromotions(pool), uuid4()
    one = await added(book, uses_max=5)
    await order_with(pool, order, "confirmed")
    record = {"promotions": [{"promotion_id": str(one.promotion_id)}]}
    await pool.execute("UPDATE orders SET pricing = $2 WHERE order_id = $1", order, record)
    assert [found.what for found in await violations(pool)] == ["order_without_redemption"]
    await book.redeem_many([use(one, order=order)])
    assert await violations(pool) == []


async def test_the_audit_sees_lines_that_do_not_add_up(pool: asyncpg.Pool) -> None:
    order, record = uuid4(), {"promotions": [], "shipping_discount_minor": 99}
    await order_with(pool, order, "confirmed")
    await pool.execute(
        "UPDATE orders SET subtotal_minor = 100, discount_minor = 109, shipping_minor = 99,"
        " tax_minor = 8, total_minor = 98, pricing = $2 WHERE order_id = $1",
        order,
        record,
    )
    await pool.execute(
        "INSERT INTO order_items (order_id, line, product_id, variant_id, name, quantity,"
        " unit_price_minor, subtotal_minor, discount_minor, tax_minor)"
        " VALUES ($1, 1, $1, $1, 'Hat', 1, 60, 60, 6, 5), ($1, 2, $1, $1, 'Cap', 1, 40, 40, 4, 3)",
        order,
    )
    assert await unbalanced_orders(pool) == []
    await pool.execute("UPDATE order_items SET tax_minor = 4 WHERE line = 2")
    assert await unbalanced_orders(pool) == [order]


async def test_the_database_itself_refuses_one_use_too_many(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    await added(book, uses_max=1)
    with pytest.raises(asyncpg.CheckViolationError, match="promotion_never_overused"):
        await pool.execute("UPDATE promotion_counters SET uses = 2")


async def test_a_promotion_comes_back_as_it_was_added(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    kinds = [await added(book, kind=kind, priority=7, exclusive=True) for kind in Kind]
    scope = Scope(product_ids=frozenset({uuid4()}), categories=frozenset({"shoes", "hats"}))
    kinds.append(await added(book, code=None, scope=scope, minimum_minor=5, currency="EUR"))
    known, _ = await book.changed_since(0)
    assert {one.promotion_id: one for one in known} == {one.promotion_id: one for one in kinds}


async def test_changes_are_told_of_and_single_uses_are_not(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book, uses_max=2)
    _, xmin = await book.changed_since(0)
    first = use(one)
    await book.redeem_many([first])
    changed, xmin = await book.changed_since(xmin)
    assert changed == []
    await book.redeem_many([use(one)])
    changed, xmin = await book.changed_since(xmin)
    assert [dataclasses.replace(one, used_up=True)] == changed
    await book.give_back([first.order_id])
    changed, xmin = await book.changed_since(xmin)
    assert [one] == changed
    assert await book.end(one.code or "")
    [changed_one], _ = await book.changed_since(xmin)
    assert changed_one.ends_at is not None
    assert not await book.end(str(one.promotion_id))


async def test_what_does_not_fit_is_refused(pool: asyncpg.Pool) -> None:
    book = PostgresPromotions(pool)
    one = await added(book)
    with pytest.raises(PromotionError, match="take another"):
        await added(book, code=one.code)
    with pytest.raises(PromotionError, match="percentage"):
        await added(book, percent_bps=0)
    for _ in range(AUTOMATIC_MAX):
        await added(book, code=None)
    with pytest.raises(PromotionError, match="automatic"):
        await added(book, code=None)
