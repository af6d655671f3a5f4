"""Webhooks, returning buyers and saved payment methods in a whole shop."""

from __future__ import annotations

import asyncpg
import pytest

from sim.provider_process import ProviderOptions, serving
from tests.serve_apps.conftest import OpenShop, Shop, Shopper, assert_problem, until
from tests.sim.webhook_sink import webhook_sink

pytestmark = pytest.mark.asyncio
SECRET = "whsec_of_the_test"
THREE_D = "pm_card_threeDSecure2Required"
RETURN = "https://shop.example/back"


async def test_a_buyer_comes_back_from_the_providers_page_to_a_confirmed_order(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    method = {"type": "card", "card_id": "card_3ds", "return_url": RETURN}
    waiting = await shopper.checkout(payment_method=method)
    assert waiting.status_code == 202, waiting.text
    order_id = waiting.json()["order_id"]
    again = await shopper.call("POST", f"orders/{order_id}/resume")
    assert (again.status_code, again.json()["status"]) == (200, "awaiting_payment")
    page = waiting.json()["next_actions"][0]["url"]
    agreed = await shop.client.post(f"{page}/approve")
    assert agreed.status_code == 303
    # Once a second is enough for whoever asks again and again.
    await until(lambda: _confirmed(shopper, order_id))
    assert await shop.broken_promises() == {}


async def _confirmed(shopper: Shopper, order_id: str) -> bool:
    answer = await shopper.call("POST", f"orders/{order_id}/resume")
    return answer.json()["status"] == "confirmed"


async def test_a_saved_method_pays_and_is_nobody_elses(shop: Shop) -> None:
    shopper, stranger = await shop.shopper("LAPTOP"), await shop.shopper("TEE-S")
    saved = await shopper.call("POST", "orders/payment-methods", json={"token": "card_saved"})
    assert saved.status_code == 201, saved.text
    method = {"type": "card", "method_id": saved.json()["method_id"]}
    refused = await stranger.checkout(payment_method=method)
    assert_problem(refused, 422, "validation")
    paid = await shopper.checkout(payment_method=method)
    assert paid.status_code == 201, paid.text
    row = await shop.pool.fetchrow("SELECT payment_token, customer, gateway FROM payments")
    assert row is not None
    assert (row["payment_token"], row["gateway"]) == ("card_saved", "simulated")
    assert row["customer"].startswith("cus_")
    listed = await shopper.call("GET", "orders/payment-methods")
    assert listed.json() == {"methods": [saved.json()]}
    assert (await stranger.call("GET", "orders/payment-methods")).json() == {"methods": []}
    unknown = await shopper.call("POST", "orders/payment-methods", json={"token": "nobodys"})
    problem = assert_problem(unknown, 402, "payment_declined")
    assert problem["decline_code"] == "unknown_payment_method"


async def test_without_a_provider_that_sends_webhooks_there_is_no_door_for_them(shop: Shop) -> None:
    for gateway in ("stripe", "simulated", "ledger"):
        answer = await shop.client.post(f"/api/v1/orders/webhooks/{gateway}", json={})
        assert_problem(answer, 404, "not_found")


async def test_the_page_knows_who_takes_cards_and_a_saved_one_is_recognised(
    shop_with: OpenShop, pool: asyncpg.Pool
) -> None:
    async with shop_with() as shop:
        assert 'data-takes-cards="simulated"' in (await shop.client.get("/")).text
    async with (
        serving(pool, ProviderOptions()) as running,
        shop_with(stripe_api_key="sk_test_1", stripe_base_url=running.base_url) as shop,
    ):
        page = (await shop.client.get("/")).text
        assert 'data-takes-cards="stripe"' in page
        assert "simulated" not in page
        shopper = await shop.shopper("LAPTOP")
        saved = await shop.client.post(
            "/api/v1/orders/payment-methods",
            json={"token": "pm_card_visa"},
            headers={"Authorization": f"Bearer {shopper.token}"},
        )
        assert saved.status_code == 201, saved.text
        method = {"type": "card", "method_id": saved.json()["method_id"]}
        answer = await shopper.checkout(payment_method=method)
        assert answer.status_code == 201, answer.text
        [paid] = (await shopper.order(answer.json()["order_id"]))["payments"]
        assert (paid["type"], paid["status"]) == ("card", "captured")
        assert paid["last_four"] == saved.json()["last_four"]
        assert "pm_card_visa" not in str(paid)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ({"type": "bank_transfer"}, "settle"),
        ({"type": "wallet", "return_url": RETURN}, "approve"),
        ({"type": "card", "card_id": THREE_D, "return_url": RETURN}, "approve"),
    ],
    ids=["bank_transfer", "wallet", "card"],
)
async def test_stripes_webhook_settles_what_was_paid_elsewhere(
    shop_with: OpenShop, pool: asyncpg.Pool, method: dict[str, str], what: str
) -> None:
    async with (
        webhook_sink() as (url, hooks),
        serving(pool, ProviderOptions(webhook_url=url, webhook_secret=SECRET)) as running,
        shop_with(
            stripe_api_key="sk_test_1",
            stripe_webhook_secret=SECRET,
            stripe_base_url=running.base_url,
        ) as shop,
    ):
        shopper = await shop.shopper("LAPTOP")
        waiting = await shopper.checkout(payment_method=method)
        assert waiting.status_code == 202, waiting.text
        charge = await shop.pool.fetchval("SELECT transaction_id FROM payments")
        forged = await shop.client.post("/api/v1/orders/webhooks/stripe", json={})
        assert_problem(forged, 400, "webhook_forged")
        assert await running.server.outside(charge, what) is not None

        async def arrived() -> bool:
            headers, body = await hooks.get()
            headers = {"stripe-signature": headers["stripe-signature"]}
            answer = await shop.client.post(
                "/api/v1/orders/webhooks/stripe", content=body, headers=headers
            )
            assert answer.status_code == 200, answer.text
            order = await shopper.order(waiting.json()["order_id"])
            return order["status"] == "confirmed"

        await until(arrived)
        # Asked over HTTP and read in the provider's own books, a charge is still one.
        assert await shop.broken_promises() == {}


async def test_at_stripe_a_declined_part_is_called_off_and_the_audit_knows(
    shop_with: OpenShop, pool: asyncpg.Pool
) -> None:
    async with (
        serving(pool, ProviderOptions()) as running,
        shop_with(stripe_api_key="sk_test_1", stripe_base_url=running.base_url) as shop,
    ):
        shopper = await shop.shopper("LAPTOP")
        parts = [
            {"type": "card", "card_id": "card_1", "amount": 1},
            {"type": "card", "card_id": "card_declined"},
        ]
        declined = await shopper.checkout(payment_method=None, payment_methods=parts)
        assert_problem(declined, 402, "payment_declined")
        rows = await shop.pool.fetch(
            "SELECT p.status::text, c.status FROM payments p"
            " JOIN simulated_provider.charges c USING (transaction_id) ORDER BY p.part"
        )
        assert [tuple(row) for row in rows] == [("voided", "voided"), ("declined", "voided")]
        assert await shop.broken_promises() == {}
