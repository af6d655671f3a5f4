"""Refunds reach the providers: once each, several parts at once, whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from actors.refunds import Refunds, RefundsConfig
from actors.retry import RetryPolicy
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import Unavailable
from domain.refunds import Refund, RefundRecord, RefundRefusal, RefundScope, refunded_event
from storage.refunds import PostgresRefunds
from tests.actors.memory import Fault, MemoryProvider
from tests.storage.sold import amount, asks, events, payments_of, sell

pytestmark = pytest.mark.asyncio
ONCE = RetryPolicy(deadline_s=0)


class Desk:
    """Refunds over the test's own database and a provider in memory."""

    def __init__(self, pool: asyncpg.Pool, **config: Any) -> None:
        self.pool = pool
        self.provider = MemoryProvider()
        self.book = PostgresRefunds(pool)
        self.refunds = self.with_providers({"simulated": self.provider}, **config)

    def with_providers(self, providers: Any, **config: Any) -> Refunds:
        values: dict[str, Any] = {"at_first": ONCE, "later": ONCE}
        return Refunds(
            book=self.book,
            providers=providers,
            new_id=uuid.uuid4,
            now=lambda: datetime.now(UTC) + timedelta(hours=1),  # nobody else is at it any more
            monotonic=time.monotonic,
            config=RefundsConfig(**{**values, **config}),
        )

    async def sell(self, *amounts: int) -> OrderDraft:
        return await sell(self.pool, *amounts, provider=self.provider)

    async def refund(self, order: OrderDraft, *scope: RefundScope) -> Refund:
        made = await self.refunds.refund(asks(order.order_id, *scope))
        assert isinstance(made, RefundRecord), made
        return await self.now(made.refund)

    async def now(self, refund: Refund) -> Refund:
        found = await self.book.find(refund.refund_id)
        assert found is not None
        return found

    def given_back(self, order: OrderDraft) -> list[int]:
        return [self.provider.books[one.transaction_id].refunded_minor for one in order.parts]


@pytest_asyncio.fixture
async def desk(pool: asyncpg.Pool) -> Desk:
    return Desk(pool)


async def test_every_part_goes_back_to_where_it_came_from(desk: Desk) -> None:
    order = await desk.sell(3_000, 580)
    refund = await desk.refund(order, amount(1_000))
    assert refund.status == "done"
    assert desk.given_back(order) == [838, 162]
    names = {f"{refund.refund_id}-{part.part}" for part in refund.parts}
    assert set(desk.provider.refunds) == names
    rest = await desk.refund(order)
    assert rest.amount_minor == 2_580
    assert desk.given_back(order) == [3_000, 580]
    states = [desk.provider.books[one.transaction_id].status for one in order.parts]
    assert states == ["refunded", "refunded"]
    assert await payments_of(desk.pool, order) == [("refunded", 3_000), ("refunded", 580)]
    assert len(await events(desk.pool)) == 2


async def test_parts_are_asked_for_at_once(desk: Desk) -> None:
    order = await desk.sell(2_000, 1_000, 580)
    inside, all_inside = 0, asyncio.Event()

    class Slow(MemoryProvider):
        async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
            nonlocal inside
            inside += 1
            if inside == 3:
                all_inside.set()
            await all_inside.wait()
            return await desk.provider.refund(charge, refund)

    refunds = desk.with_providers({"simulated": Slow()})
    async with asyncio.timeout(10):
        await refunds.refund(asks(order.order_id))
    assert desk.given_back(order) == [2_000, 1_000, 580]


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_provider_that_is_away_for_a_moment_is_asked_again(
    pool: asyncpg.Pool, fault: Fault
) -> None:
    desk = Desk(pool, at_first=RetryPolicy(first_s=0.001))
    order = await desk.sell()
    desk.provider.faults.plan("refund", fault)
    assert (await desk.refund(order, amount(1_000))).status == "done"
    assert desk.given_back(order) == [1_000]


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_provider_that_stays_away_leaves_it_open_until_it_is_back(
    desk: Desk, fault: Fault
) -> None:
    order = await desk.sell()
    desk.provider.faults.plan("refund", fault, fault)
    refund = await desk.refund(order, amount(1_000))
    assert refund.status == "pending"
    assert await payments_of(desk.pool, order) == [("captured", 1_000)]
    with pytest.raises(Unavailable):
        await desk.refunds.finish_open()
    assert (await desk.now(refund)).status == "pending"
    assert await desk.refunds.finish_open() == 1
    assert (await desk.now(refund)).status == "done"
    assert desk.given_back(order) == [1_000]
    assert await desk.refunds.finish_open() == 0
    assert len(await events(desk.pool)) == 1


