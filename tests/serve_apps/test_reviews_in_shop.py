"""From a risky checkout to an operator's decision, through the whole shop's front door."""

from __future__ import annotations

from typing import Any

import pytest

from domain.ids import encode
from tests.serve_apps.conftest import Shop, Shopper, assert_problem, until

pytestmark = pytest.mark.asyncio
PATH = "fraud/reviews"
ORDERS_MAX = 10


async def in_review(shop: Shop) -> tuple[Shopper, str]:
    """A buyer whose payments fail and fail within the hour, until an order has to wait."""
    buyer = await shop.shopper("LAPTOP")
    for _ in range(ORDERS_MAX):
        await buyer.checkout(card="card_declined")
        waiting = await shop.pool.fetchval("SELECT order_id FROM orders WHERE status = 'in_review'")
        if waiting is not None:
            await shop.pool.execute("UPDATE payments SET payment_token = 'card_1'")
            return buyer, encode("order", waiting)
    raise AssertionError("no order was put up for review")


async def test_what_cannot_be_paid_is_no_work_for_an_operator(shop: Shop) -> None:
    buyer, order_id = await in_review(shop)

    async def bought() -> bool:
        return not await buyer.quantities()

    await until(bought)
    await buyer.add("LAPTOP")
    answer = await buyer.checkout(payment_method={"type": "invoice"})
    problem = assert_problem(answer, 402, "payment_declined")
    assert problem["decline_code"] == "invoice_not_approved"
    listed = await ask(shop, "GET", PATH)
    assert [one["order_id"] for one in listed["reviews"]] == [order_id]
    assert await shop.stock("LAPTOP") == (999, 1)
    [failed] = await shop.pool.fetch(
        "SELECT order_id FROM orders WHERE status = 'failed' AND payment_method = 'invoice'"
    )
    assert await shop.pool.fetchval("SELECT count(*) FROM credit_charges") == 0
    assert (await buyer.order(encode("order", failed["order_id"])))["status"] == "failed"


def operator(shop: Shop) -> dict[str, str]:
    return {"Authorization": f"Bearer {shop.parts.identities.issue_operator('ann')}"}


async def ask(shop: Shop, method: str, path: str, **arguments: Any) -> Any:
    answer = await shop.client.request(
        method, f"/api/v1/{path}", headers=operator(shop), **arguments
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("decision", "status", "stock"),
    [("approve", "confirmed", (999, 1)), ("decline", "failed", (1_000, 0))],
)
async def test_an_operator_decides(
    shop: Shop, decision: str, status: str, stock: tuple[int, int]
) -> None:
    buyer, order_id = await in_review(shop)
    assert await shop.stock("LAPTOP") == (999, 1)
    listed = await ask(shop, "GET", PATH)
    assert [one["order_id"] for one in listed["reviews"]] == [order_id]
    path = f"{PATH}/{order_id}/decision"
    answer = await ask(shop, "POST", path, json={"decision": decision, "note": "so"})
    assert answer["counted"] is True

    async def settled() -> bool:
        order = await buyer.order(order_id)
        return order["status"] == status and await shop.stock("LAPTOP") == stock

    await until(settled)
    shown = await ask(shop, "GET", f"{PATH}/{order_id}")
    assert shown["personal"]["shipping_address"]["city"] == "San Francisco"
    assert_problem(await buyer.call("GET", PATH), 403, "forbidden")
