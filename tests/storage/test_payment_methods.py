"""Saved means of payment: bounded, one default, and nobody else's."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from domain.payments import SavedMethod
from domain.ports import Unavailable
from serve_apps.checkout_parts import new_id
from storage.orders import PostgresOrderBook
from storage.payment_methods import METHODS_OF_CUSTOMER_MAX, PaymentMethods, StoredMethod
from tests.actors.drafts import draft, part
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
ANN, BOB = uuid.uuid4(), uuid.uuid4()


def method(token: str = "pm_1", **changes: object) -> SavedMethod:
    """A card as the provider tells of it."""
    card = SavedMethod(
        token=token,
        customer="cus_1",
        kind="card",
        brand="visa",
        last_four="4242",
        expiry_month=12,
        expiry_year=2034,
    )
    return replace(card, **changes)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def book(pool: asyncpg.Pool) -> PaymentMethods:
    return PaymentMethods(pool, new_id)


async def _add(
    book: PaymentMethods, token: str, user: uuid.UUID = ANN, *, default: bool = False
) -> StoredMethod:
    kept = await book.add(user, "stripe", method(token), default=default)
    assert kept is not None
    return kept


async def _tokens(book: PaymentMethods, user: uuid.UUID = ANN) -> list[str]:
    """The default first; and there is one, exactly."""
    kept = await book.of_customer(user)
    assert [one.is_default for one in kept] == [True, *[False] * (len(kept) - 1)][: len(kept)]
    return [one.method.token for one in kept]


async def test_what_is_kept_reads_back_and_nothing_else(
    pool: asyncpg.Pool, book: PaymentMethods
) -> None:
    kept = await _add(book, "pm_1")
    assert (kept.method, kept.gateway, kept.is_default) == (method(), "stripe", True)
    assert await book.of_customer(ANN) == [kept]
    assert await book.of_customer(BOB) == []
    odd = method("wallet", brand="b" * 99, last_four="", expiry_month=None, expiry_year=None)
    wallet = await book.add(ANN, "stripe", replace(odd, kind="wallet", customer=None))
    assert wallet is not None
    assert (wallet.method.brand, wallet.method.expiry_year) == ("b" * 40, None)
    long = await book.add(ANN, "stripe", method("pm_3", last_four="4242424242424242"))
    assert long is not None
    assert long.method.last_four == "4242"
    rows = await pool.fetch("SELECT payment_methods::text AS text FROM payment_methods")
    assert not any("4242424242424242" in row["text"] for row in rows)


async def test_the_same_token_again_is_the_same_method_with_its_newest_details(
    book: PaymentMethods,
) -> None:
    first = await _add(book, "pm_1")
    await _add(book, "pm_2", default=True)
    again = await book.add(ANN, "stripe", method(expiry_year=2040))
    assert again is not None
    assert (again.method_id, again.method.expiry_year) == (first.method_id, 2040)
    assert await _tokens(book) == ["pm_2", "pm_1"]
    other = await book.add(ANN, "braintree", method())
    assert other is not None
    assert other.method_id != first.method_id
    assert (await _add(book, "pm_1", BOB)).method_id != first.method_id


async def test_there_is_one_default_as_long_as_there_is_any(book: PaymentMethods) -> None:
    one, two, three = [await _add(book, f"pm_{number}") for number in (1, 2, 3)]
    assert await _tokens(book) == ["pm_1", "pm_3", "pm_2"]
    made = await book.make_default(ANN, two.method_id)
    assert made is not None
    assert made.is_default
    assert await _tokens(book) == ["pm_2", "pm_3", "pm_1"]
    await _add(book, "pm_3", default=True)
    assert await _tokens(book) == ["pm_3", "pm_2", "pm_1"]
    assert await book.remove(ANN, three.method_id)
    assert await _tokens(book) == ["pm_2", "pm_1"]
    for kept in (two, one):
        assert await book.remove(ANN, kept.method_id)
    assert await _tokens(book) == []
    assert await _tokens(book, BOB) == []


async def test_strangers_change_and_load_nothing(book: PaymentMethods) -> None:
    anns, bobs = await _add(book, "pm_1"), await _add(book, "pm_2", BOB)
    assert await book.make_default(BOB, anns.method_id) is None
    assert not await book.remove(BOB, anns.method_id)
    assert await book.make_default(ANN, uuid.uuid4()) is None
    assert (await _tokens(book), await _tokens(book, BOB)) == (["pm_1"], ["pm_2"])
    wanted = [(BOB, anns.method_id), (ANN, anns.method_id), (ANN, uuid.uuid4())]
    wanted += [(BOB, bobs.method_id), (ANN, anns.method_id)]
    assert await book.load_many(wanted) == [None, anns, None, bobs, anns]
    assert await book.load_many([]) == []


async def test_a_customer_has_a_bounded_number_also_under_concurrency(
    book: PaymentMethods,
) -> None:
    tries = [
        book.add(ANN, "stripe", method(f"pm_{number}"), default=True)
        for number in range(METHODS_OF_CUSTOMER_MAX + 5)
    ]
    kept = [one for one in await asyncio.gather(*tries) if one is not None]
    assert len(kept) == METHODS_OF_CUSTOMER_MAX
    assert len(await _tokens(book)) == METHODS_OF_CUSTOMER_MAX
    assert not await book.has_room(ANN, "stripe", "pm_new")
    assert await book.has_room(BOB, "stripe", "pm_new")
    known = kept[0].method.token  # what is there already needs no room
    assert await book.has_room(ANN, "stripe", known)
    assert await book.add(ANN, "stripe", method(known)) is not None


async def test_changes_at_once_leave_one_default(book: PaymentMethods) -> None:
    kept = [await _add(book, f"pm_{number}") for number in range(6)]
    await asyncio.gather(
        *[book.make_default(ANN, one.method_id) for one in kept],
        *[book.remove(ANN, one.method_id) for one in kept[:3]],
        _add(book, "pm_9", default=True),
    )
    assert len(await _tokens(book)) == 4


async def test_a_closed_pool_is_unavailable(pool: asyncpg.Pool, book: PaymentMethods) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await book.of_customer(ANN)
    with pytest.raises(Unavailable):
        await book.add(ANN, "stripe", method())


LATER = datetime.now(UTC) + timedelta(hours=1)


async def _due(book: PaymentMethods, *gateways: str) -> list[str]:
    return [one.token for one in await book.due(LATER, gateways or ("stripe",), 10)]


async def test_the_provider_is_told_of_what_was_removed_until_it_has_let_go(
    book: PaymentMethods,
) -> None:
    kept = await _add(book, "pm_1")
    await _add(book, "pm_2")
    assert await _due(book) == []
    await book.remove(ANN, kept.method_id)
    assert await _due(book, "another") == []
    [removed] = await book.due(LATER, ("stripe",), 10)
    assert (removed.user_id, removed.gateway, removed.token) == (ANN, "stripe", "pm_1")
    assert await book.due(datetime.now(UTC) - timedelta(minutes=1), ("stripe",), 10) == []
    assert await _due(book) == ["pm_1"]
    await book.detached(removed)
    assert await _due(book) == []


async def test_what_is_saved_again_is_kept(book: PaymentMethods) -> None:
    kept = await _add(book, "pm_1")
    await book.remove(ANN, kept.method_id)
    [removed] = await book.due(LATER, ("stripe",), 10)
    again = await _add(book, "pm_1")
    assert await _due(book) == []
    await book.remove(ANN, again.method_id)
    await book.detached(removed)  # an answer from the first time
    assert await _due(book) == ["pm_1"]


@pytest.mark.parametrize("status", ["pending", "in_review", "accepted", "awaiting_payment"])
async def test_an_order_under_way_keeps_what_it_may_be_charged_with(
    pool: asyncpg.Pool, book: PaymentMethods, status: str
) -> None:
    kept = await _add(book, "pm_1")
    order_id = uuid.uuid4()
    parts = (part(order_id, 1_000, "pm_1", gateway="stripe"),)
    await PostgresOrderBook(pool, a_ring()).record(
        [draft(order_id=order_id, user_id=ANN, parts=parts)]
    )
    await book.remove(ANN, kept.method_id)
    for now, due in ((status, []), ("cancelled", ["pm_1"])):
        await pool.execute(
            "UPDATE orders SET status = $1::text::order_status,"
            " waits_until = CASE WHEN $1 IN ('in_review', 'accepted', 'awaiting_payment')"
            " THEN now() END",
            now,
        )
        assert await _due(book) == due
