"""Checkouts that share their batches, and must not share their fate or their uses of a coupon."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from actors.checkout import Confirmed, KnownKey, Refused
from domain.orders import OrderDraft
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus
from domain.transitions import OrderState
from tests.actors.memory import MemoryOrders
from tests.actors.shops import STALLED_AFTER_S, MemoryShop, an_order

pytestmark = pytest.mark.asyncio
COUPON = (uuid.uuid4(), "TEN")


@dataclass
class _Promotions:
    """PromotionBook of one promotion with so many uses."""

    left: int
    used: set[UUID] = field(default_factory=set)

    async def redeem_many(self, redemptions: Sequence[Redemption]) -> list[RedemptionOutcome]:
        return [self._redeem(one.order_id) for one in redemptions]

    def _redeem(self, order_id: UUID) -> RedemptionOutcome:
        if self.left == 0:
            return RedemptionOutcome(status=RedemptionStatus.USED_UP, promotion_id=COUPON[0])
        self.left -= 1
        self.used.add(order_id)
        return RedemptionOutcome(status=RedemptionStatus.REDEEMED)

    async def give_back(self, order_ids: Collection[UUID]) -> int:
        back = self.used & set(order_ids)
        self.used -= back
        self.left += len(back)
        return len(back)

    async def return_orphans(self, older_than: datetime, limit: int) -> int:
        del older_than, limit
        return 0


@dataclass
class _Choosy(MemoryOrders):
    """Its database cannot take one kind of order, whatever else is in the statement."""

    async def record(self, drafts: Sequence[OrderDraft]) -> list[Any]:
        if any(one.currency == "XXX" for one in drafts):
            raise ValueError("invalid byte sequence")
        return await super().record(drafts)


async def test_a_repeat_of_a_known_key_takes_no_use_of_a_coupon() -> None:
    shop, promotions = MemoryShop(), _Promotions(left=5)
    user = uuid.uuid4()
    pair = shop.pair(50)
    repeats = [an_order([(1, [pair])], user_id=user, promotions=(COUPON,)) for _ in range(40)]
    checkout = shop.wire(promotions=promotions).checkout
    async with shop.open():
        results = await asyncio.gather(*[checkout.run(*repeat) for repeat in repeats])
    assert sum(isinstance(result, Confirmed) for result in results) == 1
    assert sum(isinstance(result, KnownKey) for result in results) == 39
    assert promotions.left == 4
    assert promotions.used <= set(shop.orders.orders)


async def test_an_order_without_stock_takes_no_use_of_a_coupon() -> None:
    shop, promotions = MemoryShop(), _Promotions(left=5)
    order, demands = an_order([(2, [shop.pair(1)])], promotions=(COUPON,))
    async with shop.open():
        result = await shop.wire(promotions=promotions).checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert promotions.left == 5


async def test_the_uses_of_a_stalled_order_go_back_with_it() -> None:
    """Its buyer is told that everything was given back: the coupon is good at once."""
    shop, promotions = MemoryShop(), _Promotions(left=1)
    order, _ = an_order([(1, [shop.pair(5)])], promotions=(COUPON,))
    await shop.orders.record([order])
    await promotions.redeem_many(
        [Redemption(order_id=order.order_id, user_id=order.user_id, promotion_ids=(COUPON[0],))]
    )
    shop.clock.advance(STALLED_AFTER_S + 1)
    async with shop.open():
        await shop.wire(promotions=promotions).recovery.settle_stalled()
    assert shop.orders.orders[order.order_id].status == OrderState.FAILED
    assert promotions.left == 1


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_an_order_that_cannot_be_recorded_fails_alone_and_holds_nothing(place: int) -> None:
    shop = MemoryShop()
    pair = shop.pair(50)
    orders = [
        an_order([(1, [pair])], **({"currency": "XXX"} if number == place else {}))
        for number in range(20)
    ]
    checkout = shop.wire(orders=_Choosy(shop.journal, shop.clock.utc)).checkout
    async with shop.open():
        results = await asyncio.gather(
            *[checkout.run(*order) for order in orders], return_exceptions=True
        )
        assert isinstance(results.pop(place), ValueError)
        assert results == [Confirmed()] * 19
        async with asyncio.timeout(10):
            while shop.left(pair) != 31:  # noqa: ASYNC110 - what is given back later is on its way
                await asyncio.sleep(0)
