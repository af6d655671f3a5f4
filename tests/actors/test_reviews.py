"""Orders in review: an operator's decision, its race with others and with the end of the time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from actors import reviews
from actors.checkout import Confirmed, Refused, Waiting
from actors.reviews import CHARGE_WAIT_S, Decided, Reviews
from actors.settlement import SettlementConfig
from domain.orders import HistoryOfCustomer, OrderDraft
from domain.payments import ChargeRequest
from domain.ports import Unavailable
from tests.actors.drafts import part, transaction_of
from tests.actors.memory import Fault
from tests.actors.memory_reviews import MemoryReviews
from tests.actors.shops import Hasty, MemoryShop, Shop, an_order

pytestmark = pytest.mark.asyncio
REVIEW_S = SettlementConfig().review_wait_s
RISKY = HistoryOfCustomer(6, 5_000.0, "BR")
"""Of a buyer whose next order is looked at: ordered much lately, elsewhere so far."""


@pytest.fixture
def shop() -> MemoryShop:
    shop = MemoryShop()
    shop.orders.history = RISKY
    return shop


class Desk:
    """A replica that takes decisions."""

    def __init__(self, shop: MemoryShop, parts: Shop) -> None:
        self.book = MemoryReviews(shop.orders)
        self.reviews = Reviews(
            book=self.book,
            orders=shop.orders,
            settlement=parts.settlement,
            now=shop.clock.utc,
        )

    async def decide(self, order: OrderDraft, decision: str, by: str = "ann") -> Decided:
        """The answer, once what follows from it is done."""
        approve = decision == "approve"
        decided = await self.reviews.decide(order.order_id, approve=approve, by=by, note="so")
        await self.reviews.drain()
        assert decided is not None
        return decided


async def in_review(shop: MemoryShop, replica: Shop, pair: bytes, **changes: Any) -> OrderDraft:
    order, demands = an_order([(2, [pair])], **changes)
    result = await replica.checkout.run(order, demands)
    assert isinstance(result, Waiting)
    assert (result.status, shop.left(pair)) == ("in_review", 3)
    assert shop.provider.calls == []
    return order


def state(shop: MemoryShop, order: OrderDraft) -> tuple[str, str | None]:
    """The order, and what the provider knows of its charge."""
    charge = shop.provider.books.get(transaction_of(order))
    return shop.orders.orders[order.order_id].status, charge and charge.status


async def test_the_reasons_are_kept_with_the_score(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order = await in_review(shop, parts, shop.pair(5))
        review = await Desk(shop, parts).book.find(order.order_id)
    assert review is not None
    assert review.model_version
    assert [one["name"] for one in review.reasons] == [*review.flags, "model"]
    assert sum(one["points"] for one in review.reasons) == pytest.approx(review.risk_score)
    assert all(one["sentence"] for one in review.reasons)


class Forecast:
    """Knows what it would decline; keeps what it was asked."""

    def __init__(self, code: str | None) -> None:
        self.code = code
        self.asked: list[str] = []

    async def foresee(self, charges: Sequence[ChargeRequest]) -> str | None:
        self.asked += [charge.transaction_id for charge in charges]
        return self.code


def _split() -> dict[str, Any]:
    """An order that is paid at two providers, one of which may know beforehand."""
    order_id = uuid.uuid4()
    by_card = part(order_id, 1_000, name="card")
    return {"order_id": order_id, "parts": (by_card, part(order_id, 1_580, gateway="second"))}


async def test_what_cannot_be_paid_is_refused_without_a_review(shop: MemoryShop) -> None:
    pair, forecast = shop.pair(5), Forecast("invoice_not_approved")
    async with shop.open():
        parts = shop.wire(forecasts={"second": forecast})
        order, demands = an_order([(2, [pair])], **_split())
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["decline_code"] == "invoice_not_approved"
    assert forecast.asked == [order.parts[1].transaction_id]
    assert shop.orders.orders[order.order_id].status == "failed"
    assert (shop.provider.calls, shop.left(pair)) == ([], 5)


async def test_what_can_be_paid_waits_for_its_review(shop: MemoryShop) -> None:
    forecast = Forecast(None)
    async with shop.open():
        parts = shop.wire(forecasts={"second": forecast})
        await in_review(shop, parts, shop.pair(5), **_split())
        await in_review(shop, parts, shop.pair(5))
    assert len(forecast.asked) == 1


async def test_nothing_is_foreseen_for_orders_that_nobody_looks_at(shop: MemoryShop) -> None:
    forecast = Forecast("insufficient_credit")
    shop.orders.history = HistoryOfCustomer(0, None, None)
    async with shop.open():
        parts = shop.wire(forecasts={"second": forecast})
        order, demands = an_order([(2, [shop.pair(5)])], **_split())
        assert isinstance(await parts.checkout.run(order, demands), Confirmed)
    assert forecast.asked == []


async def test_an_approved_order_is_charged_and_confirmed_at_once(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        decided = await Desk(shop, parts).decide(order, "approve")
        assert await parts.relay.relay() == 1
    assert decided.counted
    decision = shop.orders.orders[order.order_id].decision
    assert decision == decided.review.decision
    assert decision is not None
    assert (decision.approve, decision.by, decision.note) == (True, "ann", "so")
    assert state(shop, order) == ("confirmed", "captured")
    assert shop.provider.calls == ["lookup", "authorize", "capture"]
    assert shop.left(pair) == 3


async def test_a_declined_order_is_never_charged_and_its_stock_is_free(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        decided = await Desk(shop, parts).decide(order, "decline")
        assert await parts.recovery.settle_waiting() == 0
    assert decided.counted
    kept = shop.orders.orders[order.order_id]
    assert (kept.status, kept.payment) == ("failed", "voided")
    assert kept.failure is not None
    assert kept.failure["decline_code"] == "fraudulent"
    assert shop.provider.calls == []
    assert shop.left(pair) == 5


async def test_a_declined_card_fails_an_approved_order(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair, payment_token="card_declined")
        assert (await Desk(shop, parts).decide(order, "approve")).counted
    assert state(shop, order) == ("failed", "declined")
    assert shop.left(pair) == 5


async def test_an_approved_order_may_have_to_wait_for_its_buyer(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair, payment_token="card_3ds")
        await Desk(shop, parts).decide(order, "approve")
        assert state(shop, order) == ("awaiting_payment", "requires_action")
        shop.provider.approve(transaction_of(order))
        shop.clock.advance(11)
        await parts.recovery.settle_waiting()
    assert state(shop, order) == ("confirmed", "captured")


async def test_money_for_stock_that_was_lost_meanwhile_goes_back(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        await parts.settlement.release(order.order_id)
        assert (await Desk(shop, parts).decide(order, "approve")).counted
    assert state(shop, order) == ("failed", "refunded")
    failure = shop.orders.orders[order.order_id].failure
    assert failure is not None
    assert failure["kind"] == "hold_expired"
    assert shop.left(pair) == 5


@pytest.mark.parametrize("second", ["approve", "decline"])
@pytest.mark.parametrize("first", ["approve", "decline"])
async def test_the_second_decision_changes_nothing(
    shop: MemoryShop, first: str, second: str
) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        desk = Desk(shop, parts)
        decided = await desk.decide(order, first, "ann")
        before = state(shop, order), shop.left(pair), list(shop.provider.calls)
        again = await desk.decide(order, second, "bob")
    assert (decided.counted, again.counted) == (True, False)
    assert again.review.decision == decided.review.decision
    assert (state(shop, order), shop.left(pair), shop.provider.calls) == before


@pytest.mark.parametrize("decisions", [("approve", "decline"), ("decline", "approve")])
async def test_of_two_operators_at_once_one_decides(
    shop: MemoryShop, decisions: tuple[str, str]
) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        desks = [Desk(shop, parts), Desk(shop, shop.wire())]
        answers = await asyncio.gather(
            *(desk.decide(order, one) for desk, one in zip(desks, decisions, strict=True))
        )
    assert [one.counted for one in answers].count(True) == 1
    approved = next(one for one, answer in zip(decisions, answers, strict=True) if answer.counted)
    assert state(shop, order) == (
        ("confirmed", "captured") if approved == "approve" else ("failed", None)
    )
    assert shop.left(pair) == (3 if approved == "approve" else 5)


async def test_an_order_that_nobody_decides_about_is_failed(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        shop.clock.advance(REVIEW_S - 1)
        assert await parts.recovery.settle_waiting() == 0
        shop.clock.advance(1)
        assert await parts.recovery.settle_waiting() == 1
    assert state(shop, order) == ("failed", None)
    assert shop.orders.orders[order.order_id].decision is None
    assert parts.recovery.unwound_total == 1
    assert shop.left(pair) == 5


async def test_when_the_time_is_over_nothing_can_be_approved(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order = await in_review(shop, parts, shop.pair(5))
        shop.clock.advance(REVIEW_S)
        decided = await Desk(shop, parts).decide(order, "approve")
        assert (decided.counted, decided.review.status) == (False, "in_review")
        await parts.recovery.settle_waiting()
    assert state(shop, order) == ("failed", None)


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a decision carries nothing out afterwards."""
    monkeypatch.setattr(reviews, "AT_ONCE_MAX", 0)


