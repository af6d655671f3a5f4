"""The cart over HTTP: guests, adding up, changing, limits, and two tabs at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.coalescer import Coalescer
from domain.cart import LINE_QUANTITY_MAX, LINES_MAX
from domain.catalog import Product, Variant
from domain.ports import Unavailable
from storage.carts import CART_TTL_S
from tests.serve_apps.conftest import Shop, Shopper, assert_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def shop(standing_shop: Shop) -> Shop:
    return standing_shop


async def test_the_first_item_makes_a_guest(shop: Shop) -> None:
    body = {"product_id": shop.product_ids["laptop"], "quantity": 1}
    first = (await shop.client.post("/api/v1/cart/items", json=body)).json()
    headers = {"Authorization": f"Bearer {first['token']}"}
    again = await shop.client.post("/api/v1/cart/items", json=body, headers=headers)
    assert again.status_code == 200
    cart = again.json()
    assert "token" not in cart
    assert cart["cart_id"] == first["cart_id"]
    assert cart["item_count"] == 2
    other = (await shop.client.post("/api/v1/cart/items", json=body)).json()
    assert other["token"] != first["token"]
    assert other["cart_id"] != first["cart_id"]


async def test_a_cart_adds_up(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP", 2)
    await shopper.add("TEE-S", 3)
    cart = await shopper.cart()
    by_sku = {item["sku"]: item for item in cart["items"]}
    assert by_sku["LAPTOP"]["subtotal"] == 2599.98
    assert by_sku["TEE-S"]["subtotal"] == 59.97
    assert by_sku["TEE-S"]["attributes"] == {"Size": "S"}
    assert cart["total"] == 2659.95
    assert cart["currency"] == "USD"
    assert cart["item_count"] == 5


@pytest.mark.parametrize("options", [{"Size": "M"}, {"size": "m"}])
async def test_options_choose_the_variant(shop: Shop, options: dict[str, str]) -> None:
    shopper = await shop.shopper()
    body = {"product_id": shop.product_ids["tee"], "quantity": 1, "options": options}
    answer = await shopper.call("POST", "cart/items", json=body)
    assert [item["sku"] for item in answer.json()["items"]] == ["TEE-M"]


async def test_who_does_not_choose_is_told_the_choices(shop: Shop) -> None:
    shopper = await shop.shopper()
    body = {"product_id": shop.product_ids["tee"], "quantity": 1}
    answer = await shopper.call("POST", "cart/items", json=body)
    assert "Size: S, M" in assert_problem(answer, 422, "validation")["detail"]


async def test_a_line_is_changed_and_removed(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP", 2)
    await shopper.add("TEE-S")
    line = f"cart/items/{shop.variant_ids['LAPTOP']}"
    changed = await shopper.call("PATCH", line, json={"quantity": 5})
    assert {item["sku"]: item["quantity"] for item in changed.json()["items"]}["LAPTOP"] == 5
    removed = await shopper.call("DELETE", line)
    assert [item["sku"] for item in removed.json()["items"]] == ["TEE-S"]
    assert (await shopper.call("DELETE", line)).json() == removed.json()
    line = f"cart/items/{shop.variant_ids['TEE-S']}"
    empty = (await shopper.call("PATCH", line, json={"quantity": 0})).json()
    assert empty == {
        "cart_id": None,
        "items": [],
        "total": 0.0,
        "currency": "USD",
        "item_count": 0,
    }
    assert await shopper.cart() == empty


async def test_an_emptied_cart_cannot_be_checked_out(shop: Shop) -> None:
    shopper = await shop.shopper()
    assert_problem(await shopper.checkout(), 404, "not_found")


async def test_a_cart_is_kept_for_thirty_days(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    ages = [await shop.redis.ttl(key) async for key in shop.redis.scan_iter("cart:*")]
    assert all(CART_TTL_S - 60 < age <= CART_TTL_S for age in ages)
    assert CART_TTL_S == 30 * 24 * 3600
    assert await shopper.quantities() == {"LAPTOP": 1}


async def test_additions_at_once_are_all_there(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    await asyncio.gather(*[shopper.add("LAPTOP") for _ in range(20)])
    await asyncio.gather(*[shopper.add("TEE-S", 2) for _ in range(10)])
    assert await shopper.quantities() == {"LAPTOP": 21, "TEE-S": 20}


async def test_a_line_has_its_limit_however_it_is_reached(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP", LINE_QUANTITY_MAX)
    answers = await asyncio.gather(
        *[
            shopper.call(
                "POST",
                "cart/items",
                json={"product_id": shop.product_ids["laptop"], "quantity": 1},
            )
            for _ in range(5)
        ]
    )
    for answer in answers:
        assert str(LINE_QUANTITY_MAX) in assert_problem(answer, 422, "validation")["detail"]
    assert await shopper.quantities() == {"LAPTOP": LINE_QUANTITY_MAX}


async def test_a_cart_has_room_for_so_many_lines_and_orders_them_all(shop: Shop) -> None:
    product = Product(
        handle="bolts",
        name="Bolts",
        description="",
        category="Tools",
        seller="Good Goods",
        tags=(),
        variants=tuple(
            Variant(sku=f"BOLT-{n}", price_minor=100, attributes={"No": str(n)}, stock={"EAST": 5})
            for n in range(LINES_MAX + 1)
        ),
    )
    await shop.parts.catalog.import_products([product])
    await shop.learn_ids()
    shopper = await shop.shopper()
    await asyncio.gather(*[shopper.add(f"BOLT-{n}") for n in range(LINES_MAX)])
    shopper.cart_id = (await shopper.cart())["cart_id"]
    answer = await shopper.call(
        "POST",
        "cart/items",
        json={
            "product_id": shop.product_ids["bolts"],
            "variant_id": shop.variant_ids[f"BOLT-{LINES_MAX}"],
            "quantity": 1,
        },
    )
    assert str(LINES_MAX) in assert_problem(answer, 422, "validation")["detail"]
    bought = await shopper.checkout()
    assert bought.status_code == 201, bought.text
    assert len((await shopper.order(bought.json()["order_id"]))["items"]) == LINES_MAX


async def test_what_lies_in_a_cart_is_not_reserved(shop: Shop) -> None:
    before = await shop.stock("VASE")
    await asyncio.gather(*[shop.shopper("VASE") for _ in range(5)])
    assert await shop.stock("VASE") == before


async def test_another_guest_sees_another_cart(shop: Shop) -> None:
    one, other = await shop.shopper("LAPTOP"), await shop.shopper("VASE")
    assert await one.quantities() == {"LAPTOP": 1}
    assert await other.quantities() == {"VASE": 1}
    assert isinstance(one, Shopper)
    assert one.token != other.token


async def test_a_cart_that_cannot_be_reached_is_busy(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper = await shop.shopper("LAPTOP")

    async def gone(items: list[Any]) -> list[Any]:
        raise Unavailable(f"{len(items)} carts: gone")

    service = shop.apps["cart"].state.carts
    monkeypatch.setattr(service, "_loading", Coalescer(gone))
    monkeypatch.setattr(service, "_changing", Coalescer(gone))
    line = f"cart/items/{shop.variant_ids['LAPTOP']}"
    for answer in (await shopper.call("GET", "cart"), await shopper.call("DELETE", line)):
        assert_problem(answer, 503, "busy")
        assert answer.headers["retry-after"] == "1"


async def test_too_many_at_once_are_asked_to_come_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper = await shop.shopper("LAPTOP")
    service = shop.apps["cart"].state.carts
    full: Coalescer[Any, Any] = Coalescer(shop.parts.carts.load, queue_max=0)
    monkeypatch.setattr(service, "_loading", full)
    assert_problem(await shopper.call("GET", "cart"), 503, "busy")
