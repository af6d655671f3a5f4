from __future__ import annotations

from typing import Any

import pytest

from actors.checkout import Confirmed, Refused
from actors.stock_client import LocalTransport
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import Unavailable
from domain.stock import Extend, ExtendStatus
from tests.actors.drafts import transaction_of
from tests.actors.memory import Fault, MemoryProvider
from tests.actors.owners import an_owner, new_id, reserve, running
from tests.actors.shops import STALLED_AFTER_S, Hasty, MemoryShop, an_order

pytestmark = pytest.mark.asyncio


@pytest.fixture
def shop() -> MemoryShop:
    return MemoryShop()


async def _stopped_halfway(
    shop: MemoryShop, pair: bytes, *, charged: str | None, held: bool = True
) -> OrderDraft:
    """An order whose replica died; `charged` is how far the payment had come."""
    order, _ = an_order([(2, [pair])])
    await shop.orders.record([order])
    if held:
        request = reserve(pair, 2)._replace(order_id=order.order_id.bytes)
        await shop.owner.call([request])
    [charge] = [part.charge for part in order.parts]
    if charged:
        await shop.provider.authorize(charge)
    if charged in ("captured", "refunded"):
        await shop.provider.capture(charge)
    if charged == "refunded":
        await shop.provider.refund(charge, RefundRequest("r", charge.amount_minor))
    if charged == "voided":
        await shop.provider.void(charge)
    return order


def _state(shop: MemoryShop, order: OrderDraft) -> tuple[str, str, str]:
    kept = shop.orders.orders[order.order_id]
    return kept.status, kept.payment, shop.provider.books[transaction_of(order)].status


@pytest.mark.parametrize("held", [True, False])
async def test_nothing_charged_is_made_impossible_and_unwound(shop: MemoryShop, held: bool) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await _stopped_halfway(shop, pair, charged=None, held=held)
        shop.clock.advance(STALLED_AFTER_S + 1)
        assert await parts.recovery.settle_stalled() == 1
        # The replica wakes up after all: its charge is refused.
        [charge] = [part.charge for part in order.parts]
        assert (await shop.provider.authorize(charge)).status == "voided"
        assert (await shop.provider.capture(charge)).status == "voided"
    assert _state(shop, order) == ("failed", "voided", "voided")
    failure = shop.orders.orders[order.order_id].failure
    assert failure is not None
    assert failure["kind"] == "checkout_interrupted"
    assert shop.left(pair) == 5
    assert parts.recovery.unwound_total == 1


@pytest.mark.parametrize("charged", ["authorized", "captured"])
async def test_money_that_is_held_or_taken_finishes_the_order(
    shop: MemoryShop, charged: str
) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await _stopped_halfway(shop, pair, charged=charged)
        shop.clock.advance(STALLED_AFTER_S + 1)
        await parts.recovery.settle_stalled()
        assert await parts.recovery.settle_stalled() == 0
        assert await parts.relay.relay() == 1
    assert _state(shop, order) == ("confirmed", "captured", "captured")
    assert shop.left(pair) == 3
    assert parts.recovery.finished_total == 1


@pytest.mark.parametrize("charged", ["authorized", "captured", "refunded"])
async def test_money_for_a_hold_that_ran_out_goes_back(shop: MemoryShop, charged: str) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        order = await _stopped_halfway(shop, pair, charged=charged)
        shop.clock.advance(601)
        await shop.owner.call([])
        await parts.recovery.settle_stalled()
    assert _state(shop, order) == ("failed", "refunded", "refunded")
    assert shop.left(pair) == 5


