from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from domain.cart import LINE_QUANTITY_MAX, LINES_MAX
from domain.ports import Unavailable
from storage.carts import CART_TTL_S, Cart, CartChange, CartLimitError, CartRepository
from storage.embedded import EmbeddedRedis, socket_folder
from storage.redis import open_redis

pytestmark = pytest.mark.asyncio
FRESH = uuid.uuid4()


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = open_redis(redis_url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def carts(redis: Redis) -> CartRepository:
    return CartRepository(redis)


def _ids(count: int) -> list[uuid.UUID]:
    return [uuid.uuid4() for _ in range(count)]


async def test_units_are_added_set_and_removed(carts: CartRepository) -> None:
    user, mug, shirt = _ids(3)
    assert await carts.load([user]) == [Cart(None, ())]
    assert await carts.add(user, mug, 2, FRESH) == Cart(FRESH, ((mug, 2),))
    assert await carts.add(user, mug, 3, uuid.uuid4()) == Cart(FRESH, ((mug, 5),))
    cart = await carts.set(user, shirt, 7, uuid.uuid4())
    assert (cart.cart_id, dict(cart.lines)) == (FRESH, {mug: 5, shirt: 7})
    assert (await carts.set(user, shirt, 0, FRESH)).lines == ((mug, 5),)
    assert await carts.set(user, mug, 0, FRESH) == Cart(None, ())
    assert await carts.set(user, mug, 0, FRESH) == Cart(None, ())


async def test_each_customer_has_a_cart_of_their_own(carts: CartRepository) -> None:
    first, second, mug = _ids(3)
    await carts.add(first, mug, 1, first)
    await carts.add(second, mug, 2, second)
    nobody = uuid.uuid4()
    assert await carts.load([second, nobody, first]) == [
        Cart(second, ((mug, 2),)),
        Cart(None, ()),
        Cart(first, ((mug, 1),)),
    ]


async def test_a_line_has_a_limit_and_stays_as_it_was(carts: CartRepository) -> None:
    user, mug = _ids(2)
    await carts.add(user, mug, LINE_QUANTITY_MAX, FRESH)
    with pytest.raises(CartLimitError, match=str(LINE_QUANTITY_MAX)):
        await carts.add(user, mug, 1, FRESH)
    with pytest.raises(CartLimitError):
        await carts.set(user, mug, LINE_QUANTITY_MAX + 1, FRESH)
    assert (await carts.load([user]))[0].lines == ((mug, LINE_QUANTITY_MAX),)


async def test_a_cart_has_a_limit_of_lines(carts: CartRepository) -> None:
    user = uuid.uuid4()
    variants = _ids(LINES_MAX)
    change = CartChange(
        user_id=user, variant_id=variants[0], quantity=1, mode="add", fresh_id=FRESH
    )
    changes = [
        CartChange(user_id=user, variant_id=one, quantity=1, mode="add", fresh_id=FRESH)
        for one in [*variants, uuid.uuid4()]
    ]
    *carts_after, refused = await carts.change(changes)
    assert isinstance(refused, CartLimitError)
    last = carts_after[-1]
    assert isinstance(last, Cart)
    assert len(last.lines) == LINES_MAX
    [again] = await carts.change([change])  # what is in it already may still grow
    assert isinstance(again, Cart)
    assert dict(again.lines)[variants[0]] == 2


async def test_two_tabs_lose_nothing(carts: CartRepository) -> None:
    user, mug = _ids(2)
    await asyncio.gather(*[carts.add(user, mug, 1, uuid.uuid4()) for _ in range(50)])
    [cart] = await carts.load([user])
    assert cart.lines == ((mug, 50),)


async def test_what_was_bought_is_taken_and_what_came_meanwhile_stays(
    carts: CartRepository,
) -> None:
    user, other, mug, shirt, cap = _ids(5)
    await carts.add(user, mug, 3, FRESH)
    await carts.add(user, shirt, 1, FRESH)
    await carts.add(other, cap, 1, other)
    bought = [
        (user, FRESH, [(mug, 2), (shirt, 1), (cap, 4)]),
        (other, other, [(cap, 1)]),
        (uuid.uuid4(), FRESH, [(mug, 1)]),
    ]
    assert await carts.take(bought) == [None] * 3
    assert await carts.load([user, other]) == [Cart(FRESH, ((mug, 1),)), Cart(None, ())]


async def test_another_cart_of_the_same_customer_is_left_alone(carts: CartRepository) -> None:
    user, mug = _ids(2)
    await carts.add(user, mug, 3, FRESH)
    await carts.take([(user, uuid.uuid4(), [(mug, 3)])])
    assert (await carts.load([user]))[0].lines == ((mug, 3),)


async def test_a_cart_is_kept_for_thirty_days_after_the_last_change(
    carts: CartRepository, redis: Redis
) -> None:
    user, mug = _ids(2)
    key = b"cart:" + user.hex.encode()
    await carts.add(user, mug, 1, FRESH)
    await redis.expire(key, 60)
    await carts.add(user, mug, 1, FRESH)
    assert await redis.ttl(key) == pytest.approx(CART_TTL_S, abs=5)


async def test_carts_survive_a_restart_and_a_cut_is_told(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    client = open_redis(server.url)
    carts = CartRepository(client)
    user, mug = _ids(2)
    try:
        await carts.add(user, mug, 3, FRESH)
        server.stop()
        with pytest.raises(Unavailable):
            await carts.add(user, mug, 1, FRESH)
        server.start()
        assert await carts.load([user]) == [Cart(FRESH, ((mug, 3),))]
        assert (await carts.add(user, mug, 1, FRESH)).lines == ((mug, 4),)
        await carts.take([(user, FRESH, [(mug, 4)])])
        assert await carts.load([user]) == [Cart(None, ())]
    finally:
        await client.aclose()
        server.stop()
        for left in sorted(socket_folder(tmp_path).rglob("*"), reverse=True):
            left.rmdir()
        socket_folder(tmp_path).rmdir()
