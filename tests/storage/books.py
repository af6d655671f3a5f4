"""A correct little shop's books, written into the database by SQL, and readers of the outside.

It has one of everything that may lie in the books of an honest shop: confirmed, pending,
failed, declined, shipped, returned and cancelled orders, holds that were given back, and an
owner in its second epoch. Tests take it and break one thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import asyncpg

from domain.promises import Charge
from sim.provider import SimulatedProvider
from storage.audit import audit

NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
OPENED = NOW - timedelta(days=2)
CURRENCY = "USD"
TAX_MINOR = 150
SHIPPING_MINOR = 500
OWNER = "pool-0"
PRICES_MINOR = {"mug": 1_200, "shirt-s": 2_500, "shirt-m": 2_500}
PRODUCT_OF = {"mug": "mug", "shirt-s": "shirt", "shirt-m": "shirt"}


def uid(name: str) -> UUID:
    """The same id for the same name, in every test."""
    return uuid5(NAMESPACE_URL, name)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A reservation of an order: what, where, how many, and what has become of it."""

    sku: str
    warehouse: str
    quantity: int
    status: str

    @property
    def pair(self) -> str:
        """The pair's name."""
        return f"{self.sku}@{self.warehouse}"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order with all that belongs to it."""

    name: str
    status: str
    lines: dict[str, int]
    held: tuple[Held, ...]
    payment: str | None = "captured"
    charge: str | None = "captured"
    age: timedelta = timedelta(hours=1)
    published: bool = True

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""
        return NOW - self.age

    @property
    def confirmed_at(self) -> datetime | None:
        """When it was confirmed, if it ever was."""
        unconfirmed = self.status in ("pending", "failed")
        return None if unconfirmed else self.created_at + timedelta(seconds=1)

    @property
    def subtotal_minor(self) -> int:
        """All its lines."""
        return sum(PRICES_MINOR[sku] * quantity for sku, quantity in self.lines.items())

    @property
    def total_minor(self) -> int:
        """What is charged."""
        return self.subtotal_minor + TAX_MINOR + SHIPPING_MINOR

    @property
    def transaction_id(self) -> str:
        """Our own name of its charge."""
        return f"charge-{self.name}"


def _one(status: str, quantity: int = 1, sku: str = "mug") -> tuple[Held, ...]:
    return (Held(sku=sku, warehouse="east", quantity=quantity, status=status),)


ORDERS: tuple[Order, ...] = (
    Order(
        name="first",
        status="confirmed",
        lines={"mug": 3},
        held=_one("allocated", 3),
        age=timedelta(hours=3),
    ),
    Order(  # two lines, one of them from two warehouses
        name="split",
        status="confirmed",
        lines={"shirt-s": 5, "mug": 1},
        held=(
            Held(sku="shirt-s", warehouse="east", quantity=3, status="allocated"),
            Held(sku="shirt-s", warehouse="west", quantity=2, status="allocated"),
            Held(sku="mug", warehouse="east", quantity=1, status="allocated"),
        ),
        age=timedelta(hours=2),
    ),
    Order(
        name="latest",
        status="confirmed",
        lines={"shirt-m": 1},
        held=_one("allocated", 1, "shirt-m"),
    ),
    Order(  # confirmed a moment ago: its event is still in the outbox
        name="fresh",
        status="confirmed",
        lines={"mug": 1},
        held=_one("allocated"),
        age=timedelta(seconds=5),
        published=False,
    ),
    Order(
        name="shipped",
        status="shipped",
        lines={"mug": 2},
        held=_one("shipped", 2),
        age=timedelta(hours=20),
    ),
    Order(
        name="delivered",
        status="delivered",
        lines={"shirt-s": 1},
        held=_one("shipped", 1, "shirt-s"),
        age=timedelta(hours=30),
    ),
    Order(
        name="cancelled",
        status="cancelled",
        lines={"mug": 1},
        held=_one("cancelled"),
        payment="refunded",
        charge="refunded",
        age=timedelta(hours=10),
    ),
    Order(  # between capture and confirmation
        name="paying",
        status="pending",
        lines={"mug": 2},
        held=_one("active", 2),
        payment="created",
        charge="captured",
        age=timedelta(seconds=2),
    ),
    Order(  # recorded, nothing else happened yet
        name="starting",
        status="pending",
        lines={"mug": 1},
        held=(),
        payment="created",
        charge=None,
        age=timedelta(seconds=1),
    ),
    Order(
        name="declined",
        status="failed",
        lines={"mug": 1},
        held=_one("released"),
        payment="declined",
        charge="declined",
    ),
    Order(
        name="unwound",
        status="failed",
        lines={"shirt-m": 1},
        held=_one("expired", 1, "shirt-m"),
        payment="voided",
        charge="voided",
    ),
    Order(  # the provider was never reached
        name="refused",
        status="failed",
        lines={"mug": 900},
        held=(),
        payment="voided",
        charge=None,
    ),
)
ORDER = {order.name: order for order in ORDERS}
CONFIRMED = tuple(order.name for order in ORDERS if order.confirmed_at is not None)
STOCK = {"mug@east": 40, "shirt-s@east": 20, "shirt-s@west": 20, "shirt-m@east": 5}
ADJUSTED = {"shirt-s@west": -2}
RETURNED = {"shirt-s@east": 1}


class SimulatedBooks:
    """Reads the simulated provider's books."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def charges(self) -> AsyncIterator[Charge]:
        """Every charge."""
        for row in await self._pool.fetch("SELECT * FROM simulated_provider.charges"):
            yield Charge(
                transaction_id=row["transaction_id"],
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                status=row["status"],
                refunded_minor=row["refunded_minor"],
            )


