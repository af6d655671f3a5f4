"""Checkout over several warehouses: which one sends what, and what one customer may have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.ids import decode
from storage.audit import audit
from tests.serve_apps.conftest import ADDRESS, Shop, Shopper, assert_problem

pytestmark = pytest.mark.asyncio


async def _sent_from(shop: Shop, order_id: str) -> dict[str, dict[str, int]]:
    """Units by SKU, by warehouse: what is allocated to an order."""
    rows = await shop.pool.fetch(
        "SELECT w.code, v.sku, sum(r.quantity)::int AS units"
        " FROM inventory_reservations r JOIN inventory i USING (inventory_id)"
        " JOIN warehouses w USING (warehouse_id) JOIN product_variants v USING (variant_id)"
        " WHERE r.order_id = $1 AND r.status = 'allocated' GROUP BY w.code, v.sku",
        decode("order", order_id),
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row["code"], {})[row["sku"]] = row["units"]
    return found


async def _bought(shop: Shop, shopper: Shopper, **address: Any) -> dict[str, dict[str, int]]:
    answer = await shopper.checkout(shipping_address={**ADDRESS, **address})
    assert answer.status_code == 201, answer.text
    return await _sent_from(shop, answer.json()["order_id"])


NEAREST: tuple[tuple[dict[str, Any], str], ...] = (
    ({"state": "CA"}, "WEST"),
    ({"state": "new york"}, "EAST"),
    ({"state": None, "country": "FR"}, "EAST"),
    ({"state": None, "country": "JP"}, "WEST"),
    ({"state": "NY", "lat": 37.8, "lon": -122.4}, "WEST"),
    ({"state": "CA", "lat": 40.7, "lon": -74}, "EAST"),
)


async def test_the_warehouse_near_the_buyer_sends_it(shop: Shop) -> None:
    for address, warehouse in NEAREST:
        sent = await _bought(shop, await shop.shopper("LAPTOP", 2), **address)
        assert sent == {warehouse: {"LAPTOP": 2}}, address


async def test_a_cart_comes_in_one_parcel_where_it_can(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    await shopper.add("TEE-S")
    assert await _bought(shop, shopper, state="CA") == {"EAST": {"LAPTOP": 1, "TEE-S": 1}}


async def test_a_line_that_no_warehouse_has_alone_is_split_and_stays_one_line(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP", 600)
    answer = await shopper.checkout(shipping_address={**ADDRESS, "lat": 37.8, "lon": -122.4})
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["order_id"]
    assert await _sent_from(shop, order_id) == {"WEST": {"LAPTOP": 500}, "EAST": {"LAPTOP": 100}}
    order = await shopper.order(order_id)
    assert [(item["sku"], item["quantity"]) for item in order["items"]] == [("LAPTOP", 600)]
    assert await shop.stock("LAPTOP") == (400, 600)
    report = await audit(shop.pool, shop.parts.providers, bus=None, now=datetime.now(UTC))
    assert [v.promise.id for v in report.verdicts if not v.ok] == []


async def test_coordinates_come_both_or_not_at_all_and_on_this_earth(shop: Shop) -> None:
    shopper = await shop.shopper("VASE")
    bad: tuple[dict[str, Any], ...] = (
        {"lat": 1.0},
        {"lon": 1.0},
        {"lat": 90.1, "lon": 0},
        {"lat": 0, "lon": -180.5},
        {"lat": "1", "lon": 2},
    )
    for degrees in bad:
        answer = await shopper.checkout(shipping_address={**ADDRESS, **degrees})
        problem = assert_problem(answer, 422, "validation")
        assert problem["errors"][0]["field"].startswith("shipping_address"), degrees
    edge = {**ADDRESS, "lat": -90, "lon": 180.0}
    assert (await shopper.checkout(shipping_address=edge)).status_code == 201


async def test_coordinates_are_no_part_of_the_address_but_of_the_request(shop: Shop) -> None:
    """Kept neither with the order nor compared with the billing address; another point is
    another request (P6)."""
    shopper = await shop.shopper("LAPTOP")
    there = {**ADDRESS, "lat": 37.8, "lon": -122.4}
    first = await shopper.checkout(key="1", shipping_address=there, billing_address=ADDRESS)
    assert first.status_code == 201, first.text
    kept = await shop.pool.fetchrow("SELECT order_id, fraud_flags FROM orders")
    assert kept is not None
    personal = await shop.parts.orders.personal(kept["order_id"])
    assert personal is not None
    assert personal.shipping_address == ADDRESS
    assert "address_mismatch" not in (kept["fraud_flags"] or [])
    again = await shopper.checkout(key="1", shipping_address=ADDRESS, billing_address=ADDRESS)
    assert_problem(again, 422, "idempotency_key_reused")


async def test_more_than_one_customer_may_have_is_refused(shop: Shop) -> None:
    await shop.pool.execute(
        "INSERT INTO stock_policies (variant_id, customer_max) VALUES ($1, 2)",
        decode("var", shop.variant_ids["HOT"]),
    )
    shopper = await shop.shopper("HOT", 3)
    await shopper.add("TEE-S")
    first = await shopper.checkout(key="once")
    problem = assert_problem(first, 422, "limit_exceeded")
    assert (problem["sku"], problem["requested"], problem["available"]) == ("HOT", 3, 2)
    assert problem["product_id"] == shop.product_of["HOT"]
    assert await shop.stock("TEE-S") == (50, 0)
    assert (await shopper.checkout(key="once")).json() == first.json()
    other = await shop.shopper("HOT", 2)
    assert (await other.checkout()).status_code == 201
