"""The case study's four endpoints, compared with its own examples, field by field."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.serve_apps.conftest import Shop, Shopper, open_shop

pytestmark = pytest.mark.asyncio

# As printed in the case study, but for what it leaves open: ids, hosts, numbers and times.
SEARCH: dict[str, Any] = {
    "results": [
        {
            "product_id": "prod_123",
            "name": "Dell XPS 13 Laptop",
            "price": 1299.99,
            "currency": "USD",
            "rating": 4.5,
            "review_count": 1234,
            "thumbnail": "https://cdn.example.com/prod_123_thumb.jpg",
            "in_stock": True,
            "seller": {
                "seller_id": "seller_456",
                "name": "Dell Official Store",
                "rating": 4.8,
            },
        }
    ],
    "total_results": 1523,
    "page": 1,
    "total_pages": 77,
    "facets": {
        "brands": ["Dell", "HP", "Lenovo", "Apple"],
        "price_ranges": ["$500-$1000", "$1000-$1500", "$1500+"],
    },
}
ADD_REQUEST: dict[str, Any] = {
    "product_id": "prod_123",
    "quantity": 1,
    "options": {"color": "silver", "storage": "512GB"},
}
CART: dict[str, Any] = {
    "cart_id": "cart_abc123",
    "items": [
        {
            "product_id": "prod_123",
            "name": "Dell XPS 13 Laptop",
            "quantity": 1,
            "price": 1299.99,
            "subtotal": 1299.99,
        }
    ],
    "total": 1299.99,
    "item_count": 1,
}
CHECKOUT_REQUEST: dict[str, Any] = {
    "cart_id": "cart_abc123",
    "shipping_address": {
        "name": "John Doe",
        "street": "123 Main St",
        "city": "San Francisco",
        "state": "CA",
        "zip": "94102",
        "country": "US",
    },
    "payment_method": {"type": "card", "card_id": "card_xyz789"},
    "shipping_method": "standard",
}
CHECKOUT: dict[str, Any] = {
    "order_id": "order_def456",
    "status": "confirmed",
    "total": 1299.99,
    "tax": 104.00,
    "shipping": 9.99,
    "grand_total": 1413.98,
    "estimated_delivery": "2024-01-20",
    "tracking_url": "https://track.example.com/order_def456",
}
ORDER: dict[str, Any] = {
    "order_id": "order_def456",
    "status": "shipped",
    "placed_at": "2024-01-15T10:30:00Z",
    "shipped_at": "2024-01-16T14:00:00Z",
    "estimated_delivery": "2024-01-20",
    "items": [
        {
            "product_id": "prod_123",
            "name": "Dell XPS 13 Laptop",
            "quantity": 1,
            "price": 1299.99,
        }
    ],
    "shipment": {
        "carrier": "FedEx",
        "tracking_number": "123456789",
        "current_location": "Oakland, CA",
        "tracking_url": "https://fedex.com/track/123456789",
    },
    "timeline": [
        {"status": "placed", "timestamp": "2024-01-15T10:30:00Z"},
        {"status": "confirmed", "timestamp": "2024-01-15T10:31:00Z"},
    ],
}
# Not known before there are reviews, or before it was shipped.
MAY_BE_NULL = {"rating", "shipped_at", "shipment"}

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ID = re.compile(r"[a-z]+_[0-9a-z]{3,26}")


def assert_like(value: Any, example: Any, path: str = "$") -> None:
    """Every field of the example is there, with its JSON type and its kind of text."""
    where = f"{path} is {value!r}, the example has {example!r}"
    if value is None:
        assert path.rpartition(".")[2] in MAY_BE_NULL, where
    elif isinstance(example, dict):
        assert isinstance(value, dict), where
        missing = example.keys() - value.keys()
        assert not missing, f"{path} lacks {sorted(missing)}"
        for name, inner in example.items():
            assert_like(value[name], inner, f"{path}.{name}")
    elif isinstance(example, list):
        assert isinstance(value, list), where
        assert value, f"{path} is empty"
        for number, one in enumerate(value):
            assert_like(one, example[0], f"{path}[{number}]")
    elif isinstance(example, float):
        assert isinstance(value, int | float), where
        assert not isinstance(value, bool), where
        assert value == round(value, 2), where
    else:
        assert type(value) is type(example), where
        if isinstance(example, str):
            _assert_text_like(value, example, where)


def _assert_text_like(value: str, example: str, where: str) -> None:
    assert value, where
    if _TIME.fullmatch(example):
        assert _TIME.fullmatch(value), where
        assert datetime.fromisoformat(value).utcoffset() is not None, where
    elif _DATE.fullmatch(example):
        assert date.fromisoformat(value), where
    elif _ID.fullmatch(example):
        assert value.partition("_")[0] == example.partition("_")[0], where
        assert _ID.fullmatch(value), where
    elif example.startswith("https://"):
        assert value.startswith(("https://", "/")), where
    elif example.startswith("$"):
        assert value.startswith("$"), where


@pytest_asyncio.fixture
async def shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, redis_url) as opened:
        yield opened


async def _filled_cart(shop: Shop, quantity: int = 1) -> tuple[Shopper, httpx.Response]:
    """The second request of the case study, by a new guest."""
    body = {"product_id": shop.product_ids["laptop"], "quantity": quantity}
    assert body.keys() <= ADD_REQUEST.keys()
    answer = await shop.client.post("/api/v1/cart/items", json=body)
    shopper = Shopper(shop)
    shopper.token, shopper.cart_id = answer.json()["token"], answer.json()["cart_id"]
    return shopper, answer


async def _bought(shopper: Shopper) -> httpx.Response:
    """The third request of the case study, with this cart."""
    return await shopper.call(
        "POST",
        "orders/checkout",
        json={**CHECKOUT_REQUEST, "cart_id": shopper.cart_id},
        headers={"Idempotency-Key": str(uuid.uuid4())},
    )


async def test_search(shop: Shop) -> None:
    path = (
        "/api/v1/products/search"
        "?q=laptop&category=electronics&min_price=500&max_price=2000&page=1&limit=20"
    )
    for headers in ({}, {"Authorization": "Bearer a shopper's"}):  # search needs no token
        answer = await shop.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert_like(answer.json(), SEARCH)
    found = answer.json()
    assert [hit["name"] for hit in found["results"]] == ["Dell XPS 13 Laptop"]
    assert (found["total_results"], found["page"], found["total_pages"]) == (1, 1, 1)
    assert found["results"][0]["price"] == 1299.99


async def test_add_to_cart(shop: Shop) -> None:
    _, answer = await _filled_cart(shop)
    assert answer.status_code == 200, answer.text
    assert_like(answer.json(), CART)
    cart = answer.json()
    assert (cart["total"], cart["item_count"]) == (1299.99, 1)


async def test_add_to_cart_with_options(shop: Shop) -> None:
    body = {"product_id": shop.product_ids["tee"], "quantity": 1, "options": {"size": "m"}}
    assert body.keys() == ADD_REQUEST.keys()
    answer = await shop.client.post("/api/v1/cart/items", json=body)
    assert answer.status_code == 200, answer.text
    assert_like(answer.json(), CART)


async def test_checkout(shop: Shop) -> None:
    shopper, _ = await _filled_cart(shop)
    answer = await _bought(shopper)
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert_like(answer.json(), CHECKOUT)
    bought = answer.json()
    assert bought["status"] == "confirmed"
    # The case study's own figures: 8 % of 1,299.99, and shipping for 9.99.
    assert {name: bought[name] for name in ("total", "tax", "shipping", "grand_total")} == {
        name: CHECKOUT[name] for name in ("total", "tax", "shipping", "grand_total")
    }


async def test_track_order(shop: Shop) -> None:
    shopper, _ = await _filled_cart(shop, quantity=2)
    bought = (await _bought(shopper)).json()
    answer = await shopper.call("GET", f"orders/{bought['order_id']}")
    assert answer.status_code == 200, answer.text
    assert_like(answer.json(), ORDER)
    order = answer.json()
    assert order["order_id"] == bought["order_id"]
    assert order["estimated_delivery"] == bought["estimated_delivery"]
    assert order["timeline"][0]["timestamp"] == order["placed_at"]
    assert [step["status"] for step in order["timeline"]] == ["placed", "confirmed"]