@dataclass
class Bus:
    """An event bus that holds these orders' events."""

    orders: list[UUID] = field(default_factory=list)

    async def confirmed_orders(self) -> AsyncIterator[UUID]:
        """As given."""
        for order_id in self.orders:
            yield order_id


def full_bus() -> Bus:
    """All that was published, one event twice: at least once is what is promised."""
    published = [uid(name) for name in CONFIRMED if ORDER[name].published]
    return Bus([*published, published[0]])


def acknowledged() -> set[UUID]:
    """Every order that a buyer was told of."""
    return {uid(name) for name in CONFIRMED}


async def write_books(pool: asyncpg.Pool) -> None:
    """Write the whole shop. The database must be migrated and empty."""
    async with pool.acquire() as connection, connection.transaction():
        await _write_catalog(connection)
        await _write_stock(connection)
        for order in ORDERS:
            await write_order(connection, order)
        await _write_hold_without_order(connection)
        await _write_owners(connection)


async def _write_catalog(connection: Any) -> None:
    await connection.execute("INSERT INTO sellers VALUES ($1, 'Shop')", uid("seller"))
    for product in sorted(set(PRODUCT_OF.values())):
        await connection.execute(
            "INSERT INTO products (product_id, seller_id, handle, name, price_minor)"
            " VALUES ($1, $2, $3, $4, 1000)",
            uid(product + "-product"),
            uid("seller"),
            product,
            product.title(),
        )
    for sku, product in PRODUCT_OF.items():
        await connection.execute(
            "INSERT INTO product_variants (variant_id, product_id, sku) VALUES ($1, $2, $3)",
            uid(sku),
            uid(product + "-product"),
            sku,
        )
    for code in ("east", "west"):
        await connection.execute(
            "INSERT INTO warehouses VALUES ($1, $2, $2, 'US', 40, -74)", uid(code), code
        )


async def _write_stock(connection: Any) -> None:
    for pair, received in STOCK.items():
        sku, warehouse = pair.split("@")
        shipped = _held(pair, "shipped")
        moved = {
            "received": received,
            "adjusted": ADJUSTED.get(pair, 0),
            "shipped": -shipped,
            "returned": RETURNED.get(pair, 0),
        }
        open_ = _held(pair, "active") + _held(pair, "allocated")
        await connection.execute(
            "INSERT INTO inventory (inventory_id, product_id, variant_id, warehouse_id, quantity,"
            " reserved, version) VALUES ($1, $2, $3, $4, $5, $6, 20)",
            uid(pair),
            uid(PRODUCT_OF[sku] + "-product"),
            uid(sku),
            uid(warehouse),
            sum(moved.values()) - open_,
            open_,
        )
        balance = 0
        for hours, (kind, quantity) in zip((0, 1, 40, 46), moved.items(), strict=True):
            balance += quantity
            if quantity:
                await connection.execute(
                    "INSERT INTO stock_movements"
                    " (inventory_id, kind, quantity, actor, created_at, balance)"
                    " VALUES ($1, $2, $3, 'test', $4, $5)",
                    uid(pair),
                    kind,
                    quantity,
                    OPENED + timedelta(hours=hours),
                    balance,
                )


def _held(pair: str, status: str) -> int:
    every: Iterable[Held] = (held for order in ORDERS for held in order.held)
    return sum(held.quantity for held in every if held.pair == pair and held.status == status)


