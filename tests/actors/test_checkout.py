from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

import pytest

from actors.checkout import Confirmed, KnownKey, Refused, TryAgain
from domain.fraud import FraudScore, Scoring
from domain.fraud_features import FraudInput
from domain.orders import HistoryOfCustomer
from domain.payments import ChargeRequest, RefundRequest
from tests.actors.drafts import transaction_of
from tests.actors.memory import Fault, MemoryProvider
from tests.actors.shops import Hasty, MemoryShop, an_order

pytestmark = pytest.mark.asyncio


@pytest.fixture
def shop() -> MemoryShop:
    return MemoryShop()


def _statuses(shop: MemoryShop) -> list[str]:
    return [one.status for one in shop.journal.reservations.values()]


async def _given_back(shop: MemoryShop) -> None:
    """What is given back after the answer is on its way when the owner has nothing to do."""
    while shop.parts.stock.queued or "active" in _statuses(shop):  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_an_order_is_reserved_paid_and_confirmed(shop: MemoryShop) -> None:
    pair, other = shop.pair(5), shop.pair(5)
    order, demands = an_order([(2, [pair]), (1, [other])])
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert (shop.left(pair), shop.left(other)) == (3, 4)
    assert _statuses(shop) == ["allocated"] * 2
    assert shop.provider.books[transaction_of(order)].status == "captured"
    assert shop.provider.books[transaction_of(order)].amount_minor == order.total_minor
    assert [event.subject for event in shop.orders.outbox.values()] == [order.order_id]
    assert shop.provider.calls == ["authorize", "capture"]


async def test_many_orders_share_their_batches(shop: MemoryShop) -> None:
    pair = shop.pair(60)
    orders = [an_order([(1, [pair])]) for _ in range(100)]
    async with shop.open() as parts:
        results = await asyncio.gather(*[parts.checkout.run(*order) for order in orders])
    assert sum(isinstance(result, Confirmed) for result in results) == 60
    assert sum(isinstance(result, Refused) for result in results) == 40
    assert shop.left(pair) == 0
    assert shop.provider.calls.count("authorize") == 60
    assert len(shop.orders.batches) < 10
    assert len(shop.journal.turns) < 10


class _Counting(Scoring):
    """Remembers how many orders it was given at once."""

    batches: ClassVar[list[int]] = []

    def score_batch(self, orders: Iterable[FraudInput]) -> tuple[FraudScore, ...]:
        asked = list(orders)
        self.batches.append(len(asked))
        return super().score_batch(asked)


async def test_orders_that_are_recorded_together_are_scored_together(shop: MemoryShop) -> None:
    pair = shop.pair(100)
    orders = [an_order([(1, [pair])]) for _ in range(100)]
    _Counting.batches.clear()
    parts = shop.wire(scoring=_Counting())
    async with shop.open():
        results = await asyncio.gather(*[parts.checkout.run(*order) for order in orders])
    assert all(isinstance(result, Confirmed) for result in results)
    assert sum(_Counting.batches) == 100
    assert len(_Counting.batches) <= len(shop.orders.batches)


async def test_all_or_none(shop: MemoryShop) -> None:
    plenty, short = shop.pair(5), shop.pair(1)
    order, demands = an_order([(2, [plenty]), (2, [short])])
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "out_of_stock"
    assert (result.failure["requested"], result.failure["available"]) == (2, 1)
    assert result.failure["product_id"] == demands[1].product_id
    assert (shop.left(plenty), shop.left(short)) == (5, 1)
    assert _statuses(shop) == ["released"]
    assert shop.provider.calls == []
    assert shop.orders.orders[order.order_id].status == "failed"


async def test_the_next_warehouse_is_asked_where_the_best_is_sold_out(shop: MemoryShop) -> None:
    near, far, other = shop.pair(1), shop.pair(5), shop.pair(5)
    order, demands = an_order([(2, [near, far]), (1, [other])])
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert [shop.left(pair) for pair in (near, far, other)] == [1, 3, 4]


async def test_an_unknown_pair_is_out_of_stock(shop: MemoryShop) -> None:
    order, demands = an_order([(2, [b"nowhere-nowhere-"])])
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "out_of_stock"


async def test_a_declined_card(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])], payment_token="card_declined")
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "payment_declined"
    assert result.failure["decline_code"] == "card_declined"
    assert shop.left(pair) == 5
    assert shop.orders.orders[order.order_id].payment == "declined"
    assert shop.provider.calls == ["authorize"]


async def test_a_risky_order_is_declined_before_it_is_charged(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    shop.orders.history = HistoryOfCustomer(20, 100.0, "BR")
    order, demands = an_order([(2, [pair])], billing_address={"country": "FR", "zip": "9"})
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["decline_code"] == "fraudulent"
    assert shop.left(pair) == 5
    assert shop.provider.calls == []
    assert [(one[0], one[2]) for one in shop.orders.notes] == [(order.order_id, "decline")]


@pytest.mark.parametrize("how", ["replay", "other body", "in flight"])
async def test_a_known_key_changes_nothing(shop: MemoryShop, how: str) -> None:
    """P6: the caller compares the bodies; the saga answers with what the key belongs to."""
    pair = shop.pair(5)
    first, demands = an_order([(2, [pair])])
    changes: dict[str, Any] = {"user_id": first.user_id}
    if how == "other body":
        changes["request_hash"] = b"other"
    again, again_demands = an_order([(2, [pair])], **changes)
    async with shop.open() as parts:
        if how == "in flight":
            await shop.orders.record([first])
        else:
            await parts.checkout.run(first, demands)
        result = await parts.checkout.run(again, again_demands)
        assert isinstance(result, KnownKey)
        await _given_back(shop)
    assert result.order.order_id == first.order_id
    assert result.order.status == ("pending" if how == "in flight" else "confirmed")
    assert (result.order.request_hash == again.request_hash) == (how != "other body")
    assert shop.left(pair) == (5 if how == "in flight" else 3)
    assert shop.provider.calls.count("capture") == (0 if how == "in flight" else 1)


@pytest.mark.parametrize("method", ["record", "confirm", "fail"])
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_database_that_comes_back_is_waited_for(
    shop: MemoryShop, method: str, fault: Fault
) -> None:
    pair = shop.pair(5)
    token = "card_declined" if method == "fail" else "card_1"
    order, demands = an_order([(2, [pair])], payment_token=token)
    shop.orders.faults.plan(method, fault, fault)
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused if method == "fail" else Confirmed)
    assert shop.left(pair) == (5 if method == "fail" else 3)