@pytest.mark.usefixtures("dies")
async def test_what_is_approved_at_the_last_moment_is_charged(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order = await in_review(shop, parts, shop.pair(5))
        shop.clock.advance(REVIEW_S - 1)
        assert (await Desk(shop, parts).decide(order, "approve")).counted
        shop.clock.advance(CHARGE_WAIT_S - 1)
        assert await parts.recovery.settle_waiting() == 1
    assert state(shop, order) == ("confirmed", "captured")


@pytest.mark.usefixtures("dies")
async def test_what_cannot_be_charged_for_too_long_is_given_up(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        await Desk(shop, parts).decide(order, "approve")
        shop.clock.advance(REVIEW_S)
        assert await parts.recovery.settle_waiting() == 1
    assert state(shop, order) == ("failed", "voided")
    assert shop.left(pair) == 5


@pytest.mark.usefixtures("dies")
async def test_recovery_that_saw_the_time_over_does_not_fail_what_was_approved(
    shop: MemoryShop,
) -> None:
    """Its clock may be ahead, or it may have stood still between its look and its deed."""
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        seen = await shop.orders.open_by_id(order.order_id)
        assert seen is not None
        shop.clock.advance(REVIEW_S - 1)
        assert (await Desk(shop, parts).decide(order, "approve")).counted
        shop.clock.advance(11)
        assert await parts.settlement.settle(seen) == "waiting"
        assert state(shop, order) == ("accepted", None)
        await parts.recovery.settle_waiting()
        assert state(shop, order) == ("confirmed", "captured")
        assert await parts.settlement.settle(seen) == "confirmed"
    assert shop.left(pair) == 3


@pytest.mark.usefixtures("dies")
@pytest.mark.parametrize(
    ("decision", "status", "left"), [("approve", "confirmed", 3), ("decline", "failed", 5)]
)
async def test_recovery_finishes_what_a_dead_replica_decided(
    shop: MemoryShop, decision: str, status: str, left: int
) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        assert (await Desk(shop, parts).decide(order, decision)).counted
        shop.clock.advance(11)
        await parts.recovery.settle_waiting()
        await parts.recovery.release_abandoned()
    assert (state(shop, order)[0], shop.left(pair)) == (status, left)


async def test_a_provider_that_is_away_does_not_undo_the_decision(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order = await in_review(shop, parts, shop.pair(5))
        shop.provider.faults.plan("authorize", *[Fault.AFTER] * 2)
        impatient = shop.wire(monotonic=Hasty().monotonic)
        assert (await Desk(shop, impatient).decide(order, "approve")).counted
        assert state(shop, order) == ("accepted", "authorized")
        shop.clock.advance(11)
        await parts.recovery.settle_waiting()
    assert state(shop, order) == ("confirmed", "captured")


@pytest.mark.parametrize(
    ("decision", "end"), [("approve", ("confirmed", 3)), ("decline", ("failed", 5))]
)
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_decision_whose_answer_was_lost_may_be_repeated(
    shop: MemoryShop, decision: str, end: tuple[str, int], fault: Fault
) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await in_review(shop, parts, pair)
        desk = Desk(shop, parts)
        desk.book.faults.plan("accept", fault)
        shop.orders.faults.plan("fail_review", fault)
        with pytest.raises(Unavailable):
            await desk.decide(order, decision)
        shop.clock.advance(1)
        again = await desk.decide(order, decision)
        assert again.counted == (fault is Fault.BEFORE)
        shop.clock.advance(11)
        await parts.recovery.settle_waiting()
        await parts.recovery.release_abandoned()
    assert (state(shop, order)[0], shop.left(pair)) == end


async def parked(shop: MemoryShop, order: OrderDraft) -> Any:
    """The order as the books have it, as soon as it waits."""
    while (kept := shop.orders.orders.get(order.order_id)) is None or kept.waits_until is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return kept


async def test_an_operator_may_be_quicker_than_the_answer_that_it_is_in_review(
    shop: MemoryShop,
) -> None:
    """The order was parked, the answer lost; asked again, it has been approved already."""
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])])
    async with shop.open() as parts:
        shop.orders.faults.plan("park", Fault.AFTER)
        running = asyncio.create_task(parts.checkout.run(order, demands))
        kept = await parked(shop, order)
        kept.status = "accepted"
        result = await running
        assert isinstance(result, Waiting)
        assert result.status == "accepted"
        assert kept.status == "accepted"
        shop.clock.advance(11)
        await parts.recovery.settle_waiting()
    assert state(shop, order) == ("confirmed", "captured")
    assert shop.left(pair) == 3


async def test_what_was_never_put_up_for_review_is_not_there(shop: MemoryShop) -> None:
    shop.orders.history = HistoryOfCustomer(0, 5_000.0, "US")
    order, demands = an_order([(2, [shop.pair(5)])])
    async with shop.open() as parts:
        await parts.checkout.run(order, demands)
        desk = Desk(shop, parts).reviews
        for one in (order.order_id, uuid.uuid4()):
            assert await desk.decide(one, approve=False, by="ann") is None
    assert state(shop, order) == ("confirmed", "captured")
