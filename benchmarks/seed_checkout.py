"""The case study's checkout as a peer: its order of steps, one transaction after the other.

Its PaymentService authorizes, creates the pending order, captures, confirms the reservation,
updates the order and publishes, each step on its own; its Solution 1 reserves. Here against
tables of its own, with prepared statements and no HTTP, no validation and no provider to wait
for, so that what is compared is how the database is used.
"""

from __future__ import annotations

import uuid

import asyncpg

from benchmarks.figures import Measured, closed_loop

STOCK = 1_000_000
_SCHEMA = """
    DROP SCHEMA IF EXISTS seed_checkout CASCADE;
    CREATE SCHEMA seed_checkout;
    CREATE TABLE seed_checkout.inventory (
        product_id uuid PRIMARY KEY, quantity int NOT NULL CHECK (quantity >= 0),
        reserved int NOT NULL DEFAULT 0);
    CREATE TABLE seed_checkout.reservations (
        reservation_id uuid PRIMARY KEY, order_id uuid NOT NULL, product_id uuid NOT NULL,
        quantity int NOT NULL, status text NOT NULL DEFAULT 'active');
    CREATE TABLE seed_checkout.orders (
        order_id uuid PRIMARY KEY, user_id uuid NOT NULL, status text NOT NULL,
        total bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE seed_checkout.payments (
        payment_id uuid PRIMARY KEY, order_id uuid NOT NULL, amount bigint NOT NULL,
        status text NOT NULL);
"""
_DROP = "DROP SCHEMA seed_checkout CASCADE"
_STOCK = "INSERT INTO seed_checkout.inventory VALUES ($1, $2)"
_RESERVE = """
    WITH taken AS (
        UPDATE seed_checkout.inventory SET quantity = quantity - 1, reserved = reserved + 1
        WHERE product_id = $1 AND quantity >= 1 RETURNING product_id
    )
    INSERT INTO seed_checkout.reservations (reservation_id, order_id, product_id, quantity)
    SELECT $2, $3, product_id, 1 FROM taken
"""
_PENDING = "INSERT INTO seed_checkout.orders VALUES ($1, $2, 'pending', 5498)"
_PAYMENT = "INSERT INTO seed_checkout.payments VALUES ($1, $2, 5498, 'authorized')"
_CAPTURED = "UPDATE seed_checkout.payments SET status = 'captured' WHERE payment_id = $1"
_ALLOCATED = "UPDATE seed_checkout.reservations SET status = 'allocated' WHERE reservation_id = $1"
_CONFIRMED = "UPDATE seed_checkout.orders SET status = 'confirmed' WHERE order_id = $1"


async def measure_seed_checkout(
    pool: asyncpg.Pool, *, concurrency: int, seconds: float
) -> Measured:
    """Orders per second of `concurrency` callers; the schema is removed afterwards.

    The reservation is the fastest honest one, a conditional UPDATE, and not the listing's.
    """
    product = uuid.uuid4()
    await pool.execute(_SCHEMA)
    await pool.execute(_STOCK, product, STOCK)

    async def buy() -> bool:
        order, payment, reservation = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        if await pool.execute(_RESERVE, product, reservation, order) != "INSERT 0 1":
            return False
        await pool.execute(_PAYMENT, payment, order)
        await pool.execute(_PENDING, order, uuid.uuid4())
        await pool.execute(_CAPTURED, payment)
        await pool.execute(_ALLOCATED, reservation)
        await pool.execute(_CONFIRMED, order)
        return True

    try:
        return await closed_loop(buy, concurrency=concurrency, seconds=seconds, stock=STOCK)
    finally:
        await pool.execute(_DROP)
