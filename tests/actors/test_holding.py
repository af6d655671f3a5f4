"""Holding an order's demands over several warehouses: with real owners in memory, and to the end."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from typing import Any

import pytest

from actors import holding
from actors.checkout import Confirmed, Refused, TryAgain
from actors.holding import HINT_AGE_MAX_S, Demand, Hints
from actors.stock_client import LocalTransport
from domain.stock import Answer, Policy, Request, Reserve, ReserveStatus
from domain.warehouse_choice import Haul, Source
from tests.actors.memory import Fault
from tests.actors.shops import Hasty, MemoryShop, a_source, an_order

pytestmark = pytest.mark.asyncio


@pytest.fixture
def shop() -> MemoryShop:
    return MemoryShop()


class Asked:
    """Passes on what owners are asked, and keeps the reservations by call; may step in before."""

    def __init__(self, shop: MemoryShop) -> None:
        self._transport = LocalTransport({"pool-0": shop.owner})
        self.rounds: list[dict[bytes, int]] = []
        self.before: list[Any] = []

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        reserves = [one for one in requests if isinstance(one, Reserve)]
        if reserves:
            self.rounds.append({one.inventory_id: one.quantity for one in reserves})
            if self.before:
                await self.before.pop(0)()
        return await self._transport.call(owner, requests)


def _watched(shop: MemoryShop) -> Asked:
    asked = Asked(shop)
    shop.parts = shop.wire(transport=asked)
    return asked


def _active(shop: MemoryShop) -> list[str]:
    return [one.status for one in shop.journal.reservations.values() if one.status == "active"]


async def _given_back(shop: MemoryShop) -> None:
    while shop.parts.stock.queued or _active(shop):  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_whole_cart_comes_from_the_one_warehouse_that_has_it(shop: MemoryShop) -> None:
    near, far, other_near, other_far = (shop.pair(5) for _ in range(4))
    cart = [
        (2, [a_source(near, "NEAR", 1), a_source(far, "FAR", 9)]),
        (1, [a_source(other_far, "FAR", 9)]),
    ]
    order, demands = an_order(cart)
    asked = _watched(shop)
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert asked.rounds == [{far: 2, other_far: 1}]
    assert [shop.left(pair) for pair in (near, far, other_near)] == [5, 3, 5]


async def test_a_warehouse_that_runs_out_in_the_middle_is_replaced(shop: MemoryShop) -> None:
    """The plan is made; then somebody else is faster at the best warehouse."""
    best, next_best, worst = shop.pair(3), shop.pair(3), shop.pair(3)
    sources = [a_source(best, "A", 1), a_source(next_best, "B", 2), a_source(worst, "C", 3)]
    asked = _watched(shop)
    faster, its_demands = an_order([(2, [best])])

    async def somebody_is_faster() -> None:
        assert await shop.wire().checkout.run(faster, its_demands) == Confirmed()

    asked.before.append(somebody_is_faster)
    order, demands = an_order([(2, sources)])
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert asked.rounds == [{best: 2}, {next_best: 2}]
    assert [shop.left(pair) for pair in (best, next_best, worst)] == [1, 1, 3]


async def test_the_rest_is_drawn_to_a_warehouse_that_sends_anyway(shop: MemoryShop) -> None:
    mid, far, empty, elsewhere, near = (shop.pair(n) for n in (1, 1, 0, 1, 1))
    third = [a_source(near, "NEAR", 1), a_source(empty, "MID", 2), a_source(elsewhere, "FAR", 9)]
    cart = [(1, [a_source(mid, "MID", 2)]), (1, [a_source(far, "FAR", 9)]), (1, third)]
    asked = _watched(shop)
    async with shop.open() as parts:
        assert await parts.checkout.run(*an_order(cart)) == Confirmed()
    assert asked.rounds == [{mid: 1, far: 1, empty: 1}, {elsewhere: 1}]
    assert shop.left(near) == 1


async def test_a_line_that_no_warehouse_has_alone_is_split(shop: MemoryShop) -> None:
    pairs = [shop.pair(2), shop.pair(2), shop.pair(2)]
    order, demands = an_order([(5, pairs)])
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert [shop.left(pair) for pair in pairs] == [0, 0, 1]
    held = [one for one in shop.journal.reservations.values() if one.status == "allocated"]
    assert sorted(one.quantity for one in held) == [1, 2, 2]
    assert {one.order_id for one in held} == {order.order_id.bytes}


async def test_two_lines_of_one_variant_are_one_demand(shop: MemoryShop) -> None:
    """Each alone would fit; together they do not (P1)."""
    pair = shop.pair(3)
    order, demands = an_order([(2, [pair]), (2, [pair])])
    asked = _watched(shop)
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert (result.failure["requested"], result.failure["available"]) == (4, 3)
    assert asked.rounds == [{pair: 4}]
    assert shop.left(pair) == 3


async def test_a_cart_that_cannot_be_had_leaves_nothing_held(shop: MemoryShop) -> None:
    plenty, here, there = shop.pair(9), shop.pair(2), shop.pair(1)
    order, demands = an_order([(3, [plenty]), (4, [here, there])])
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "out_of_stock"
    assert result.failure["product_id"] == demands[1].product_id
    assert (result.failure["requested"], result.failure["available"]) == (4, 3)
    assert _active(shop) == []
    assert [shop.left(pair) for pair in (plenty, here, there)] == [9, 2, 1]


async def test_what_a_split_already_held_counts_as_left(shop: MemoryShop) -> None:
    """Two of three parts are held when the third runs out: all of it is told, and given back."""
    pairs = [shop.pair(2), shop.pair(2), shop.pair(2)]
    asked = _watched(shop)
    order, demands = an_order([(6, pairs)])
    faster, its_demands = an_order([(1, [pairs[2]])])

    async def nothing_yet() -> None: ...

    async def somebody_is_faster() -> None:
        assert await shop.wire().checkout.run(faster, its_demands) == Confirmed()

    asked.before += [nothing_yet, nothing_yet, nothing_yet, somebody_is_faster]
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert asked.rounds[-1] == dict.fromkeys(pairs, 2)
    assert result.failure["available"] == 5
    assert [shop.left(pair) for pair in pairs] == [2, 2, 1]


async def test_hints_spare_the_next_order_the_detour(shop: MemoryShop) -> None:
    empty, full = shop.pair(0), shop.pair(9)
    asked = _watched(shop)
    async with shop.open() as parts:
        for _ in range(2):
            assert await parts.checkout.run(*an_order([(1, [empty, full])])) == Confirmed()
        assert asked.rounds == [{empty: 1}, {full: 1}, {full: 1}]
        shop.clock.advance(HINT_AGE_MAX_S + 0.1)
        assert await parts.checkout.run(*an_order([(1, [empty, full])])) == Confirmed()
    assert asked.rounds[3:] == [{empty: 1}, {full: 1}]


async def test_nobody_is_refused_on_a_hint(shop: MemoryShop) -> None:
    """What was sold out a moment ago has come back: the owner is asked all the same."""
    one, other = shop.pair(1), shop.pair(0)
    async with shop.open() as parts:
        declined = an_order([(1, [one, other])], payment_token="card_declined")
        assert isinstance(await parts.checkout.run(*declined), Refused)
        assert shop.left(one) == 1
        assert await parts.checkout.run(*an_order([(1, [one, other])])) == Confirmed()
        assert isinstance(await parts.checkout.run(*an_order([(1, [one, other])])), Refused)


async def test_hints_are_bounded_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HINTS_MAX", 2)
    hints = Hints()
    hints.note(b"a", 1, 0.0)
    hints.note(b"b", 2, 0.1)
    hints.note(b"a", 3, 0.2)
    hints.note(b"c", 4, 0.3)
    assert [hints.of(one, 0.3) for one in (b"a", b"b", b"c")] == [3, None, 4]
    assert [hints.of(one, 1.25) for one in (b"a", b"b", b"c")] == [None, None, 4]


async def test_a_backordered_line_counts_as_held(shop: MemoryShop) -> None:
    pair = shop.pair(1)
    shop.journal.rows[pair].policy = Policy(backorder_max=5)
    order, demands = an_order([(3, [pair])])
    async with shop.open() as parts:
        assert await parts.checkout.run(order, demands) == Confirmed()
    assert shop.left(pair) == 1
    assert shop.journal.rows[pair].backordered == 3


async def test_backorders_wait_until_no_warehouse_has_stock(shop: MemoryShop) -> None:
    """Once it is known that a warehouse promises beyond its stock, one that has stock is better."""
    empty, full = shop.pair(0), shop.pair(2)
    shop.journal.rows[empty].policy = Policy(backorder_max=5)
    async with shop.open() as parts:
        for _ in range(4):
            assert await parts.checkout.run(*an_order([(1, [empty, full])])) == Confirmed()
    assert shop.left(full) == 0
    assert shop.journal.rows[empty].backordered == 2


async def test_a_customer_over_the_limit_is_told_what_is_allowed(shop: MemoryShop) -> None:
    pair, other = shop.pair(9), shop.pair(9)
    shop.journal.rows[pair].policy = Policy(customer_max=2)
    buyer = uuid.uuid4()
    async with shop.open() as parts:
        first = an_order([(1, [pair])], user_id=buyer, idempotency_key="1")
        assert await parts.checkout.run(*first) == Confirmed()
        second = an_order([(1, [other]), (2, [pair])], user_id=buyer, idempotency_key="2")
        result = await parts.checkout.run(*second)
        assert isinstance(result, Refused)
        assert result.failure["kind"] == "limit_exceeded"
        assert (result.failure["requested"], result.failure["available"]) == (2, 1)
        assert "1 more" in result.failure["detail"]
        assert _active(shop) == []
        third = an_order([(2, [pair])], user_id=uuid.uuid4())
        assert await parts.checkout.run(*third) == Confirmed()
    assert (shop.left(pair), shop.left(other)) == (6, 9)


async def test_a_limit_counts_what_a_split_has_of_it(shop: MemoryShop) -> None:
    variant = uuid.uuid4()
    pairs = [shop.pair(2, variant), shop.pair(9, variant), shop.pair(2, variant)]
    for pair in pairs:
        shop.journal.rows[pair].policy = Policy(customer_max=3)
    asked = _watched(shop)
    order, demands = an_order([(4, [pairs[0], pairs[2]])])
    async with shop.open() as parts:
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "limit_exceeded"
    assert result.failure["available"] == 3
    assert len(asked.rounds) == 1
    assert [shop.left(pair) for pair in pairs] == [2, 9, 2]


async def test_a_no_that_stands_goes_before_one_that_may_be_asked_again(shop: MemoryShop) -> None:
    pair, limited = shop.pair(5), shop.pair(5)
    shop.journal.rows[limited].policy = Policy(customer_max=1)
    order, demands = an_order([(1, [pair]), (2, [limited])])

    class BusyAtOnePair(Asked):
        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            answers = await super().call(owner, requests)
            return [
                Answer(ReserveStatus.BUSY, 9)
                if isinstance(request, Reserve) and request.inventory_id == pair
                else answer
                for request, answer in zip(requests, answers, strict=True)
            ]

    async with shop.open():
        result = await shop.wire(transport=BusyAtOnePair(shop)).checkout.run(order, demands)
    assert isinstance(result, Refused)
    assert result.failure["kind"] == "limit_exceeded"


@pytest.mark.parametrize("order_of_pairs", list(itertools.permutations(range(3))))
async def test_of_several_busy_pairs_the_longest_wait_counts(
    shop: MemoryShop, order_of_pairs: tuple[int, ...]
) -> None:
    pairs = [shop.pair(5) for _ in range(3)]
    said = [
        Answer(ReserveStatus.BUSY, 2_400),
        Answer(ReserveStatus.BUSY, 70),
        Answer(ReserveStatus.UNAVAILABLE, 9_000),  # whatever stands there, it is no time
    ]

    class AllBusy:
        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            del owner
            return [
                said[pairs.index(request.inventory_id)]
                if isinstance(request, Reserve)
                else Answer(0, 0)
                for request in requests
            ]

    order, demands = an_order([(1, [pairs[number]]) for number in order_of_pairs])
    parts = shop.wire(transport=AllBusy(), monotonic=Hasty().monotonic)
    async with shop.open():
        result = await parts.checkout.run(order, demands)
    assert isinstance(result, TryAgain)
    assert result.retry_after_ms == 2_400


async def test_an_unanswered_part_is_given_back_with_the_rest(shop: MemoryShop) -> None:
    pairs = [shop.pair(2), shop.pair(2)]
    shop.journal.faults.plan("write_turn", Fault.AFTER)
    hasty = shop.wire(monotonic=Hasty().monotonic)
    async with shop.open():
        assert isinstance(await hasty.checkout.run(*an_order([(2, pairs)])), TryAgain)
        await _given_back(shop)
    assert [shop.left(pair) for pair in pairs] == [2, 2]


async def test_who_is_always_too_late_is_asked_to_come_back(shop: MemoryShop) -> None:
    """Rounds are bounded: at most one for each pair, and one more."""
    pairs = [shop.pair(9), shop.pair(9)]
    rounds = 0

    class Dwindling:
        """The first place has always one unit less than is asked for, the other a few."""

        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            del owner
            nonlocal rounds
            reserves = [one for one in requests if isinstance(one, Reserve)]
            rounds += bool(reserves)
            return [self._answer(one) for one in reserves] or [Answer(0, 0)] * len(requests)

        def _answer(self, request: Reserve) -> Answer:
            if request.inventory_id == pairs[0]:
                return Answer(ReserveStatus.OUT_OF_STOCK, request.quantity - 1)
            if request.quantity > 4:
                return Answer(ReserveStatus.OUT_OF_STOCK, 4)
            return Answer(ReserveStatus.HELD, 4)

    async with shop.open():
        result = await shop.wire(transport=Dwindling()).checkout.run(*an_order([(9, pairs)]))
    assert isinstance(result, TryAgain)
    assert rounds == len(pairs) + 1


@pytest.mark.parametrize("seed", range(3))
async def test_many_carts_in_opposite_orders_all_end_and_oversell_nothing(
    shop: MemoryShop, seed: int
) -> None:
    """No deadlock: nobody waits for a hold. Every pair is in every cart, forwards and backwards."""
    dice = random.Random(seed)
    warehouses = [b"A", b"B", b"C"]
    variants = [uuid.uuid4() for _ in range(4)]
    stock = {(v, w): dice.randint(0, 12) for v, w in itertools.product(variants, warehouses)}
    pairs = {key: shop.pair(units, key[0]) for key, units in stock.items()}
    parts = [shop.parts, shop.wire()]

    def a_cart(backwards: bool) -> Any:
        asked: list[tuple[int, list[bytes | Source]]] = []
        for variant in reversed(variants) if backwards else variants:
            order = warehouses[::-1] if backwards else warehouses
            sources: list[bytes | Source] = [
                Source(pairs[variant, w], w, Haul(dice.random(), 0.1)) for w in order
            ]
            asked.append((dice.randint(1, 4), sources))
        return an_order(asked, payment_token=dice.choice(["card_1", "card_1", "card_declined"]))

    carts = [a_cart(bool(number % 2)) for number in range(60)]
    async with shop.open():
        async with asyncio.timeout(30):
            results = await asyncio.gather(
                *[
                    parts[number % 2].checkout.run(order, demands)
                    for number, (order, demands) in enumerate(carts)
                ]
            )
        for one in parts:
            while one.stock.queued:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await _given_back(shop)
    sold = [cart for cart, result in zip(carts, results, strict=True) if result == Confirmed()]
    assert sold
    assert all(isinstance(one, Confirmed | Refused | TryAgain) for one in results)
    wanted = sum(demand.quantity for _, demands in sold for demand in demands)
    left = sum(shop.left(pair) for pair in pairs.values())
    assert all(shop.left(pair) >= 0 for pair in pairs.values())
    assert left + wanted == sum(stock.values())
    for order, demands in sold:
        _is_whole(shop, order.order_id.bytes, demands)


def _is_whole(shop: MemoryShop, order_id: bytes, demands: list[Demand]) -> None:
    """P8, line by line: what is allocated to an order is each variant's quantity."""
    held = [one for one in shop.journal.reservations.values() if one.order_id == order_id]
    for demand in demands:
        own = {source.inventory_id for source in demand.sources}
        bound = [one for one in held if one.inventory_id in own and one.status == "allocated"]
        assert sum(one.quantity for one in bound) == demand.quantity
