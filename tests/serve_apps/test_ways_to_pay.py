"""Every way to pay over HTTP: alone, together, later, and what is left when it does not work."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

import httpx
import pytest

from domain import ids
from domain.gift_cards import code_hash, new_code
from serve_apps.credit_parts import credit_accounts, gift_card_key
from tests.serve_apps.conftest import OpenShop, Shop, Shopper, assert_problem, until

pytestmark = pytest.mark.asyncio

_LAPTOP_TOTAL = 1413.98  # 1299.99, tax to California 104.00, shipping 9.99
_RETURN = "https://shop.example/back"


async def _gift_card(shop: Shop, amount_minor: int) -> str:
    code = new_code(random.Random(amount_minor).randrange)
    key = gift_card_key(shop.parts.settings)
    hashed = code_hash(key, code)
    assert hashed is not None
    await credit_accounts(shop.pool).issue_gift_card(
        code_hash=hashed,
        last_four=code[-4:],
        amount_minor=amount_minor,
        currency="USD",
        origin="sold",
        actor="test",
    )
    return code


def _customer(shopper: Shopper) -> str:
    return str(ids.decode("user", shopper.token.partition(".")[0]))


async def _payments(shop: Shop, answer: httpx.Response) -> list[tuple[str, str, int]]:
    rows = await shop.pool.fetch(
        "SELECT payment_method, status::text AS status, amount_minor FROM payments"
        " WHERE order_id = $1 ORDER BY part",
        ids.decode("order", answer.json()["order_id"]),
    )
    return [tuple(row) for row in rows]


async def _one_order(shop: Shop) -> dict[str, Any]:
    row = await shop.pool.fetchrow("SELECT * FROM orders")
    assert row is not None
    return dict(row)


async def test_a_gift_card_and_a_card_pay_together(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    code = await _gift_card(shop, 50_000)
    methods = [
        {"type": "gift_card", "code": code, "amount": 500.0},
        {"type": "card", "card_id": "card_xyz"},
    ]
    answer = await shopper.checkout(payment_method=None, payment_methods=methods)
    assert answer.status_code == 201, answer.text
    assert answer.json()["grand_total"] == _LAPTOP_TOTAL
    assert await _payments(shop, answer) == [
        ("gift_card", "captured", 50_000),
        ("card", "captured", 91_398),
    ]
    about = {"currency": "USD", "status": "captured"}
    assert (await shopper.order(answer.json()["order_id"]))["payments"] == [
        {"type": "gift_card", "amount": 500.0, **about, "last_four": code[-4:]},
        {"type": "card", "amount": 913.98, **about},
    ]
    assert await shop.broken_promises() == {}


async def test_what_one_part_cannot_pay_is_undone_for_the_others(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    code = await _gift_card(shop, 50_000)
    methods = [
        {"type": "gift_card", "code": code, "amount": 500.0},
        {"type": "card", "card_id": "card_declined"},
    ]
    answer = await shopper.checkout(payment_method=None, payment_methods=methods)
    problem = assert_problem(answer, 402, "payment_declined")
    assert problem["decline_code"] == "card_declined"
    rows = await shop.pool.fetch("SELECT status::text AS status FROM payments ORDER BY part")
    assert [row["status"] for row in rows] == ["voided", "declined"]
    assert await shop.stock("LAPTOP") == (1_000, 0)
    # The card is whole again: all of it can be spent.
    again = await shopper.checkout(
        payment_method=None, payment_methods=[methods[0], {"type": "card", "card_id": "card_1"}]
    )
    assert again.status_code == 201, again.text
    assert await shop.broken_promises() == {}


async def test_the_buyer_is_told_how_much_of_the_order_the_transfer_is(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    code = await _gift_card(shop, 50_000)
    methods = [{"type": "gift_card", "code": code, "amount": 500.0}, {"type": "bank_transfer"}]
    answer = await shopper.checkout(key="the key", payment_method=None, payment_methods=methods)
    assert answer.status_code == 202, answer.text
    [action] = answer.json()["next_actions"]
    assert (action["kind"], action["amount"]) == ("transfer", 913.98)
    assert (action["amount_minor"], action["currency"]) == (91_398, "USD")
    again = await shopper.checkout(key="the key", payment_method=None, payment_methods=methods)
    assert again.json()["next_actions"] == [action]
    order = await shopper.order(answer.json()["order_id"])
    assert order["next_actions"] == [action]


async def test_store_credit_and_invoices_are_for_those_who_have_them(shop: Shop) -> None:
    shopper = await shop.shopper("TEE-M")
    for kind, code in (
        ("store_credit", "insufficient_credit"),
        ("invoice", "invoice_not_approved"),
    ):
        answer = await shopper.checkout(payment_method={"type": kind})
        assert assert_problem(answer, 402, "payment_declined")["decline_code"] == code
    accounts = credit_accounts(shop.pool)
    await accounts.grant("g", _customer(shopper), 200_000, "USD", actor="test")
    await accounts.set_terms(
        _customer(shopper),
        limit_minor=200_000,
        currency="USD",
        net_days=30,
        approved=True,
        actor="test",
    )
    for kind in ("store_credit", "invoice"):
        answer = await shopper.checkout(payment_method={"type": kind})
        assert answer.status_code == 201, answer.text
        [told] = (await shopper.order(answer.json()["order_id"]))["payments"]
        assert (told["type"], told["amount"]) == (kind, answer.json()["grand_total"])
        assert ("invoice" in told) == (kind == "invoice")
        await until(lambda: _is_empty(shopper))
        await shopper.add("TEE-S")
    due_on = await shop.pool.fetchval("SELECT due_on FROM credit_invoices")
    assert told["invoice"] == {
        "number": "INV-000001",
        "due_on": str(due_on),
        "open": told["amount"],
    }
    assert await shop.broken_promises() == {}


async def _is_empty(shopper: Shopper) -> bool:
    return not await shopper.quantities()


async def test_a_gift_cards_code_is_not_kept(shop: Shop) -> None:
    shopper = await shop.shopper("VASE")
    code = await _gift_card(shop, 50_000)
    answer = await shopper.checkout(payment_method={"type": "gift_card", "code": code})
    assert answer.status_code == 201, answer.text
    token = await shop.pool.fetchval("SELECT payment_token FROM payments")
    assert code.replace("-", "") not in token.upper()
    other = await shop.shopper("LAPTOP")
    wrong = await other.checkout(payment_method={"type": "gift_card", "code": "nonsense"})
    assert assert_problem(wrong, 402, "payment_declined")["decline_code"] == "gift_card_unknown"


@pytest.mark.parametrize("method", ["card", "wallet"])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_payment_that_the_buyer_approves_elsewhere(
    shop: Shop, method: str, decision: str
) -> None:
    shopper = await shop.shopper("LAPTOP")
    paying = {"type": method, "return_url": _RETURN}
    paying |= {"card_id": "card_3ds"} if method == "card" else {}
    key = "the key"
    answer = await shopper.checkout(key=key, payment_method=paying)
    assert answer.status_code == 202, answer.text
    waiting = answer.json()
    assert waiting["status"] == "awaiting_payment"
    [action] = waiting["next_actions"]
    assert action["kind"] == "redirect"
    again = await shopper.checkout(key=key, payment_method=paying)
    assert (again.status_code, again.json()) == (202, waiting)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await shopper.order(waiting["order_id"]))["next_actions"] == waiting["next_actions"]
    assert await shop.stock("LAPTOP") == (999, 1)

    page = await shop.client.get(action["url"])
    assert page.status_code == 200, page.text
    back = await shop.client.post(f"{action['url']}/{decision}")
    assert back.status_code == 303
    assert back.headers["location"].startswith(_RETURN)

    async def settled() -> dict[str, Any] | None:
        await shop.recovery.settle_waiting()
        order = await shopper.order(waiting["order_id"])
        return None if order["status"] == "awaiting_payment" else order

    order = await until(settled)
    assert order["status"] == ("confirmed" if decision == "approve" else "failed")
    assert "next_actions" not in order
    if decision == "deny":
        assert order["failure"]["type"] == "/problems/payment_declined"
        assert await shop.stock("LAPTOP") == (1_000, 0)
    assert await shop.broken_promises() == {}


async def test_a_bank_transfer_is_waited_for(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    answer = await shopper.checkout(payment_method={"type": "bank_transfer"})
    assert answer.status_code == 202, answer.text
    [action] = answer.json()["next_actions"]
    assert action["kind"] == "transfer"
    assert action["instructions"]
    assert (action["amount"], action["currency"]) == (answer.json()["grand_total"], "USD")
    assert action["amount_minor"] == round(action["amount"] * 100)
    days_ahead = await shop.pool.fetchval(
        "SELECT min(expires_at) - now() > interval '6 days' FROM inventory_reservations"
    )
    assert days_ahead, "the stock waits as long as the order"
    transaction_id = await shop.pool.fetchval("SELECT transaction_id FROM payments")
    await shop.parts.providers.simulated.settle_transfer(transaction_id)
    await shop.parts.orders.events_settled(await shop.pool.fetchval("SELECT now()"))
    await shop.pool.execute("UPDATE orders SET looked_at = '-infinity'")
    await shop.recovery.settle_waiting()
    assert (await shopper.order(answer.json()["order_id"]))["status"] == "confirmed"
    assert await shop.broken_promises() == {}


async def test_an_order_that_is_not_paid_in_time_is_given_up(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    answer = await shopper.checkout(
        payment_method={"type": "card", "card_id": "card_3ds", "return_url": _RETURN}
    )
    assert answer.status_code == 202
    await shop.pool.execute("UPDATE orders SET waits_until = now() - interval '1 second'")
    await shop.recovery.settle_waiting()
    order = await shopper.order(answer.json()["order_id"])
    assert order["failure"]["type"] == "/problems/payment_expired"
    assert await shop.stock("LAPTOP") == (1_000, 0)
    transaction_id = await shop.pool.fetchval("SELECT transaction_id FROM payments")
    await shop.parts.providers.simulated.approve(transaction_id)  # too late
    assert await shop.broken_promises() == {}


async def test_the_total_that_was_shown_is_what_is_charged(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    asked = {"cart_id": shopper.cart_id, "shipping_address": {"country": "US", "state": "CA"}}
    quote = (await shopper.call("POST", "orders/quote", json=asked)).json()
    assert quote["grand_total"] == _LAPTOP_TOTAL
    changed = await shopper.checkout(expected_total=quote["grand_total"] - 0.01)
    problem = assert_problem(changed, 409, "total_changed")
    assert problem["grand_total"] == _LAPTOP_TOTAL
    assert await shop.pool.fetchval("SELECT count(*) FROM orders") == 0
    answer = await shopper.checkout(expected_total=problem["grand_total"])
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "methods",
    [
        {"payment_method": {"type": "card"}},
        {"payment_method": {"type": "wallet"}},
        {"payment_method": {"type": "gift_card"}},
        {"payment_method": {"type": "invoice", "card_id": "card_1"}},
        {"payment_method": {"type": "card", "card_id": "card_1", "amount": 3.0}},
        {"payment_method": {"type": "card", "card_id": "card_1", "method_id": "method_1"}},
        {"payment_method": {"type": "card", "method_id": "method_unknown"}},
        {"payment_method": None},
        {"payment_method": None, "payment_methods": [{"type": "card", "card_id": "card_1"}]},
        {
            "payment_method": None,
            "payment_methods": [
                {"type": "card", "card_id": "card_1", "amount": 1.0},
                {"type": "store_credit", "amount": 1.0},
            ],
        },
        {
            "payment_method": None,
            "payment_methods": [
                {"type": "card", "card_id": "card_1"},
                {"type": "store_credit"},
            ],
        },
        {
            "payment_method": None,
            "payment_methods": [
                {"type": "card", "card_id": "card_1"},
                {"type": "store_credit", "amount": 99_999.0},
            ],
        },
        {
            "payment_method": None,
            "payment_methods": [
                {"type": "card", "card_id": "card_1"},
                {"type": "store_credit", "amount": 0.001},
            ],
        },
    ],
)
async def test_what_cannot_pay_is_said_before_anything_is_held(
    shop: Shop, methods: dict[str, Any]
) -> None:
    shopper = await shop.shopper("LAPTOP")
    assert_problem(await shopper.checkout(**methods), 422, "validation")
    assert await shop.pool.fetchval("SELECT count(*) FROM orders") == 0
    assert await shop.stock("LAPTOP") == (1_000, 0)


async def test_amounts_that_do_not_add_up_are_told_the_total(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    methods = [
        {"type": "card", "card_id": "card_1", "amount": 1.0},
        {"type": "store_credit", "amount": 1.0},
    ]
    answer = await shopper.checkout(payment_method=None, payment_methods=methods)
    problem = assert_problem(answer, 422, "validation")
    assert "do not come to 1,413.98 USD; ask for a quote first" in problem["detail"]


async def test_the_last_use_of_a_coupon_goes_to_one_buyer(shop_with: OpenShop) -> None:
    async with shop_with() as shop:
        await shop.pool.execute(
            "INSERT INTO promotions (promotion_id, code, label, kind, percent_bps, starts_at,"
            " uses_max) VALUES ($1, 'HALF', 'Half', 'percent', 5000, now() - interval '1 day', 1)",
            UUID(int=7),
        )
        await shop.pool.execute(
            "INSERT INTO promotion_counters (promotion_id, uses, uses_max) VALUES ($1, 0, 1)",
            UUID(int=7),
        )
        shoppers = [await shop.shopper("LAPTOP") for _ in range(5)]

        async def bought(shopper: Shopper) -> httpx.Response:
            async with asyncio.timeout(10):
                while True:  # until the replica has read of the coupon
                    answer = await shopper.checkout(coupons=["half"])
                    if answer.status_code != 422:
                        return answer

        answers = await asyncio.gather(*map(bought, shoppers))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
        [won] = [answer.json() for answer in answers if answer.status_code == 201]
        assert won["discount"] == 650.0  # half of 1299.99, rounded half up
        for answer in answers:
            if answer.status_code == 409:
                assert_problem(answer, 409, "coupon_used_up")
        order = await _one_confirmed(shop)
        assert order["pricing"]["promotions"][0]["promotion_id"] == str(UUID(int=7))
        assert await shop.stock("LAPTOP") == (999, 1)
        assert await shop.broken_promises() == {}


async def _one_confirmed(shop: Shop) -> dict[str, Any]:
    [row] = await shop.pool.fetch("SELECT * FROM orders WHERE status = 'confirmed'")
    return dict(row)


async def test_contact_data_is_sealed(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    contact = {"email": "ada@example.org", "phone": "+1 415 555 0100"}
    answer = await shopper.checkout(contact=contact)
    assert answer.status_code == 201, answer.text
    order_id = ids.decode("order", answer.json()["order_id"])
    kept = await shop.parts.orders.personal(order_id)
    assert kept is not None
    assert kept.contact == contact
    assert b"ada@" not in (await _one_order(shop))["sealed_personal"]
