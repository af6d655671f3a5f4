"""Stock in a test's own database, by SQL."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg


async def add_pair(
    pool: asyncpg.Pool, available: int, *, variant_id: uuid.UUID | None = None
) -> bytes:
    """A pair with its catalog around it and its receipt in the ledger; its id."""
    variant_id = variant_id or uuid.uuid4()
    seller, product, warehouse, pair = (uuid.uuid4() for _ in range(4))
    async with pool.acquire() as connection, connection.transaction():
        run: Any = connection.execute
        known = await connection.fetchval(
            "SELECT product_id FROM product_variants WHERE variant_id = $1", variant_id
        )
        if known is None:
            await run("INSERT INTO sellers VALUES ($1, $2)", seller, seller.hex)
            await run(
                "INSERT INTO products (product_id, seller_id, handle, name, price_minor)"
                " VALUES ($1, $2, $3, 'Mug', 1000)",
                product,
                seller,
                product.hex,
            )
            await run(
                "INSERT INTO product_variants (variant_id, product_id, sku) VALUES ($1, $2, $3)",
                variant_id,
                product,
                variant_id.hex,
            )
        await run(
            "INSERT INTO warehouses VALUES ($1, $2, 'W', 'US', 40, -74)", warehouse, warehouse.hex
        )
        await run(
            "INSERT INTO inventory (inventory_id, product_id, variant_id, warehouse_id, quantity)"
            " VALUES ($1, $2, $3, $4, $5)",
            pair,
            known or product,
            variant_id,
            warehouse,
            available,
        )
        if available:
            await run(
                "INSERT INTO stock_movements (inventory_id, kind, quantity, actor, balance)"
                " VALUES ($1, 'received', $2::int, 'test', $2::int)",
                pair,
                available,
            )
    return pair.bytes


async def now_of(pool: asyncpg.Pool, pair: bytes) -> tuple[int, int]:
    """(available, reserved) of a pair: its row, and what the log has beyond it."""
    row = await pool.fetchrow(
        "SELECT quantity, reserved FROM stock_now WHERE inventory_id = $1", uuid.UUID(bytes=pair)
    )
    assert row is not None
    return row["quantity"], row["reserved"]


async def stock_of(pool: asyncpg.Pool, inventory_id: bytes) -> tuple[int, int]:
    """(quantity, reserved) of a pair's row."""
    row = await pool.fetchrow(
        "SELECT quantity, reserved FROM inventory WHERE inventory_id = $1",
        uuid.UUID(bytes=inventory_id),
    )
    assert row is not None
    return row["quantity"], row["reserved"]


async def status_of(pool: asyncpg.Pool, reservation_id: bytes) -> str | None:
    """A reservation's status, None if there is no such reservation."""
    return await pool.fetchval(
        "SELECT status::text FROM inventory_reservations WHERE reservation_id = $1",
        uuid.UUID(bytes=reservation_id),
    )


async def until_someone_waits_for_a_lock(pool: asyncpg.Pool) -> None:
    """Returns once a statement of this database waits for another one's lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while not await pool.fetchval(waiting):
        pass