async def test_a_declined_charge_fails_the_order(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order, _ = an_order([(2, [shop.pair(5)])], payment_token="card_declined")
        await shop.orders.record([order])
        await shop.provider.authorize(order.parts[0].charge)
        shop.clock.advance(STALLED_AFTER_S + 1)
        await parts.recovery.settle_stalled()
    assert _state(shop, order) == ("failed", "declined", "declined")


async def test_what_is_young_is_left_alone(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        order = await _stopped_halfway(shop, shop.pair(5), charged="captured")
        shop.clock.advance(STALLED_AFTER_S)
        assert await parts.recovery.settle_stalled() == 0
        assert await parts.recovery.release_abandoned() == 0
    assert _state(shop, order) == ("pending", "created", "captured")


class _Meanwhile(MemoryProvider):
    """The order's own saga goes on between recovery's look at the charge and its void."""

    def __init__(self, shop: MemoryShop, saga: Any) -> None:
        super().__init__()
        self.books, self._saga, self._shop = shop.provider.books, saga, shop

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        seen = await super().lookup(charge)
        await self._saga()
        return seen


async def test_a_saga_that_finishes_under_recoverys_hands_keeps_its_money(
    shop: MemoryShop,
) -> None:
    """P7: a charge that is taken by the time it is to be voided is not simply refunded."""
    pair = shop.pair(5)
    order, demands = an_order([(2, [pair])])

    async def saga() -> None:
        assert await shop.parts.checkout.run(order, demands) == Confirmed()

    await shop.orders.record([order])
    shop.clock.advance(STALLED_AFTER_S + 1)
    async with shop.open():
        recovery = shop.wire(provider=_Meanwhile(shop, saga)).recovery
        assert await recovery.settle_stalled() == 1
    assert _state(shop, order) == ("confirmed", "captured", "captured")


async def test_two_recoveries_at_once_settle_once(shop: MemoryShop) -> None:
    pair = shop.pair(9)
    async with shop.open() as parts:
        orders = [
            await _stopped_halfway(shop, pair, charged=charged)
            for charged in (None, "authorized", "captured")
        ]
        shop.clock.advance(STALLED_AFTER_S + 1)
        other = shop.wire(provider=_Meanwhile(shop, parts.recovery.settle_stalled)).recovery
        await other.settle_stalled()
    assert [_state(shop, order)[0] for order in orders] == ["failed", "confirmed", "confirmed"]
    assert len(shop.orders.outbox) == 2
    assert shop.left(pair) == 5


@pytest.mark.parametrize("method", ["lookup", "capture", "void", "refund"])
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_pass_that_was_cut_off_is_made_again(
    shop: MemoryShop, method: str, fault: Fault
) -> None:
    pair = shop.pair(5)
    expired = method == "refund"
    async with shop.open() as parts:
        charged = None if method == "void" else "authorized"
        order = await _stopped_halfway(shop, pair, charged=charged)
        shop.clock.advance(601 if expired else STALLED_AFTER_S + 1)
        await shop.owner.call([])
        shop.provider.faults.plan(method, fault)
        with pytest.raises(Unavailable):
            await shop.wire(monotonic=Hasty().monotonic).recovery.settle_stalled()
        assert await parts.recovery.settle_stalled() == 1
    finished = not expired and charged is not None
    assert _state(shop, order)[0] == ("confirmed" if finished else "failed")
    assert shop.left(pair) == (3 if finished else 5)


async def test_a_reservation_without_an_order_is_given_back(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        await shop.owner.call([reserve(pair, 2)])
        assert await parts.recovery.release_abandoned() == 1
        assert await parts.recovery.release_abandoned() == 0
    assert shop.left(pair) == 5
    assert parts.recovery.released_total == 1


async def test_overdue_holds_of_a_pair_nobody_asks_for_are_given_back(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open():
        order = await _stopped_halfway(shop, pair, charged=None)
    assert shop.orders.orders[order.order_id].status == "pending"
    shop.clock.advance(601)
    # A new incarnation knows no pair until it is asked for one.
    owner = an_owner(shop.journal, clock=shop.clock)
    parts = shop.wire(transport=LocalTransport({"pool-0": owner}))
    async with running(owner):
        assert await parts.recovery.release_abandoned() == 1
        await owner.call([])
    assert shop.left(pair) == 5


async def test_what_was_extended_since_it_was_found_overdue_is_kept(shop: MemoryShop) -> None:
    pair = shop.pair(5)
    async with shop.open() as parts:
        held = reserve(pair, 2)
        await shop.owner.call([held])
        shop.clock.advance(599)
        [extended] = await shop.owner.call([Extend(new_id(), held.reservation_id, pair, 600.0)])
        assert extended.status == ExtendStatus.EXTENDED
        shop.clock.advance(2)

        async def found_before(**_: object) -> list[tuple[bytes, bytes, bool]]:
            return [(held.reservation_id, pair, True)]

        shop.journal.abandoned = found_before  # type: ignore[method-assign]
        await parts.recovery.release_abandoned()
        await shop.owner.call([])
    assert shop.left(pair) == 3


async def test_a_refused_order_needs_no_recovery(shop: MemoryShop) -> None:
    async with shop.open() as parts:
        result = await parts.checkout.run(*an_order([(1, [new_id()])]))
        shop.clock.advance(60)
        assert isinstance(result, Refused)
        assert await parts.recovery.settle_stalled() == 0


async def test_an_order_that_costs_nothing_is_not_given_away_by_recovery(shop: MemoryShop) -> None:
    """Whether the last use of its coupon was to be had, only its own checkout could have told."""
    pair = shop.pair(5)
    order, _ = an_order([(2, [pair])], total_minor=0, parts=())
    async with shop.open() as parts:
        await shop.orders.record([order])
        await shop.owner.call([reserve(pair, 2)._replace(order_id=order.order_id.bytes)])
        shop.clock.advance(STALLED_AFTER_S + 1)
        assert await parts.recovery.settle_stalled() == 1
    assert shop.orders.orders[order.order_id].status == "failed"
    assert shop.left(pair) == 5
