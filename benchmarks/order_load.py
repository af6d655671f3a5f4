"""Orders for the payments benchmark: goods, promotions, filled carts, and the requests that buy them.

Carts are written where the cart's app writes them, without HTTP: what is measured begins with
the checkout.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import orjson

from domain import ids
from domain.catalog import Product, Variant
from domain.promotions import Kind, Promotion, Scope
from serve_apps.checkout_parts import new_id
from serve_apps.composition import Parts
from serve_apps.shop_process import add_products
from sim.catalog import WAREHOUSES
from sim.http_messages import Request
from sim.shoppers import checkout_request, draw_address, draw_zipf
from storage.carts import CartChange, CartLimitError
from storage.promotions import PostgresPromotions

PRODUCTS = 1_000  # of each category
STOCK = 10_000_000
LINES_MAX = 5
OTHER_BILLING_SHARE = 0.3
COUPON = "BENCH10"
COUPON_USES_MAX = 100_000_000
CARD = "pm_card_visa"  # a name that both doors of the simulated provider know
PROMOTED, FULL_PRICE = "Promoted", "Full price"
FILL_BATCH = 500  # changes of carts in one round trip
_VARIANTS = """
    SELECT v.variant_id FROM products p JOIN product_variants v USING (product_id)
    WHERE p.category = $1 ORDER BY p.handle
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What shoppers order."""

    name: str
    category: str
    lines_max: int
    coupons: tuple[str, ...] = ()
    personal: bool = False
    """With contact data, and some with another billing address."""


EVERYTHING_ON = Mix(
    name="everything on",
    category=PROMOTED,
    lines_max=LINES_MAX,
    coupons=(COUPON,),
    personal=True,
)
NO_PROMOTIONS = Mix(
    name="the same without coupon and promotion",
    category=FULL_PRICE,
    lines_max=LINES_MAX,
    personal=True,
)
ONE_LINE = Mix(name="the plain checkout, one line", category=FULL_PRICE, lines_max=1)


async def stock_shop(parts: Parts) -> None:
    """Two categories with stock for any run, and the promotions of one of them."""
    products = [
        Product(
            handle=f"bench-{place}-{number:05d}",
            name=f"Benchmark item {number}",
            description="",
            category=category,
            seller="Doorbuster",
            tags=(),
            variants=(
                Variant(
                    sku=f"BENCH-{place}-{number:05d}",
                    price_minor=1_999 + number,
                    stock={WAREHOUSES[0].code: STOCK},
                ),
            ),
        )
        for place, category in enumerate((PROMOTED, FULL_PRICE))
        for number in range(PRODUCTS)
    ]
    await add_products(parts, products)
    book = PostgresPromotions(parts.pool)
    for promotion in promotions(datetime.now(UTC)):
        await book.add(promotion)


def promotions(now: datetime) -> tuple[Promotion, Promotion]:
    """A coupon of which the uses are counted, and an automatic promotion."""
    coupon = Promotion(
        promotion_id=new_id(),
        label="Ten percent",
        kind=Kind.PERCENT,
        code=COUPON,
        percent_bps=1_000,
        starts_at=now,
        uses_max=COUPON_USES_MAX,
    )
    automatic = Promotion(
        promotion_id=new_id(),
        label="Five percent off what is promoted",
        kind=Kind.PERCENT,
        percent_bps=500,
        scope=Scope(categories=frozenset({PROMOTED.casefold()})),
        starts_at=now,
    )
    return coupon, automatic


class OrderLoad:
    """Fills carts and makes the requests that buy them, each of another guest."""

    def __init__(self, parts: Parts, seed: int) -> None:
        self._parts = parts
        self._rng = random.Random(seed)
        self._variants: dict[str, list[UUID]] = {}

    async def prepare(self, mix: Mix, orders: int) -> list[Request]:
        """`orders` filled carts; the requests that buy them."""
        variants = await self._variants_of(mix.category)
        carts = [(uuid.uuid4(), new_id()) for _ in range(orders)]
        changes = [
            CartChange(
                user_id=user_id,
                variant_id=variants[number],
                quantity=self._rng.choice((1, 1, 1, 2)),
                mode="set",
                fresh_id=cart_id,
            )
            for user_id, cart_id in carts
            for number in draw_lines(self._rng, mix.lines_max, len(variants))
        ]
        for batch in _batches(changes):
            for changed in await self._parts.carts.change(batch):
                if isinstance(changed, CartLimitError):
                    raise changed
        return [
            order_request(
                self._rng,
                mix,
                cart_id=ids.encode("cart", cart_id),
                token=self._parts.identities.issue(user_id),
            )
            for user_id, cart_id in carts
        ]

    async def _variants_of(self, category: str) -> list[UUID]:
        if category not in self._variants:
            rows = await self._parts.pool.fetch(_VARIANTS, category)
            self._variants[category] = [row["variant_id"] for row in rows]
        return self._variants[category]


def draw_lines(rng: random.Random, lines_max: int, variants: int) -> set[int]:
    """One to `lines_max` different variants by their ranks, popular ones more often."""
    wanted = rng.randint(1, lines_max)
    drawn: set[int] = set()
    while len(drawn) < wanted:
        drawn.add(draw_zipf(rng, variants))
    return drawn


def order_request(rng: random.Random, mix: Mix, *, cart_id: str, token: str) -> Request:
    """The checkout of one cart."""
    plain = checkout_request(
        cart_id=cart_id,
        token=token,
        idempotency_key=str(uuid.uuid4()),
        address=draw_address(rng),
        card_id=CARD,
    )
    more: dict[str, object] = {}
    if mix.coupons:
        more["coupons"] = mix.coupons
    if mix.personal:
        more["contact"] = {"email": f"buyer{rng.randrange(10**6)}@example.com"}
        if rng.random() < OTHER_BILLING_SHARE:
            more["billing_address"] = draw_address(rng)
    return replace(plain, body=orjson.dumps(orjson.loads(plain.body) | more)) if more else plain


def _batches(changes: Sequence[CartChange]) -> list[Sequence[CartChange]]:
    begins = range(0, len(changes), FILL_BATCH)
    return [changes[begin : begin + FILL_BATCH] for begin in begins]
