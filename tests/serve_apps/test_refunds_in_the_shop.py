"""A bought order is refunded over the shop's front door; its buyer sees it, the audit agrees."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from actors.stock_in import StockIn
from storage.operator_revocations import OperatorRevocations, Revocation
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


async def test_an_operator_whose_token_was_revoked_refunds_and_decides_nothing(shop: Shop) -> None:
    shopper = await shop.shopper("TEE-S")
    bought = (await shopper.checkout()).json()
    headers = {"Authorization": f"Bearer {shop.parts.identities.issue_operator('ann')}"}
    paths = (f"/api/v1/orders/{bought['order_id']}/refunds", "/api/v1/fraud/reviews")
    for path in paths:
        assert (await shop.client.get(path, headers=headers)).status_code == 200
    await OperatorRevocations(shop.pool).revoke(
        Revocation(name="ann", issued_to=datetime.now(UTC), revoked_by="bob", reason="lost")
    )
    for path in paths:
        problem = assert_problem(await shop.client.get(path, headers=headers), 401, "unauthorized")
        assert "was revoked" in problem["detail"]
    body = {"whole": True, "reason": "sent back"}
    answer = await shop.client.post(
        paths[0], json=body, headers={**headers, "Idempotency-Key": "a"}
    )
    assert_problem(answer, 401, "unauthorized")
    assert (await shopper.order(bought["order_id"]))["refunds"] == []
    headers = {"Authorization": f"Bearer {shop.parts.identities.issue_operator('ann')}"}
    assert (await shop.client.get(paths[0], headers=headers)).status_code == 200
