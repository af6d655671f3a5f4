"""Ways to break an honest shop's books by hand, each with the promises the audit must name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from domain.promises import AuditReport
from storage.audit import audit
from tests.storage.books import (
    NOW,
    ORDER,
    OWNER,
    Bus,
    SimulatedBooks,
    acknowledged,
    full_bus,
    uid,
    write_charge,
)

FIRST = uid("first")
MUG = uid("mug@east")
FIRST_RESERVATION = uid("first:mug@east")
PAYING_RESERVATION = uid("paying:mug@east")


@dataclass
class World:
    """What an audit looks at: the database, the bus, and what buyers were told."""

    pool: asyncpg.Pool
    bus: Bus | None = field(default_factory=full_bus)
    acknowledged: set[UUID] = field(default_factory=acknowledged)
    now: datetime = NOW

    async def sql(self, statement: str, *values: object) -> None:
        await self.pool.execute(statement, *values)

    async def without_constraint(self, table: str, constraint: str) -> None:
        await self.sql(f"ALTER TABLE {table} DROP CONSTRAINT {constraint} CASCADE")

    async def audited(self, *, grace_s: float = 30) -> AuditReport:
        return await audit(
            self.pool,
            SimulatedBooks(self.pool),
            bus=self.bus,
            acknowledged=self.acknowledged,
            grace_s=grace_s,
            now=self.now,
        )


Breaking = Callable[[World], Awaitable[object]]
CASES: list[tuple[frozenset[str], Breaking]] = []


def breaks(*promises: str) -> Callable[[Breaking], Breaking]:
    """Marks a way to break the books, and every promise that the audit must then report."""

    def add(breaking: Breaking) -> Breaking:
        CASES.append((frozenset(promises), breaking))
        return breaking

    return add


@breaks("P1")
async def constraint_dropped(world: World) -> None:
    await world.without_constraint("inventory", "inventory_never_oversold")


@breaks("P1")
async def constraint_weakened(world: World) -> None:
    await world.without_constraint("inventory", "inventory_never_oversold")
    await world.sql(
        "ALTER TABLE inventory ADD CONSTRAINT inventory_never_oversold CHECK (quantity > -9)"
    )


@breaks("P1")
async def oversold_with_books_that_add_up(world: World) -> None:
    await world.without_constraint("inventory", "inventory_never_oversold")
    await world.sql(
        "INSERT INTO inventory_reservations VALUES ($1, $2, $3, 500, $4, 'active', $5)",
        uid("too-much"),
        uid("unknown-order"),
        uid("mug@east"),
        NOW + timedelta(minutes=5),
        NOW - timedelta(minutes=5),
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity - 500, reserved = reserved + 500"
        " WHERE inventory_id = $1",
        uid("mug@east"),
    )


@breaks("P1")
async def sold_before_it_was_received(world: World) -> None:
    await world.sql("ALTER TABLE stock_movements DISABLE TRIGGER USER")
    await world.sql(
        "UPDATE stock_movements SET created_at = $1 WHERE inventory_id = $2 AND kind = 'received'",
        NOW - timedelta(minutes=30),
        uid("mug@east"),
    )


@breaks("P2")
async def stock_out_of_nowhere(world: World) -> None:
    await world.sql("UPDATE inventory SET quantity = quantity + 1 WHERE quantity > 5")


@breaks("P2")
async def reserved_lost(world: World) -> None:
    await world.sql("UPDATE inventory SET reserved = reserved - 1 WHERE reserved > 0")


@breaks("P2")
async def movement_lost(world: World) -> None:
    await world.sql("ALTER TABLE stock_movements DISABLE TRIGGER USER")
    await world.sql("DELETE FROM stock_movements WHERE kind = 'returned'")


@breaks("P2")
async def left_the_house_without_a_reservation(world: World) -> None:
    await world.sql(
        "INSERT INTO stock_movements (inventory_id, kind, quantity, actor, balance)"
        " VALUES ($1, 'shipped', -1, 'thief', 0)",
        uid("mug@east"),
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity - 1 WHERE inventory_id = $1", uid("mug@east")
    )


@breaks("P3")
async def reserved_after_confirmation(world: World) -> None:
    await world.sql(
        "UPDATE inventory_reservations SET created_at = $2 WHERE reservation_id = $1",
        FIRST_RESERVATION,
        ORDER["first"].created_at + timedelta(seconds=2),
    )


@breaks("P3")
async def confirmed_before_reservation(world: World) -> None:
    await world.sql(
        "UPDATE orders SET confirmed_at = $2 WHERE order_id = $1",
        uid("shipped"),
        ORDER["shipped"].created_at,
    )


@breaks("P3", "P8")  # what is not reserved is not allocated either
async def reservation_lost(world: World) -> None:
    await world.sql(
        "DELETE FROM inventory_reservations WHERE reservation_id = $1", FIRST_RESERVATION
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity + 3, reserved = reserved - 3"
        " WHERE inventory_id = $1",
        uid("mug@east"),
    )


@breaks("P3", "P10")  # told that it is confirmed, while it is pending without a reservation
async def told_before_reserved(world: World) -> None:
    world.acknowledged.add(uid("starting"))


@breaks("P4")
async def released_and_still_sold(world: World) -> None:
    await world.sql(
        "INSERT INTO inventory_reservations VALUES ($1, $2, $3, 1, $4, 'released', $5)",
        uid("again"),
        FIRST,
        uid("mug@east"),
        ORDER["first"].created_at + timedelta(minutes=10),
        ORDER["first"].created_at,
    )


@breaks("P4")
async def allocated_to_a_failed_order(world: World) -> None:
    await world.sql(
        "UPDATE inventory_reservations SET status = 'allocated' WHERE order_id = $1",
        uid("declined"),
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity - 1, reserved = reserved + 1"
        " WHERE inventory_id = $1",
        uid("mug@east"),
    )


@breaks("P4")
async def allocated_to_an_order_that_is_not_there(world: World) -> None:
    await world.sql(
        "UPDATE inventory_reservations SET status = 'allocated' WHERE reservation_id = $1",
        uid("stray"),
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity - 1, reserved = reserved + 1"
        " WHERE inventory_id = $1",
        uid("mug@east"),
    )


@breaks("P4", "P8")  # a line whose reservation is only held is not allocated
async def held_for_a_confirmed_order(world: World) -> None:
    await world.sql(
        "UPDATE inventory_reservations SET status = 'active', expires_at = $2"
        " WHERE reservation_id = $1",
        FIRST_RESERVATION,
        NOW + timedelta(minutes=5),
    )


@breaks("P4")
async def never_expired(world: World) -> None:
    await world.sql(
        "UPDATE inventory_reservations SET expires_at = $2 WHERE reservation_id = $1",
        PAYING_RESERVATION,
        NOW - timedelta(seconds=31),
    )


@breaks("P4")
async def never_recovered(world: World) -> None:
    await world.sql(
        "UPDATE orders SET created_at = $2 WHERE order_id = $1",
        uid("starting"),
        NOW - timedelta(seconds=151),
    )


@breaks("P4", "P7")  # its money was taken, and nothing came of it
async def never_recovered_after_capture(world: World) -> None:
    await world.sql(
        "UPDATE orders SET created_at = $2 WHERE order_id = $1",
        uid("paying"),
        NOW - timedelta(seconds=151),
    )


@breaks("P5")
async def old_epoch_wrote_after_the_new_one_began(world: World) -> None:
    await world.sql(
        "UPDATE stock_turns SET last_at = $2 WHERE owner_name = $1 AND epoch = 1",
        OWNER,
        NOW - timedelta(hours=4),
    )


@breaks("P5")
async def epoch_that_was_never_raised(world: World) -> None:
    await world.sql("INSERT INTO stock_turns VALUES ($1, 3, 1, $2, $2)", OWNER, NOW)


@breaks("P5")
async def owner_forgotten(world: World) -> None:
    await world.without_constraint("stock_turns", "stock_turns_owner_name_fkey")
    await world.sql("DELETE FROM stock_owners")


@breaks("P5")
async def written_past_the_owner(world: World) -> None:
    await world.sql("UPDATE inventory SET version = 0 WHERE inventory_id = $1", MUG)


@breaks("P5")
async def with_an_owner_nobody_handed_it_to(world: World) -> None:
    await world.sql("UPDATE inventory SET owner_name = 'hot-0' WHERE inventory_id = $1", MUG)


@breaks("P5")
async def never_arrived_where_it_was_handed(world: World) -> None:
    handed = "INSERT INTO pair_handovers VALUES (DEFAULT, $1, $2, 2, 'hot-0')"
    await world.sql(handed, MUG, OWNER)


async def _second_order_with_the_same_key(world: World) -> None:
    await world.sql(
        "UPDATE orders SET idempotency_key = 'key-first' WHERE order_id = $1", uid("declined")
    )


@breaks("P6")
async def key_not_unique(world: World) -> None:
    await world.without_constraint("orders", "one_order_per_idempotency_key")


@breaks("P6")
async def two_orders_of_one_key(world: World) -> None:
    await world.without_constraint("orders", "one_order_per_idempotency_key")
    await _second_order_with_the_same_key(world)


@breaks("P6")
async def constraint_over_something_else(world: World) -> None:
    await world.without_constraint("orders", "one_order_per_idempotency_key")
    await _second_order_with_the_same_key(world)
    await world.sql(
        "ALTER TABLE orders ADD CONSTRAINT one_order_per_idempotency_key"
        " UNIQUE (user_id, idempotency_key, order_id)"
    )


def _charge_becomes(order: str, **changes: object) -> Breaking:
    async def change(world: World) -> None:
        for column, value in changes.items():
            await world.sql(
                f"UPDATE simulated_provider.charges SET {column} = $2 WHERE transaction_id = $1",
                ORDER[order].transaction_id,
                value,
            )

    change.__name__ = f"charge_of_{order}_with_{'_'.join(map(str, changes.values()))}"
    return change


for broken_charge in (
    _charge_becomes("first", amount_minor=1),
    _charge_becomes("first", currency="EUR"),
    _charge_becomes("first", status="refunded"),
    _charge_becomes("first", status="authorized"),
    _charge_becomes("unwound", status="captured"),
    _charge_becomes("declined", status="authorized"),
    _charge_becomes("cancelled", status="captured"),
    _charge_becomes("cancelled", refunded_minor=5, amount_minor=5),
):
    breaks("P7")(broken_charge)


@breaks("P7")
async def charge_lost_at_the_provider(world: World) -> None:
    await world.sql(
        "DELETE FROM simulated_provider.charges WHERE transaction_id = $1",
        ORDER["first"].transaction_id,
    )


@breaks("P7")
async def charged_twice(world: World) -> None:
    await world.sql(
        "INSERT INTO payments (payment_id, order_id, part, transaction_id, amount_minor, currency,"
        " status, payment_method, payment_token, gateway, updated_at) VALUES"
        " ($1, $2, 2, 'second', $3, 'USD', 'captured', 'card', 'card_1', 'simulated', $4)",
        uid("second-payment"),
        FIRST,
        ORDER["first"].total_minor,
        ORDER["first"].created_at,
    )
    await write_charge(
        world.pool, "second", status="captured", amount_minor=ORDER["first"].total_minor
    )


@breaks("P7")
async def authorization_unknown_to_us(world: World) -> None:
    await write_charge(world.pool, "unheard-of", status="authorized")


@breaks("P7", "P10")  # captured for an order that nobody has
async def capture_unknown_to_us(world: World) -> None:
    await write_charge(world.pool, "unheard-of", status="captured")


@breaks("P7")
async def payment_row_says_otherwise(world: World) -> None:
    await world.sql("UPDATE payments SET status = 'voided' WHERE order_id = $1", uid("declined"))


@breaks("P7")
async def charged_more_than_the_lines(world: World) -> None:
    await world.sql(
        "UPDATE order_items SET unit_price_minor = 1, subtotal_minor = quantity"
        " WHERE order_id = $1",
        FIRST,
    )


@breaks("P7")
async def total_does_not_add_up(world: World) -> None:
    await world.without_constraint("orders", "order_adds_up")
    await world.sql("UPDATE orders SET tax_minor = tax_minor + 1 WHERE order_id = $1", FIRST)


async def _change_line(world: World, by: int) -> None:
    """Another quantity for the same money, so that only the quantity is wrong."""
    await world.without_constraint("order_items", "item_adds_up")
    await world.sql(
        "UPDATE order_items SET quantity = quantity + $2 WHERE order_id = $1 AND line = 1",
        FIRST,
        by,
    )


@breaks("P8")
async def allocated_less_than_bought(world: World) -> None:
    await _change_line(world, 1)


@breaks("P8")
async def allocated_more_than_bought(world: World) -> None:
    await _change_line(world, -1)


@breaks("P8")
async def allocated_what_nobody_bought(world: World) -> None:
    await world.sql(
        "INSERT INTO inventory_reservations VALUES ($1, $2, $3, 1, $4, 'allocated', $4)",
        uid("extra"),
        FIRST,
        uid("shirt-m@east"),
        ORDER["first"].created_at,
    )
    await world.sql(
        "UPDATE inventory SET quantity = quantity - 1, reserved = reserved + 1"
        " WHERE inventory_id = $1",
        uid("shirt-m@east"),
    )


@breaks("P7", "P8")  # without lines, the total has nothing to be the sum of
async def lines_lost(world: World) -> None:
    await world.sql("DELETE FROM order_items WHERE order_id = $1", FIRST)


@breaks("P9")
async def event_never_written(world: World) -> None:
    await world.sql("DELETE FROM outbox WHERE subject = $1", uid("fresh"))


@breaks("P9")
async def event_never_published(world: World) -> None:
    await world.sql(
        "UPDATE outbox SET created_at = $2 WHERE subject = $1",
        uid("fresh"),
        NOW - timedelta(seconds=31),
    )


@breaks("P9")
async def event_lost_by_the_bus(world: World) -> None:
    assert world.bus is not None
    world.bus.orders = [order for order in world.bus.orders if order != uid("split")]


@breaks("P9")
async def bus_lost_everything(world: World) -> None:
    world.bus = Bus()


@breaks("P10")
async def acknowledged_but_pending(world: World) -> None:
    world.acknowledged.add(uid("paying"))


@breaks("P10")
async def acknowledged_but_failed(world: World) -> None:
    world.acknowledged.add(uid("declined"))


@breaks("P3", "P10")  # of an order that is gone, the reservation is gone too
async def acknowledged_but_gone(world: World) -> None:
    world.acknowledged.add(uid("vanished"))


@breaks("P10")
async def event_of_an_order_that_is_gone(world: World) -> None:
    assert world.bus is not None
    world.bus.orders.append(uid("vanished"))


@breaks("P10")
async def event_of_an_order_that_failed(world: World) -> None:
    assert world.bus is not None
    world.bus.orders.append(uid("declined"))


@breaks("P7", "P10")  # the provider has captured what our row calls authorized
async def acknowledged_but_unpaid(world: World) -> None:
    await world.sql("UPDATE payments SET status = 'authorized' WHERE order_id = $1", FIRST)


@breaks("P4", "P7", "P10")  # its stock is bound and its money taken for nothing
async def order_gone_with_its_lines(world: World) -> None:
    for table in ("order_items", "payments"):
        await world.without_constraint(table, f"{table}_order_id_fkey")
    await world.sql("DELETE FROM order_items WHERE order_id = $1", FIRST)
    await world.sql("DELETE FROM orders WHERE order_id = $1", FIRST)
