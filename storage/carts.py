"""Carts in Redis: one per customer, kept for 30 days after the last change.

A cart is a hash: `cart_id`, and `v:<variant uuid>` → quantity. Every change is one script, so
two tabs of one shopper cannot lose each other's items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from asyncpg.pgproto import pgproto
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.cart import LINE_QUANTITY_MAX, LINES_MAX
from domain.ports import Unavailable

CART_TTL_S = 30 * 24 * 3600
_CART_ID = b"cart_id"
_LINE = b"v:"

# KEYS: cart; ARGV: fresh cart id, line, quantity, mode ('add' | 'set'), max units, max lines, ttl.
# Answers {'too_many_units' | 'too_many_lines', what there is} or the whole hash.
_CHANGE = """
local have = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '0')
local want = tonumber(ARGV[3])
if ARGV[4] == 'add' then want = have + want end
if want > tonumber(ARGV[5]) then return {'too_many_units', have} end
if want > 0 and have == 0 and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then
    return {'too_many_lines', redis.call('HLEN', KEYS[1]) - 1}
end
if want > 0 then
    redis.call('HSETNX', KEYS[1], 'cart_id', ARGV[1])
    redis.call('HSET', KEYS[1], ARGV[2], want)
else
    redis.call('HDEL', KEYS[1], ARGV[2])
    if redis.call('HLEN', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
return redis.call('HGETALL', KEYS[1])
"""
# KEYS: cart; ARGV: cart id, then line, quantity, … Takes what was bought out of the cart and
# leaves what the shopper put in meanwhile. A repeat for a cart that is gone does nothing.
_TAKE = """
if redis.call('HGET', KEYS[1], 'cart_id') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
    if redis.call('HINCRBY', KEYS[1], ARGV[i], -tonumber(ARGV[i + 1])) <= 0 then
        redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
if redis.call('HLEN', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class Cart:
    """A customer's cart: (variant, quantity) in no particular order; no id while empty."""

    cart_id: UUID | None
    lines: tuple[tuple[UUID, int], ...]


class CartLimitError(ValueError):
    """A change that would pass a limit; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CartChange:
    """Add units to a line of a customer's cart, or set them; 0 removes the line."""

    user_id: UUID
    variant_id: UUID
    quantity: int
    mode: Literal["add", "set"]
    fresh_id: UUID
    """The cart's id if it does not exist yet."""


class CartRepository:
    """Carts by customer. Raises Unavailable when Redis cannot be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def change(self, changes: Sequence[CartChange]) -> list[Cart | CartLimitError]:
        """Make many changes in one round trip: each cart afterwards, or the limit it ran into."""
        pipeline = self._redis.pipeline(transaction=False)
        for one in changes:
            line = _LINE + one.variant_id.bytes
            arguments = [one.fresh_id.bytes, line, one.quantity, one.mode]
            arguments += [LINE_QUANTITY_MAX, LINES_MAX, CART_TTL_S]
            pipeline.eval(_CHANGE, 1, _key(one.user_id), *arguments)  # type: ignore[arg-type]
        return [_changed(answer) for answer in await _sent(pipeline)]

    async def add(self, user_id: UUID, variant_id: UUID, quantity: int, fresh_id: UUID) -> Cart:
        """Add units; a cart that does not exist yet begins as `fresh_id`. Raises CartLimitError."""
        return await self._one(user_id, variant_id, quantity, "add", fresh_id)

    async def set(self, user_id: UUID, variant_id: UUID, quantity: int, fresh_id: UUID) -> Cart:
        """Set a line's units; 0 removes it. Raises CartLimitError."""
        return await self._one(user_id, variant_id, quantity, "set", fresh_id)

    async def load(self, user_ids: Sequence[UUID]) -> list[Cart]:
        """The carts of many customers, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            pipeline.hgetall(_key(user_id))
        return [_cart(fields) for fields in await _sent(pipeline)]

    async def take(
        self, bought: Sequence[tuple[UUID, UUID, Sequence[tuple[UUID, int]]]]
    ) -> list[None]:
        """Take what was bought out of many carts, by (customer, cart, lines)."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id, cart_id, lines in bought:
            arguments: list[bytes | int] = [cart_id.bytes]
            for variant_id, quantity in lines:
                arguments += [_LINE + variant_id.bytes, quantity]
            pipeline.eval(_TAKE, 1, _key(user_id), *arguments)  # type: ignore[arg-type]
        await _sent(pipeline)
        return [None] * len(bought)

    async def _one(
        self,
        user_id: UUID,
        variant_id: UUID,
        quantity: int,
        mode: Literal["add", "set"],
        fresh_id: UUID,
    ) -> Cart:
        change = CartChange(
            user_id=user_id, variant_id=variant_id, quantity=quantity, mode=mode, fresh_id=fresh_id
        )
        [changed] = await self.change([change])
        if isinstance(changed, CartLimitError):
            raise changed
        return changed


async def _sent(pipeline: Any) -> list[Any]:
    try:
        return await pipeline.execute()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"carts: {error}") from error


def _changed(answer: list[Any]) -> Cart | CartLimitError:
    if answer and answer[0] == b"too_many_units":
        return CartLimitError(
            f"at most {LINE_QUANTITY_MAX} of one item fit a cart, {answer[1]} are in it; take fewer"
        )
    if answer and answer[0] == b"too_many_lines":
        return CartLimitError(
            f"a cart holds at most {LINES_MAX} different items; order these first"
        )
    return _cart(dict(zip(answer[::2], answer[1::2], strict=True)))


def _key(user_id: UUID) -> bytes:
    return b"cart:" + user_id.hex.encode()


def _cart(fields: dict[bytes, bytes]) -> Cart:
    if _CART_ID not in fields:
        return Cart(None, ())
    lines = tuple(
        (pgproto.UUID(name[2:]), int(quantity))
        for name, quantity in fields.items()
        if name != _CART_ID
    )
    return Cart(pgproto.UUID(fields[_CART_ID]), lines)