async def test_one_part_that_is_away_keeps_no_other_and_none_is_asked_twice(desk: Desk) -> None:
    order = await desk.sell(3_000, 580)
    desk.provider.faults.plan("refund", Fault.BEFORE)
    refund = await desk.refund(order)
    assert sorted(part.status for part in refund.parts) == ["done", "pending"]
    desk.provider.calls.clear()
    await desk.refunds.finish_open()
    assert desk.provider.calls == ["refund"]
    assert desk.given_back(order) == [3_000, 580]
    assert (await desk.now(refund)).status == "done"


async def test_one_refund_that_cannot_be_made_keeps_no_other(desk: Desk) -> None:
    order, other = await desk.sell(), await desk.sell()
    away = desk.with_providers({})
    await away.refund(asks(order.order_id))
    await away.refund(asks(other.order_id))
    desk.provider.faults.plan("refund", Fault.BEFORE)
    with pytest.raises(Unavailable):
        await desk.refunds.finish_open()
    assert sorted(desk.given_back(order) + desk.given_back(other)) == [0, 3_580]
    await desk.refunds.finish_open()
    assert desk.given_back(order) == desk.given_back(other) == [3_580]


async def test_a_provider_that_is_not_connected_is_named(desk: Desk) -> None:
    order = await desk.sell()
    refunds = desk.with_providers({})
    await refunds.refund(asks(order.order_id))
    with pytest.raises(Unavailable, match="simulated, which is not connected"):
        await refunds.finish_open()


async def test_what_the_provider_refuses_is_kept_for_an_operator_and_not_asked_for_ever(
    desk: Desk,
) -> None:
    order = await desk.sell(3_000, 580)
    # Somebody gave it back past us, in the provider's own pages.
    await desk.provider.refund(order.parts[0].charge, RefundRequest("by-hand", 2_500))
    refund = await desk.refund(order)
    assert refund.status == "refused"
    first, second = refund.parts
    assert first.refusal == f"{refund.refund_id}-1: 500 are left to give back"
    assert second.status == "done"
    assert (desk.refunds.parts_done_total, desk.refunds.parts_refused_total) == (1, 1)
    desk.provider.calls.clear()
    assert await desk.refunds.finish_open() == 0
    assert desk.provider.calls == []
    assert await events(desk.pool) == []
    assert [one.refund_id for one in await desk.book.undone()] == [refund.refund_id]


async def test_what_was_settled_outside_is_not_asked_for_again(desk: Desk) -> None:
    order = await desk.sell(3_000, 580)
    await desk.provider.refund(order.parts[0].charge, RefundRequest("by-hand", 2_500))
    refund = await desk.refund(order)
    event = refunded_event(uuid.uuid4(), refund)
    await desk.book.settle_outside(refund.refund_id, "bob", "2500 there, 500 in cash", event)
    assert (await desk.now(refund)).status == "done"
    desk.provider.calls.clear()
    assert await desk.refunds.finish_open() == 0
    assert desk.provider.calls == []
    assert desk.given_back(order) == [2_500, 580]
    assert len(await events(desk.pool)) == 1


async def test_two_who_carry_out_the_same_refund_give_it_back_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await desk.sell(3_000, 580)
    await desk.with_providers({}).refund(asks(order.order_id))
    found = await desk.book.of_order(order.order_id)

    async def both_find_it(*_: Any) -> list[Refund]:
        return found

    monkeypatch.setattr(desk.book, "due", both_find_it)
    other = desk.with_providers({"simulated": desk.provider})
    assert await asyncio.gather(desk.refunds.finish_open(), other.finish_open()) == [1, 1]
    assert desk.given_back(order) == [3_000, 580]
    assert len(await events(desk.pool)) == 1


async def test_a_repeat_gives_nothing_back_again_and_a_refusal_nothing_at_all(desk: Desk) -> None:
    order = await desk.sell()
    first = asks(order.order_id, amount(1_000), idempotency_key="key")
    await desk.refunds.refund(first)
    again = await desk.refunds.refund(asks(order.order_id, amount(1_000), idempotency_key="key"))
    assert isinstance(again, RefundRecord)
    assert (again.repeated, again.refund.status) == (True, "done")
    refused = await desk.refunds.refund(asks(order.order_id, amount(2_581)))
    assert isinstance(refused, RefundRefusal)
    assert await desk.refunds.refund(asks(uuid.uuid4())) is None
    assert desk.given_back(order) == [1_000]


async def test_books_that_are_away_after_the_provider_answered_are_told_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await desk.sell()

    async def away(*_: Any) -> None:
        raise Unavailable("Postgres is away")

    with monkeypatch.context() as patched:
        patched.setattr(desk.book, "settle", away)
        refund = await desk.refund(order)
    assert refund.status == "pending"
    assert desk.given_back(order) == [3_580]
    await desk.refunds.finish_open()
    assert (await desk.now(refund)).status == "done"
    assert desk.given_back(order) == [3_580]
