"""Ways to break the books of promotions, for the audit to find."""

from __future__ import annotations

from tests.storage.books import uid
from tests.storage.broken_books import FIRST, World, breaks


@breaks("P7")
async def discount_that_no_line_has(world: World) -> None:
    pricing = {"promotions": [], "shipping_discount_minor": 5}
    await world.sql("UPDATE orders SET pricing = $2 WHERE order_id = $1", FIRST, pricing)


@breaks("P7")
async def discount_that_counts_no_use(world: World) -> None:
    pricing = {"promotions": [{"promotion_id": str(uid("half"))}], "shipping_discount_minor": 0}
    await world.sql(
        "UPDATE order_items i SET tax_minor = CASE i.line WHEN 1 THEN o.tax_minor ELSE 0 END"
        " FROM orders o WHERE o.order_id = i.order_id AND i.order_id = $1",
        FIRST,
    )
    await world.sql("UPDATE orders SET pricing = $2 WHERE order_id = $1", FIRST, pricing)


@breaks("P7")
async def promotion_used_too_often(world: World) -> None:
    await world.sql(
        "INSERT INTO promotions (promotion_id, code, label, kind, percent_bps, starts_at, uses_max)"
        " VALUES ($1, 'ONCE', 'Once', 'percent', 1000, now(), 1)",
        uid("once"),
    )
    for name in ("first", "second"):
        await world.sql(
            "INSERT INTO promotion_redemptions (order_id, promotion_id, user_id)"
            " VALUES ($1, $2, $3)",
            uid(f"use {name}"),
            uid("once"),
            uid("somebody"),
        )
