"""Through the front door of a whole shop, as shoppers and operators use it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
import pytest

from sim.sale import SalePlan, run_sale
from tests.shop.running import (
    Shop,
    check_out,
    checkout_body,
    eventually,
    fill_basket,
)

pytestmark = [pytest.mark.shop, pytest.mark.timeout(180)]

SECURITY_HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")


def _first_in_stock(http: httpx.Client) -> dict[str, Any]:
    found = http.get("/api/v1/products/search", params={"limit": 50}).json()
    return next(one for one in found["results"] if one["in_stock"])


def test_every_part_says_that_it_is_ready(http: httpx.Client) -> None:
    answer = http.get("/readyz")
    assert answer.status_code == 200
    document = answer.json()
    assert document["status"] == "ready"
    assert set(document["parts"].values()) == {"ready"}
    assert {"postgres", "redis", "checkout", "owner pool-0"} <= set(document["parts"])
    assert http.get("/healthz").json() == {"status": "alive"}


def test_a_whole_journey_in_the_published_shapes(http: httpx.Client) -> None:
    found = http.get("/api/v1/products/search", params={"min_price": 5, "limit": 5}).json()
    assert {"results", "total_results", "page", "total_pages", "facets"} <= set(found)
    hit = _first_in_stock(http)
    assert {
        "product_id", "name", "price", "currency", "rating", "review_count", "thumbnail",
        "in_stock", "seller",
    } <= set(hit)  # fmt: skip
    assert {"seller_id", "name", "rating"} <= set(hit["seller"])
    page = http.get(f"/api/v1/products/{hit['product_id']}").json()
    assert page["available"] > 0
    picture = http.get(hit["thumbnail"])
    assert picture.headers["content-type"].startswith("image/svg+xml")

    variant = next(one for one in page["variants"] if one["available"] >= 2)
    line = {"product_id": hit["product_id"], "variant_id": variant["variant_id"], "quantity": 2}
    cart = http.post("/api/v1/cart/items", json=line).json()
    [item] = cart["items"]
    assert {"product_id", "name", "quantity", "price", "subtotal"} <= set(item)
    assert item["quantity"] == 2
    assert cart["total"] == item["subtotal"] == round(2 * variant["price"], 2)
    headers = {"Authorization": f"Bearer {cart['token']}", "Idempotency-Key": "one journey"}

    bought = http.post(
        "/api/v1/orders/checkout", json=checkout_body(cart["cart_id"]), headers=headers
    )
    assert bought.status_code == 201, bought.text
    order = bought.json()
    assert {
        "order_id", "status", "total", "tax", "shipping", "grand_total", "currency",
        "estimated_delivery", "tracking_url",
    } <= set(order)  # fmt: skip
    assert order["status"] == "confirmed"
    parts = order["total"] + order["tax"] + order["shipping"]
    assert order["grand_total"] == pytest.approx(parts, abs=0.001)

    seen = http.get(f"/api/v1/orders/{order['order_id']}", headers=headers).json()
    assert seen["status"] == "confirmed"
    assert [one["quantity"] for one in seen["items"]] == [2]
    assert [one["status"] for one in seen["timeline"]][:1] == ["placed"]
    assert datetime.fromisoformat(seen["placed_at"]).tzinfo is not None
    assert http.get(f"/api/v1/orders/{order['order_id']}").status_code == 401
    after = http.get("/api/v1/cart", headers=headers).json()
    assert after["items"] == []


@pytest.mark.asyncio
async def test_a_rush_sells_exactly_what_there_is(shop: Shop) -> None:
    hot = await shop.stock_up(50)
    plan = SalePlan(
        base_url=shop.url, hot_product_id=hot.product_id, buyers=200, ordinary=40, concurrency=48
    )
    turned = shop.owner(hot.owner)["reservations_total"]
    result = await run_sale(plan, lambda _: None)
    assert result.finished == 240
    assert result.hot_sku_sold == 50
    assert result.orders_rejected["out_of_stock"] >= 150
    assert result.journeys_failed == {}
    assert result.errors == 0, result.faults
    report = shop.audit(result.acknowledged)
    assert report["ok"], report
    assert report["promises"]["P10"]["checked"] >= len(result.acknowledged)
    eventually(
        lambda: shop.owner(hot.owner)["reservations_total"] >= turned + 50,
        within_s=10,
        what="the dashboard counts the owner's reservations",
    )


def test_the_dashboard_shows_who_works(shop: Shop) -> None:
    overview = shop.overview()
    assert [owner["name"] for owner in overview["owners"]] == ["pool-0", "pool-1"]
    assert all(owner["alive"] and owner["epoch"] >= 1 for owner in overview["owners"])
    apps = {"cart", "catalog", "checkout", "fraud", "site"}
    assert {replica["app"] for replica in overview["replicas"]} == apps
    pids = {process.pid for process in shop.processes()}
    assert {one["pid"] for one in (*overview["owners"], *overview["replicas"])} <= pids


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/v1/cart/items", b"{not json", 422),
        ("POST", "/api/v1/cart/items", b'{"product_id": "prod_x\\u0000", "quantity": 1}', None),
        ("POST", "/api/v1/cart/items", b'{"quantity": -1}', 422),
        ("POST", "/api/v1/cart/items", b"x" * 3_000_000, 413),
        ("GET", "/api/v1/products/prod_nonsense", b"", 404),
        ("GET", "/api/v1/products/search?page=-1", b"", 422),
        ("GET", "/api/v1/products/%00%ff", b"", 404),
        ("GET", "/api/v1/nowhere", b"", 404),
        ("GET", "/api/v1/orders/order_nonsense", b"", 401),
        ("POST", "/api/v1/orders/checkout", b"{}", 401),
        ("DELETE", "/api/v1/products/search", b"", 405),
    ],
)
def test_bad_input_through_the_front_door_is_a_problem(
    http: httpx.Client, method: str, path: str, content: bytes, status: int | None
) -> None:
    headers = {"Content-Type": "application/json"} if content else {}
    answer = http.request(method, path, content=content or None, headers=headers)
    assert answer.status_code == (status or answer.status_code)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"].startswith("/problems/")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/dashboard"])
def test_pages_are_served_under_a_strict_policy(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    for name in SECURITY_HEADERS:
        assert name in answer.headers, name
    assert "unsafe-eval" not in answer.headers["content-security-policy"]


def test_one_description_for_all_apps(http: httpx.Client) -> None:
    document = http.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path in ("/api/v1/products/search", "/api/v1/cart/items", "/api/v1/orders/checkout"):
        assert path in document["paths"]
    assert http.get("/docs").status_code == 200


@pytest.mark.asyncio
async def test_a_repeat_gets_the_first_answer_from_another_replica(shop: Shop) -> None:
    hot = await shop.stock_up(3)
    with httpx.Client(base_url=shop.url, timeout=10) as http:
        basket = fill_basket(http, hot.product_id)
        first = check_out(http, basket)
        assert first.status_code == 201
        replica = shop.process("ray::ServeReplica:checkout")
        replica.kill()

        def repeated() -> httpx.Response | None:
            try:
                answer = check_out(http, basket)
            except httpx.HTTPError:
                return None
            return answer if answer.status_code == 201 else None

        again = eventually(repeated, within_s=40, what="a new checkout replica answers")
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == first.json()
        other = check_out(http, basket, card_id="card_other")
        assert other.status_code == 422
        assert other.json()["type"] == "/problems/idempotency_key_reused"
    assert shop.process("ray::ServeReplica:checkout").pid != replica.pid


def test_a_cart_outlives_redis(shop: Shop, http: httpx.Client) -> None:
    hit = _first_in_stock(http)
    basket = fill_basket(http, hit["product_id"])
    redis = shop.process("redis-server")
    # Redis writes its file to disk every second; what it acknowledged before that is in the
    # kernel, which the end of a process does not touch.
    redis.kill()

    def cart() -> dict[str, Any] | None:
        try:
            answer = http.get("/api/v1/cart", headers=basket.headers)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    seen = eventually(cart, within_s=20, what="the cart can be read again")
    assert seen["items"] == basket.cart["items"]
    assert shop.process("redis-server").pid != redis.pid
    eventually(shop.is_ready, within_s=20, what="ready again")