async def write_order(connection: Any, order: Order) -> None:
    """Write one order with its lines, reservations, payment, charge and event."""
    failed_at = order.created_at + timedelta(seconds=2) if order.status == "failed" else None
    await connection.execute(
        "INSERT INTO orders (order_id, user_id, cart_id, idempotency_key, request_hash, status,"
        " subtotal_minor, tax_minor, shipping_minor, total_minor, currency, payment_method,"
        " shipping_method, shipping_address, estimated_delivery, failure, created_at,"
        " confirmed_at, failed_at, updated_at)"
        " VALUES ($1, $2, $3, $4, '\\x00', $5, $6, $7, $8, $9, $10, 'card', 'standard', $11,"
        " $12, $13, $14, $15, $16, $17)",
        uid(order.name),
        uid("buyer"),
        uid("cart"),
        f"key-{order.name}",
        order.status,
        order.subtotal_minor,
        TAX_MINOR,
        SHIPPING_MINOR,
        order.total_minor,
        CURRENCY,
        {"country": "US"},
        date(2026, 3, 20),
        {"type": "payment_declined"} if failed_at else None,
        order.created_at,
        order.confirmed_at,
        failed_at,
        failed_at or order.confirmed_at or order.created_at,
    )
    for line, (sku, quantity) in enumerate(order.lines.items(), start=1):
        await connection.execute(
            "INSERT INTO order_items VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            uid(order.name),
            line,
            uid(PRODUCT_OF[sku] + "-product"),
            uid(sku),
            sku,
            quantity,
            PRICES_MINOR[sku],
            PRICES_MINOR[sku] * quantity,
        )
    for held in order.held:
        await _write_reservation(connection, order, held)
    await _write_payment(connection, order)
    if order.confirmed_at is not None:
        await _write_event(connection, order, order.confirmed_at)


async def _write_reservation(connection: Any, order: Order, held: Held) -> None:
    await connection.execute(
        "INSERT INTO inventory_reservations VALUES ($1, $2, $3, $4, $5, $6, $7)",
        uid(f"{order.name}:{held.pair}"),
        uid(order.name),
        uid(held.pair),
        held.quantity,
        order.created_at + timedelta(minutes=10),
        held.status,
        order.created_at + timedelta(milliseconds=100),
    )


async def _write_payment(connection: Any, order: Order) -> None:
    settled_at = order.created_at + timedelta(seconds=1)
    if order.payment is not None:
        await connection.execute(
            "INSERT INTO payments (payment_id, order_id, transaction_id, amount_minor, currency,"
            " status, payment_method, payment_token, gateway, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, 'card', 'card_1', 'simulated', $7, $8)",
            uid(f"payment-{order.name}"),
            uid(order.name),
            order.transaction_id,
            order.total_minor,
            CURRENCY,
            order.payment,
            order.created_at,
            settled_at,
        )
    if order.charge is not None:
        await write_charge(
            connection, order.transaction_id, status=order.charge, amount_minor=order.total_minor
        )


async def write_charge(
    connection: Any, transaction_id: str, *, status: str, amount_minor: int = 1_000
) -> None:
    """Write a charge into the provider's books."""
    await connection.execute(
        "INSERT INTO simulated_provider.charges"
        " (transaction_id, amount_minor, currency, status, refunded_minor)"
        " VALUES ($1, $2, $3, $4, $5)",
        transaction_id,
        amount_minor,
        CURRENCY,
        status,
        amount_minor if status == "refunded" else 0,
    )


async def _write_event(connection: Any, order: Order, confirmed_at: datetime) -> None:
    await connection.execute(
        "INSERT INTO outbox VALUES ($1, 'order.confirmed', $2, '{}', $3, $4)",
        uid(f"event-{order.name}"),
        uid(order.name),
        confirmed_at,
        confirmed_at + timedelta(milliseconds=200) if order.published else None,
    )


async def _write_hold_without_order(connection: Any) -> None:
    """A reservation that was faster than its order, which then was never recorded."""
    await connection.execute(
        "INSERT INTO inventory_reservations VALUES ($1, $2, $3, 1, $4, 'released', $5)",
        uid("stray"),
        uid("never-recorded"),
        uid("mug@east"),
        NOW - timedelta(hours=1),
        NOW - timedelta(hours=2),
    )


async def _write_owners(connection: Any) -> None:
    await connection.execute("INSERT INTO stock_owners (owner_name, epoch) VALUES ($1, 2)", OWNER)
    second_began = NOW - timedelta(hours=5)
    for epoch, first_at, last_at in (
        (1, OPENED, second_began - timedelta(seconds=1)),
        (2, second_began, NOW - timedelta(seconds=1)),
    ):
        await connection.execute(
            "INSERT INTO stock_turns VALUES ($1, $2, 10, $3, $4)", OWNER, epoch, first_at, last_at
        )
    await connection.execute("UPDATE stock_turns SET last_turn = 10 * epoch")
    # Of the shirts in the east one is in the log only; the other turn is in the row already.
    await connection.execute(
        "UPDATE inventory SET quantity = quantity + 1, reserved = reserved - 1, logged_to = 19"
        " WHERE inventory_id = $1",
        uid("shirt-s@east"),
    )
    for turn in (18, 20):
        await connection.execute(
            "INSERT INTO stock_log VALUES ($1, $2, ARRAY[$3::uuid], '{1}')",
            OWNER,
            turn,
            uid("shirt-s@east"),
        )


async def stock_adds_up(pool: asyncpg.Pool) -> None:
    """P1 and P2 of the whole audit, now."""
    report = await audit(pool, SimulatedProvider(pool), bus=None, now=datetime.now(UTC))
    wrong = {v.promise.id: v.violations for v in report.verdicts if v.promise.id in ("P1", "P2")}
    assert not any(wrong.values()), wrong
