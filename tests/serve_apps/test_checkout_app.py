"""Checkout over HTTP: the whole journey, repeats, and every way in which it can end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from actors.stock_owner import StockOwner
from domain import stock
from domain.ids import encode
from tests.serve_apps.conftest import ADDRESS, OpenShop, Shop, Shopper, assert_problem, until

pytestmark = pytest.mark.asyncio


async def _confirmed_orders(shop: Shop) -> int:
    return await shop.pool.fetchval("SELECT count(*) FROM orders WHERE status = 'confirmed'")


async def _cart_becomes(shopper: Shopper, expected: dict[str, int]) -> None:
    async def as_expected() -> bool:
        return await shopper.quantities() == expected

    await until(as_expected)


async def _stock_becomes(shop: Shop, sku: str, expected: tuple[int, int]) -> None:
    async def as_expected() -> bool:
        return await shop.stock(sku) == expected

    await until(as_expected)


async def test_a_shopper_finds_buys_and_tracks_a_product(shop: Shop) -> None:
    found = await shop.client.get("/api/v1/products/search", params={"q": "laptop"})
    product_id = found.json()["results"][0]["product_id"]
    product = (await shop.client.get(f"/api/v1/products/{product_id}")).json()
    assert product["in_stock"]
    added = await shop.client.post(
        "/api/v1/cart/items", json={"product_id": product_id, "quantity": 2}
    )
    cart = added.json()
    assert cart["total"] == 2 * product["price"]
    shopper = Shopper(shop)
    shopper.token, shopper.cart_id = cart["token"], cart["cart_id"]
    before = datetime.now(UTC)

    answer = await shopper.checkout()

    assert answer.status_code == 201, answer.text
    assert "idempotent-replayed" not in answer.headers
    bought = answer.json()
    assert bought["total"] == 2599.98
    parts = (bought["total"], bought["tax"], bought["shipping"])
    assert round(sum(parts), 2) == bought["grand_total"]
    order = await shopper.order(bought["order_id"])
    assert order["status"] == "confirmed"
    assert order["items"][0]["product_id"] == product_id
    assert order["items"][0]["quantity"] == 2
    assert {name: order[name] for name in ("total", "tax", "shipping", "grand_total")} == {
        name: bought[name] for name in ("total", "tax", "shipping", "grand_total")
    }
    assert [step["status"] for step in order["timeline"]] == ["placed", "confirmed"]
    times = [datetime.fromisoformat(step["timestamp"]) for step in order["timeline"]]
    assert times == sorted(times)
    assert (times[0] - before).total_seconds() > -1
    await _cart_becomes(shopper, {})
    assert await shop.stock("LAPTOP") == (998, 2)
    charge = await shop.pool.fetchrow("SELECT * FROM simulated_provider.charges")
    assert charge is not None
    assert (charge["status"], charge["amount_minor"]) == (
        "captured",
        round(bought["grand_total"] * 100),
    )


async def test_the_tracking_url_leads_to_a_page_of_the_shop(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    tracking_url = (await shopper.checkout()).json()["tracking_url"]
    page = await shop.client.get(tracking_url)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


async def test_what_was_added_meanwhile_stays_in_the_cart(shop_with: OpenShop) -> None:
    async with shop_with(provider_latency_ms=100) as shop:
        shopper = await shop.shopper("LAPTOP", 2)
        buying = asyncio.create_task(shopper.checkout())
        await until(lambda: shop.pool.fetchval("SELECT count(*) FROM orders"))
        await shopper.add("TEE-S")
        await shopper.add("LAPTOP")
        assert (await buying).status_code == 201
        await _cart_becomes(shopper, {"TEE-S": 1, "LAPTOP": 1})


async def test_several_lines_become_one_order(shop: Shop) -> None:
    shopper = await shop.shopper("TEE-S", 3)
    await shopper.add("TEE-M")
    await shopper.add("VASE")
    answer = await shopper.checkout(shipping_method="express", billing_address=ADDRESS)
    assert answer.status_code == 201, answer.text
    order = await shopper.order(answer.json()["order_id"])
    assert {item["sku"]: item["quantity"] for item in order["items"]} == {
        "TEE-S": 3,
        "TEE-M": 1,
        "VASE": 1,
    }
    assert order["total"] == 164.96  # 3 × 19.99 + 24.99 + 80.00
    assert order["shipping"] == 24.99


async def test_names_may_be_written_in_any_script(shop: Shop) -> None:
    name = "Zoë 🛍️ Иванова 王"
    shopper = await shop.shopper("LAPTOP")
    answer = await shopper.checkout(shipping_address={**ADDRESS, "name": name, "city": "東京"})
    assert answer.status_code == 201, answer.text
    kept = await shop.parts.orders.personal(await shop.pool.fetchval("SELECT order_id FROM orders"))
    assert kept is not None
    assert (kept.shipping_address["name"], kept.shipping_address["city"]) == (name, "東京")


async def test_a_repeat_gets_the_first_answer_also_once_the_cart_is_gone(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    first = await shopper.checkout(key="once")
    await _cart_becomes(shopper, {})
    for _ in range(2):
        again = await shopper.checkout(key="once")
        assert again.status_code == 201
        assert again.json() == first.json()
        assert again.headers["idempotent-replayed"] == "true"
    await _stock_becomes(shop, "LAPTOP", (999, 1))
    assert await _confirmed_orders(shop) == 1


async def test_a_repeat_buys_nothing_that_was_put_into_the_cart_since(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    body = shopper.order_body()
    key = {"Idempotency-Key": "once"}
    first = await shopper.call("POST", "orders/checkout", json=body, headers=key)
    await _cart_becomes(shopper, {})
    await shopper.add("TEE-S", 3)
    again = await shopper.call("POST", "orders/checkout", json=body, headers=key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert await shopper.quantities() == {"TEE-S": 3}
    await _stock_becomes(shop, "TEE-S", (50, 0))


async def test_a_refusal_is_repeated_as_well(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    first = await shopper.checkout(key="once", card="card_declined")
    again = await shopper.checkout(key="once", card="card_declined")
    assert first.json() == assert_problem(again, 402, "payment_declined")
    assert again.headers["idempotent-replayed"] == "true"
    charges = await shop.pool.fetchval("SELECT count(*) FROM simulated_provider.charges")
    assert charges == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_a_key_is_not_taken_for_another_order(shop: Shop, gone: bool) -> None:
    shopper = await shop.shopper("LAPTOP")
    assert (await shopper.checkout(key="once")).status_code == 201
    await _cart_becomes(shopper, {})
    old = shopper.cart_id
    if not gone:
        await shopper.add("TEE-S")
        assert shopper.cart_id != old
    before = await shop.pool.fetchval("SELECT count(*) FROM orders")
    answer = await shopper.checkout(key="once", shipping_method="express")
    assert_problem(answer, 422, "idempotency_key_reused")
    assert await shop.pool.fetchval("SELECT count(*) FROM orders") == before
    await _stock_becomes(shop, "TEE-S", (50, 0))


async def test_the_same_key_many_times_at_once_makes_one_order(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP", 2)
    answers = await asyncio.gather(*[shopper.checkout(key="once") for _ in range(20)])
    [made] = [one for one in answers if one.status_code == 201 and not _is_replay(one)]
    for answer in answers:
        if answer.status_code == 201:
            assert answer.json() == made.json()
        else:
            problem = assert_problem(answer, 409, "idempotency_key_in_flight")
            assert answer.headers["retry-after"] == str(problem["retry_after"])
    await _stock_becomes(shop, "LAPTOP", (998, 2))
    assert await shop.pool.fetchval("SELECT count(*) FROM orders") == 1
    assert await shop.pool.fetchval("SELECT count(*) FROM payments") == 1
    again = await shopper.checkout(key="once")
    assert again.json() == made.json()


def _is_replay(answer: httpx.Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def test_a_key_in_flight_is_told_so(shop_with: OpenShop) -> None:
    async with shop_with(provider_latency_ms=100) as shop:
        shopper = await shop.shopper("LAPTOP")
        first = asyncio.create_task(shopper.checkout(key="once"))
        await until(lambda: shop.pool.fetchval("SELECT count(*) FROM orders"))
        assert_problem(await shopper.checkout(key="once"), 409, "idempotency_key_in_flight")
        assert (await first).status_code == 201
        assert _is_replay(await shopper.checkout(key="once"))


async def test_two_customers_may_use_one_key(shop: Shop) -> None:
    one, other = await shop.shopper("LAPTOP"), await shop.shopper("LAPTOP")
    answers = await asyncio.gather(one.checkout(key="1"), other.checkout(key="1"))
    assert [answer.status_code for answer in answers] == [201, 201]
    order_ids = {answer.json()["order_id"] for answer in answers}
    assert len(order_ids) == 2


async def test_out_of_stock_tells_what_is_left(shop: Shop) -> None:
    shopper = await shop.shopper("VASE", 3)
    problem = assert_problem(await shopper.checkout(), 409, "out_of_stock")
    assert problem["available"] == 1
    assert problem["requested"] == 3
    assert problem["sku"] == "VASE"
    assert problem["product_id"] == shop.product_of["VASE"]
    assert await shop.stock("VASE") == (1, 0)
    assert await shopper.quantities() == {"VASE": 3}


async def test_one_missing_line_holds_none_of_the_others(shop: Shop) -> None:
    shopper = await shop.shopper("VASE", 2)
    await shopper.add("TEE-S", 5)
    await shopper.add("LAPTOP", 5)
    problem = assert_problem(await shopper.checkout(), 409, "out_of_stock")
    assert problem["sku"] == "VASE"
    assert await shop.stock("TEE-S") == (50, 0)
    assert await shop.stock("LAPTOP") == (1_000, 0)


async def test_a_rush_sells_what_there_is_and_not_one_more(shop: Shop) -> None:
    shoppers = [await shop.shopper("HOT") for _ in range(30)]
    answers = await asyncio.gather(*[shopper.checkout() for shopper in shoppers])
    assert sorted(answer.status_code for answer in answers) == [201] * 20 + [409] * 10
    for answer in answers:
        if answer.status_code == 409:
            assert assert_problem(answer, 409, "out_of_stock")["available"] == 0
    assert await shop.stock("HOT") == (0, 20)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("card_declined", "card_declined"),
        ("card_insufficient_funds", "insufficient_funds"),
        ("card_expired", "expired_card"),
    ],
)
async def test_a_declined_card_gives_the_stock_back(shop: Shop, card: str, code: str) -> None:
    shopper = await shop.shopper("VASE")
    problem = assert_problem(await shopper.checkout(card=card), 402, "payment_declined")
    assert problem["decline_code"] == code
    assert await shop.stock("VASE") == (1, 0)
    assert await shopper.quantities() == {"VASE": 1}
    statuses = await shop.pool.fetchrow(
        "SELECT o.status AS order, p.status AS payment"
        " FROM orders o JOIN payments p USING (order_id)"
    )
    assert statuses is not None
    assert tuple(statuses) == ("failed", "declined")
    assert (await shopper.checkout()).status_code == 201


async def test_a_failed_order_says_why_to_who_tracks_it(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    await shopper.checkout(card="card_expired")
    order_id = await shop.pool.fetchval("SELECT order_id FROM orders")
    order = await shopper.order(encode("order", order_id))
    assert order["status"] == "failed"
    assert [step["status"] for step in order["timeline"]] == ["placed", "failed"]
    assert order["failure"]["type"] == "/problems/payment_declined"


async def test_a_hold_that_ran_out_is_refunded(
    shop_with: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "TTL_S_MIN", 0.0)  # no shop holds stock for so short a time
    async with shop_with(reservation_ttl_s=0.05, provider_latency_ms=150) as shop:
        shopper = await shop.shopper("VASE")
        assert_problem(await shopper.checkout(), 410, "hold_expired")
        assert await shop.stock("VASE") == (1, 0)
        charges = await shop.pool.fetch("SELECT status FROM simulated_provider.charges")
        assert [charge["status"] for charge in charges] == ["refunded"]
        assert await shopper.quantities() == {"VASE": 1}
        assert await _confirmed_orders(shop) == 0


async def test_a_shopper_who_hangs_up_gets_the_order_all_the_same(shop_with: OpenShop) -> None:
    async with shop_with(provider_latency_ms=50) as shop:
        shopper = await shop.shopper("LAPTOP")
        buying = asyncio.create_task(shopper.checkout(key="once"))
        await until(lambda: shop.pool.fetchval("SELECT count(*) FROM orders"))
        buying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await buying
        assert buying.cancelled()
        await until(lambda: _confirmed_orders(shop))
        again = await shopper.checkout(key="once")
        assert again.status_code == 201
        assert _is_replay(again)
        await _stock_becomes(shop, "LAPTOP", (999, 1))
        await _cart_becomes(shopper, {})


async def test_beyond_its_bound_checkout_asks_to_come_back(shop_with: OpenShop) -> None:
    async with shop_with(checkout_in_flight_max=1, provider_latency_ms=100) as shop:
        one, other = await shop.shopper("LAPTOP"), await shop.shopper("LAPTOP")
        first = asyncio.create_task(one.checkout())
        await until(lambda: shop.pool.fetchval("SELECT count(*) FROM orders"))
        answer = await other.checkout()
        problem = assert_problem(answer, 503, "busy")
        assert answer.headers["retry-after"] == str(problem["retry_after"])
        assert (await first).status_code == 201
        assert await shop.pool.fetchval("SELECT count(*) FROM orders") == 1


async def test_a_busy_owner_says_when_to_come_back_and_the_key_stays_free(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper = await shop.shopper("LAPTOP")
    with monkeypatch.context() as patch:

        async def busy(owner: StockOwner, requests: Sequence[Any], caller: Any = None) -> Any:
            del owner, caller
            return [stock.Answer(stock.ReserveStatus.BUSY, 2_400)] * len(requests)

        patch.setattr(StockOwner, "call", busy)
        answer = await shopper.checkout(key="once")
    problem = assert_problem(answer, 503, "busy")
    assert (answer.headers["retry-after"], problem["retry_after"]) == ("3", 3)
    assert await shop.stock("LAPTOP") == (1000, 0)
    assert (await shopper.checkout(key="once")).status_code == 201


async def test_the_price_is_the_one_of_the_moment(shop: Shop) -> None:
    shopper = await shop.shopper("VASE")
    await shop.pool.execute(
        "UPDATE products SET price_minor = 9000, changed_xid = pg_current_xact_id()"
        " WHERE handle = 'vase'"
    )

    async def shows_new_price() -> bool:
        return (await shopper.cart())["total"] == 90

    await until(shows_new_price)


async def test_what_is_not_sold_any_more_is_not_ordered(shop: Shop) -> None:
    shopper = await shop.shopper("VASE")
    await shop.pool.execute(
        "UPDATE products SET status = 'archived', changed_xid = pg_current_xact_id()"
        " WHERE handle = 'vase'"
    )

    async def gone() -> bool:
        return not await shopper.quantities()

    await until(gone)

    async def refused() -> httpx.Response | None:
        answer = await shopper.checkout(card="card_declined")
        return None if answer.status_code == 402 else answer

    problem: dict[str, Any] = assert_problem(await until(refused), 422, "validation")
    assert shop.variant_ids["VASE"] in problem["detail"]
    assert await shop.stock("VASE") == (1, 0)
