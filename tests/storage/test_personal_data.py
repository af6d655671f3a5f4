"""What orders say of their buyers is kept sealed."""

from __future__ import annotations

import asyncpg
import pytest

from domain.orders import HistoryOfCustomer
from storage.key_ring import TamperedError, UnknownKeyError
from storage.orders import PostgresOrderBook
from storage.personal_data import PersonalData, country_of
from tests.actors.drafts import ADDRESS, draft, line
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
BILLING = {**ADDRESS, "name": "Zoë 🛒", "street": "9 Hidden Alley", "country": "DE"}
CONTACT = {"email": "ada@example.org", "phone": "+44 20 7946 0958"}


async def test_an_order_keeps_its_personal_data_sealed(pool: asyncpg.Pool) -> None:
    book = PostgresOrderBook(pool, a_ring())
    order = draft([line(1)], billing_address=BILLING, contact=CONTACT)
    plain = draft()
    await book.record([order, plain])
    assert await book.personal(order.order_id) == PersonalData(ADDRESS, BILLING, CONTACT)
    assert await book.personal(plain.order_id) == PersonalData(ADDRESS, None, None)
    assert await book.personal(order.user_id) is None
    row = await pool.fetchrow("SELECT * FROM orders WHERE order_id = $1", order.order_id)
    assert row is not None
    assert (row["shipping_address"], row["billing_address"]) == (None, None)
    assert row["ship_country"] == "US"
    for clear in (b"Ada", b"1 Main", b"Hidden Alley", b"example.org", "Zoë".encode()):
        assert clear not in row["sealed_personal"]


async def test_sealed_data_cannot_be_moved_to_another_order(pool: asyncpg.Pool) -> None:
    book = PostgresOrderBook(pool, a_ring())
    mine, other = draft(), draft(shipping_address=BILLING)
    await book.record([mine, other])
    await pool.execute(
        "UPDATE orders SET sealed_personal = (SELECT sealed_personal FROM orders"
        " WHERE order_id = $2) WHERE order_id = $1",
        mine.order_id,
        other.order_id,
    )
    with pytest.raises(TamperedError):
        await book.personal(mine.order_id)


async def test_an_altered_byte_is_noticed(pool: asyncpg.Pool) -> None:
    book = PostgresOrderBook(pool, a_ring())
    order = draft()
    await book.record([order])
    await pool.execute(
        "UPDATE orders SET sealed_personal = set_byte(sealed_personal, 60,"
        " get_byte(sealed_personal, 60) # 1)"
    )
    with pytest.raises(TamperedError):
        await book.personal(order.order_id)


async def test_a_ring_without_the_key_says_which_one_is_missing(pool: asyncpg.Pool) -> None:
    order = draft()
    await PostgresOrderBook(pool, a_ring("lost")).record([order])
    with pytest.raises(UnknownKeyError, match="'lost'"):
        await PostgresOrderBook(pool, a_ring()).personal(order.order_id)


async def test_addresses_from_before_still_read_and_count(pool: asyncpg.Pool) -> None:
    book = PostgresOrderBook(pool, a_ring())
    first = draft()
    await book.record([first])
    await pool.execute(
        "UPDATE orders SET sealed_personal = NULL, ship_country = NULL, shipping_address = $1,"
        " billing_address = $2, status = 'confirmed', confirmed_at = now()",
        ADDRESS,
        BILLING,
    )
    assert await book.personal(first.order_id) == PersonalData(ADDRESS, BILLING, None)
    [history] = await book.record([draft(user_id=first.user_id, idempotency_key="next")])
    assert isinstance(history, HistoryOfCustomer)
    assert history.last_country == "US"


@pytest.mark.parametrize(
    ("address", "country"),
    [({"country": "DE"}, "DE"), ({}, None), ({"country": "Germany"}, None), ({"country": 7}, None)],
)
async def test_only_a_country_code_is_kept_beside(address: dict[str, object], country: str) -> None:
    assert country_of(address) == country