@pytest.mark.parametrize("method", ["authorize", "capture", "refund"])
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_provider_that_comes_back_is_asked_again(
    shop: MemoryShop, method: str, fault: Fault
) -> None:
    order, demands = an_order([(2, [shop.pair(5)])])
    shop.provider.faults.plan(method, fault, fault)
    provider = _Slow(shop) if method == "refund" else shop.provider
    parts = shop.wire(provider=provider)
    async with shop.open():
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused if method == "refund" else Confirmed)
    expected = "refunded" if method == "refund" else "captured"
    assert shop.provider.books[transaction_of(order)].status == expected


@pytest.mark.parametrize("method", ["authorize", "capture"])
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_provider_that_stays_away_leaves_the_rest_to_recovery(
    shop: MemoryShop, method: str, fault: Fault
) -> None:
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])])
    shop.provider.faults.plan(method, fault)
    hasty = shop.wire(monotonic=Hasty().monotonic)
    async with shop.open() as parts:
        assert isinstance(await hasty.checkout.run(order, demands), TryAgain)
        assert shop.orders.orders[order.order_id].status == "pending"
        shop.clock.advance(60)
        assert await parts.recovery.settle_stalled() == 1
    charged = method == "capture" or fault is Fault.AFTER
    assert shop.orders.orders[order.order_id].status == ("confirmed" if charged else "failed")
    assert shop.provider.books[transaction_of(order)].status == (
        "captured" if charged else "voided"
    )
    assert shop.left(pair) == (3 if charged else 5)


async def test_a_busy_stock_withdraws_the_order_and_frees_the_key(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])])
    shop.journal.faults.plan("write_turn", Fault.AFTER)
    hasty = shop.wire(monotonic=Hasty().monotonic)
    async with shop.open() as parts:
        assert isinstance(await hasty.checkout.run(order, demands), TryAgain)
        await _given_back(shop)
        assert shop.left(pair) == 5
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert shop.left(pair) == 3


async def test_over_its_bound_the_checkout_says_try_again() -> None:
    shop = MemoryShop(queue_max=1)
    orders = [an_order([(1, [shop.pair(1)])]) for _ in range(3)]
    async with shop.open() as parts:
        results = await asyncio.gather(*[parts.checkout.run(*order) for order in orders])
    assert [type(result) for result in results].count(TryAgain) == 2


class _Slow(MemoryProvider):
    """A provider that takes longer than any hold lasts."""

    def __init__(self, shop: MemoryShop) -> None:
        super().__init__()
        self.books, self.faults, self.calls = (
            shop.provider.books,
            shop.provider.faults,
            shop.provider.calls,
        )
        self._shop = shop

    async def authorize(self, charge: ChargeRequest) -> Any:
        self._shop.clock.advance(601)
        await self._shop.owner.call([])
        return await super().authorize(charge)


async def test_a_hold_that_ran_out_before_the_payment_came_is_refunded(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])])
    parts = shop.wire(provider=_Slow(shop))
    async with shop.open():
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "hold_expired"
    assert shop.provider.books[transaction_of(order)].status == "refunded"
    assert shop.orders.orders[order.order_id].payment == "refunded"
    assert _statuses(shop) == ["expired"]
    assert shop.left(pair) == 5


async def test_a_replica_that_finds_its_money_given_back_books_it_so(shop: MemoryShop) -> None:
    """Recovery captured and refunded while this replica was asleep."""
    order, demands = an_order([(2, [shop.pair(5)])])

    class Meanwhile(_Slow):
        async def authorize(self, charge: ChargeRequest) -> Any:
            await super().authorize(charge)
            await self.capture(charge)
            return await self.refund(charge, RefundRequest("r", charge.amount_minor))

    parts = shop.wire(provider=Meanwhile(shop))
    async with shop.open():
        assert isinstance(await parts.checkout.run(order, demands), Refused)
    assert shop.orders.orders[order.order_id].payment == "refunded"


@pytest.mark.parametrize("taken", [False, True])
async def test_a_replica_that_recovery_took_for_dead_does_not_blame_the_card(
    shop: MemoryShop, taken: bool
) -> None:
    """The buyer is told to order again, not to look for another card."""
    order, demands = an_order([(2, [shop.pair(5)])])

    class Meanwhile(_Slow):
        async def authorize(self, charge: ChargeRequest) -> Any:
            held = await super().authorize(charge)
            if not taken:
                await self.void(charge)
                return held
            await self.capture(charge)
            return await self.refund(charge, RefundRequest("r", charge.amount_minor))

    parts = shop.wire(provider=Meanwhile(shop))
    async with shop.open():
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "checkout_interrupted"
