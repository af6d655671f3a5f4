"""A bought order is refunded over the shop's front door; its buyer sees it, the audit agrees."""

from __future__ import annotations

import pytest

from actors.stock_in import StockIn
from tests.serve_apps.conftest import Shop, assert_problem

pytestmark = pytest.mark.asyncio


async def test_a_bought_order_is_refunded_bit_by_bit(shop: Shop) -> None:
    shopper = await shop.shopper("TEE-S", 3)
    bought = (await shopper.checkout()).json()
    path = f"/api/v1/orders/{bought['order_id']}/refunds"
    token = shop.parts.identities.issue_operator("ann")
    headers = {"Authorization": f"Bearer {token}"}
    body = {"lines": [{"sku": "TEE-S", "quantity": 1}], "reason": "too small"}
    refused = await shop.client.post(
        path, json=body, headers={**shopper.headers, "Idempotency-Key": "a"}
    )
    assert_problem(refused, 403, "forbidden")
    answer = await shop.client.post(path, json=body, headers={**headers, "Idempotency-Key": "a"})
    assert answer.status_code == 201, answer.text
    first = answer.json()
    assert first["status"] == "done"
    body = {"whole": True, "reason": "sent back"}
    answer = await shop.client.post(path, json=body, headers={**headers, "Idempotency-Key": "b"})
    rest = answer.json()
    assert round(first["amount"] + rest["amount"], 2) == bought["grand_total"]
    shown = (await shopper.order(bought["order_id"]))["refunds"]
    assert [(one["amount"], one["reason"], one["status"]) for one in shown] == [
        (first["amount"], "too small", "done"),
        (rest["amount"], "sent back", "done"),
    ]
    answer = await shop.client.post(path, json=body, headers={**headers, "Idempotency-Key": "c"})
    assert_problem(answer, 422, "refund_refused")
    assert await shop.broken_promises() == {}


async def test_a_bought_order_that_is_sent_back_can_be_bought_again(shop: Shop) -> None:
    before, _ = await shop.stock("TEE-S")
    shopper = await shop.shopper("TEE-S", 3)
    bought = (await shopper.checkout()).json()
    token = shop.parts.identities.issue_operator("ann")
    answer = await shop.client.post(
        f"/api/v1/orders/{bought['order_id']}/refunds",
        json={"whole": True, "restock": True, "reason": "sent back"},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "a"},
    )
    assert answer.status_code == 201, answer.text
    await StockIn(shop.parts.stock_in, shop.parts.stock_client(shop.transport)).carry_out()
    assert (await shop.stock("TEE-S"))[0] == before
    assert await shop.broken_promises() == {}
