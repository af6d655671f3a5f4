"""Everything comes under the newest key, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.orders import OrderDraft
from storage import resealing
from storage.key_ring import sealed_by
from storage.orders import PostgresOrderBook
from storage.personal_data import PersonalData
from storage.resealing import Resealing
from tests.actors.drafts import ADDRESS, draft
from tests.card_search import grep_for_card_numbers
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
CONTACT = {"email": "ada@example.org", "phone": "+44 20 7946 0958"}
PERSONAL = PersonalData(ADDRESS, {**ADDRESS, "street": "9 Hidden Alley"}, CONTACT)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "BATCH_MAX", 7)
    monkeypatch.setattr(resealing, "PAUSE_S", 0.001)


async def _record(pool: asyncpg.Pool, key_id: str, count: int) -> list[OrderDraft]:
    orders = [
        draft(billing_address=PERSONAL.billing_address, contact=CONTACT) for _ in range(count)
    ]
    await PostgresOrderBook(pool, a_ring(key_id)).record(orders)
    return orders


async def _clear(pool: asyncpg.Pool, orders: list[OrderDraft]) -> None:
    """As orders were kept before there were keys."""
    await pool.execute(
        "UPDATE orders SET sealed_personal = NULL, ship_country = NULL, shipping_address = $2,"
        " billing_address = $3 WHERE order_id = ANY ($1)",
        [one.order_id for one in orders],
        PERSONAL.shipping_address,
        PERSONAL.billing_address,
    )


async def test_everything_comes_under_the_newest_key(pool: asyncpg.Pool) -> None:
    old, older = await _record(pool, "old", 20), await _record(pool, "older", 3)
    clear = await _record(pool, "old", 10)
    await _clear(pool, clear)
    assert await grep_for_card_numbers(None, pool, also=["9 Hidden Alley"]) == [
        "public.orders.billing_address"
    ]
    ring, heard = a_ring("new", "old", "older"), list[int]()
    made = Resealing(pool, ring, told=heard.append)
    found = await made.status()
    assert (found.by_key, found.in_the_clear) == ({"old": 20, "older": 3}, 10)
    done = await made.seal_anew()
    assert (done.orders, done.left, done.unreadable_count) == (33, 0, 0)
    assert heard == sorted(heard)
    assert heard[-1] == 33
    assert (await made.status()).by_key == {"new": 33}
    book = PostgresOrderBook(pool, a_ring("new"))
    for one in old + older:
        assert await book.personal(one.order_id) == PERSONAL
    for one in clear:
        assert await book.personal(one.order_id) == PERSONAL._replace(contact=None)
    assert await pool.fetchval("SELECT count(*) FROM orders WHERE ship_country = 'US'") == 33
    sought = ["9 Hidden Alley", "1 Main", "ada@example.org", "7946"]
    assert await grep_for_card_numbers(None, pool, also=sought) == []
    assert (await made.seal_anew()).orders == 0


async def test_at_the_start_only_the_clear_is_sealed(pool: asyncpg.Pool) -> None:
    await _record(pool, "old", 5)
    await _clear(pool, await _record(pool, "old", 16))
    made = Resealing(pool, a_ring("new", "old"))
    assert (await made.seal_the_clear()).orders == 16
    found = await made.status()
    assert (found.by_key, found.in_the_clear) == ({"new": 16, "old": 5}, 0)
    assert (await made.seal_the_clear()).orders == 0


async def test_an_interrupted_pass_is_taken_up_again(pool: asyncpg.Pool) -> None:
    orders = await _record(pool, "old", 40)

    def interrupt(done: int) -> None:
        if done >= 14:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            await Resealing(pool, a_ring("new", "old"), told=interrupt).seal_anew()
    made = Resealing(pool, a_ring("new", "old"))
    assert (await made.status()).by_key == {"new": 28, "old": 12}
    book = PostgresOrderBook(pool, a_ring("old", "new"))
    for one in orders:
        assert await book.personal(one.order_id) == PERSONAL
    assert (await made.seal_anew()).orders == 12


async def test_two_at_once_do_no_harm(pool: asyncpg.Pool) -> None:
    orders = await _record(pool, "old", 60)
    both = [Resealing(pool, a_ring("new", "old")) for _ in range(2)]
    await asyncio.gather(*(one.seal_anew() for one in both))
    assert (await both[0].status()).by_key == {"new": 60}
    book = PostgresOrderBook(pool, a_ring("new"))
    for one in orders:
        assert await book.personal(one.order_id) == PERSONAL


async def test_orders_are_recorded_and_failed_meanwhile(pool: asyncpg.Pool) -> None:
    """A process that has not heard of the new key goes on sealing by the old one for a while."""
    orders = await _record(pool, "old", 30)
    unaware, aware = (PostgresOrderBook(pool, a_ring(*k)) for k in (("old",), ("new", "old")))
    made = Resealing(pool, a_ring("new", "old"))
    resealing_now = asyncio.create_task(made.seal_anew())
    later: list[OrderDraft] = []
    while not resealing_now.done():
        fresh = [draft(contact=CONTACT, billing_address=PERSONAL.billing_address)]
        await (aware if len(later) > 20 else unaware).record(fresh)
        await aware.fail([(fresh[0].order_id, {"kind": "payment_declined"}, {})])
        later += fresh
    await resealing_now
    await made.seal_anew()
    assert set((await made.status()).by_key) == {"new"}
    for one in orders + later:
        assert await aware.personal(one.order_id) == PERSONAL
    failed = await pool.fetchval("SELECT count(*) FROM orders WHERE status = 'failed'")
    assert failed == len(later)


async def test_a_row_that_someone_works_on_is_left_and_said(pool: asyncpg.Pool) -> None:
    orders = await _record(pool, "old", 10)
    made = Resealing(pool, a_ring("new", "old"))
    async with pool.acquire() as other, other.transaction():
        await other.execute(
            "SELECT 1 FROM orders WHERE order_id = $1 FOR UPDATE", orders[0].order_id
        )
        done = await made.seal_anew()
        assert (done.orders, done.left) == (9, 1)
    assert (await made.seal_anew()).orders == 1


async def test_what_does_not_open_is_left_as_it_is_and_said(pool: asyncpg.Pool) -> None:
    good, lost = await _record(pool, "old", 10), await _record(pool, "lost", 25)
    await pool.execute(
        "UPDATE orders SET sealed_personal = set_byte(sealed_personal, 70,"
        " get_byte(sealed_personal, 70) # 1) WHERE order_id = $1",
        good[0].order_id,
    )
    done = await Resealing(pool, a_ring("new", "old")).seal_anew()
    assert (done.orders, done.left, done.unreadable_count) == (9, 0, 26)
    assert len(done.unreadable) == resealing.UNREADABLE_SHOWN_MAX
    assert any("'lost'" in why for _, why in done.unreadable)
    kept: list[Any] = await pool.fetch(
        "SELECT sealed_personal FROM orders WHERE order_id = ANY ($1)",
        [one.order_id for one in lost],
    )
    assert {sealed_by(row["sealed_personal"]) for row in kept} == {"lost"}
