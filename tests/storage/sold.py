"""Orders that were sold, in a test's own database, and refunds of them."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg

from domain.orders import OrderDraft, PaymentPart
from domain.refunds import (
    Refund,
    RefundDraft,
    RefundRecord,
    RefundRefusal,
    RefundScope,
    UnitsOf,
    refunded_event,
)
from storage.orders import PostgresOrderBook
from storage.refunds import PostgresRefunds
from tests.actors.drafts import draft, line, part
from tests.actors.memory import MemoryProvider
from tests.actors.postgres import add_pair
from tests.storage.keys import a_ring

WHOLE = RefundScope(whole=True)


def amount(amount_minor: int) -> RefundScope:
    """An amount."""
    return RefundScope(amount_minor=amount_minor)


def units(quantity: int, item: str | uuid.UUID) -> RefundScope:
    """Units of one variant."""
    return RefundScope(units=(UnitsOf(item=item, quantity=quantity),))


def asks(order_id: uuid.UUID, scope: RefundScope = WHOLE, **changes: Any) -> RefundDraft:
    """A refund, with a key of its own if none is given."""
    values: dict[str, Any] = {
        "refund_id": uuid.uuid4(),
        "order_id": order_id,
        "scope": scope,
        "reason": "broken on arrival",
        "requested_by": "ann",
        "idempotency_key": str(uuid.uuid4()),
        "request_hash": b"hash",
    }
    return RefundDraft(**{**values, **changes})


async def sell(
    pool: asyncpg.Pool,
    *amounts: int,
    provider: MemoryProvider | None = None,
    quantity: int = 3,
    **changes: Any,
) -> OrderDraft:
    """A confirmed order of mugs at 10.00, 0.80 tax and 5.00 shipping; `amounts` are its parts'.

    The mug's SKU is its id in hex. At `provider` it is captured, too.
    """
    bought = line(quantity)
    order_id = uuid.uuid4()
    if amounts:
        parts = [part(order_id, one, name=f"c{at}") for at, one in enumerate(amounts)]
        changes["parts"] = tuple(parts)
    order = draft([bought], order_id=order_id, **changes)
    await pool.execute("INSERT INTO sellers VALUES ($1, $2)", order_id, order_id.hex)
    await pool.execute(
        "INSERT INTO products (product_id, seller_id, handle, name, price_minor)"
        " VALUES ($1, $2, $3, 'Mug', 1000)",
        bought.product_id,
        order_id,
        order_id.hex,
    )
    await pool.execute(
        "INSERT INTO product_variants (variant_id, product_id, sku) VALUES ($1, $2, $3)",
        bought.variant_id,
        bought.product_id,
        bought.variant_id.hex,
    )
    await PostgresOrderBook(pool, a_ring()).record([order])
    await pool.execute(
        "UPDATE orders SET status = 'confirmed', confirmed_at = now() WHERE order_id = $1",
        order_id,
    )
    await pool.execute("UPDATE payments SET status = 'captured' WHERE order_id = $1", order_id)
    if provider is not None:
        for one in order.parts:
            await capture(provider, one)
    return order


async def take(pool: asyncpg.Pool, order: OrderDraft, quantity: int = 3) -> uuid.UUID:
    """The order's mugs were taken from a pair of their own; which."""
    [line] = order.lines
    pair = uuid.UUID(bytes=await add_pair(pool, 10, variant_id=line.variant_id))
    await pool.execute(
        "INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,"
        " expires_at, status) VALUES ($1, $2, $3, $4, now(), 'allocated')",
        *(uuid.uuid4(), order.order_id, pair, quantity),
    )
    return pair


async def capture(provider: MemoryProvider, one: PaymentPart) -> None:
    """The provider has taken the money."""
    await provider.authorize(one.charge)
    await provider.capture(one.charge)


async def created(book: PostgresRefunds, wanted: RefundDraft) -> Refund:
    """The refund, which is new."""
    made = await book.create(wanted)
    assert isinstance(made, RefundRecord), made
    assert not made.repeated
    return made.refund


async def refused(book: PostgresRefunds, wanted: RefundDraft) -> RefundRefusal:
    """Why there is none."""
    made = await book.create(wanted)
    assert isinstance(made, RefundRefusal), made
    return made


async def settle(book: PostgresRefunds, refund: Refund, *done: int, **refused: str) -> None:
    """Note parts as done, all if none are named, or as refused (`p1="why"`)."""
    by_number = {one.part: one.payment_id for one in refund.parts}
    whys = {by_number[int(name[1:])]: why for name, why in refused.items()}
    rest = done or (() if refused else tuple(by_number))
    event = refunded_event(uuid.uuid4(), refund)
    await book.settle(refund, [by_number[one] for one in rest], whys, event)


async def payments_of(pool: asyncpg.Pool, order: OrderDraft) -> list[tuple[str, int]]:
    """(status, refunded_minor) of each payment."""
    rows = await pool.fetch(
        "SELECT status::text, refunded_minor FROM payments WHERE order_id = $1 ORDER BY part",
        order.order_id,
    )
    return [tuple(row) for row in rows]


async def events(pool: asyncpg.Pool) -> list[Any]:
    """What refunds have left in the outbox."""
    rows = await pool.fetch("SELECT data FROM outbox WHERE type = 'order.refunded'")
    return [row["data"] for row in rows]
