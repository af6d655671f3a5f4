"""What is told of an order that was placed: transfers, reviews, how it was paid, and refunds."""

from __future__ import annotations

from datetime import date

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.fake_checkout import INSTRUCTIONS, Refusal
from tests.browser.steps import (
    CODE,
    THANKS,
    choose,
    fill_in_checkout,
    heading,
    look_again,
    only_order,
    place_order,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
expect.set_options(timeout=PATIENCE_MS)


def test_a_transfer_shows_where_to_send_the_money(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fill_in_checkout(visit)
    choose(page, "bank_transfer")
    place_order(page)
    expect(heading(page, "Your order waits for your transfer")).to_be_visible()
    labels, texts = page.locator(".transfer dt"), page.locator(".transfer dd")
    expect(labels).to_have_text(["Account holder", "IBAN", "BIC", "Amount", "Reference"])
    holder, bic, reference = (INSTRUCTIONS[one] for one in ("account_holder", "bic", "reference"))
    iban = "XX00 0000 0000 0000 0000 00"
    expect(texts).to_have_text([holder, iban, bic, "$100.41", reference])  # not the whole order
    expect(page.get_by_text("We'll tell you here when it has come")).to_be_visible()
    expect(page.get_by_text("Held for you until")).to_be_visible()
    page.get_by_role("button", name="Copy: Reference").click()
    expect(page.locator("#announce")).to_have_text("Reference copied")
    assert page.evaluate("navigator.clipboard.readText()") == reference
    page.get_by_role("button", name="Copy: IBAN").click()
    expect(page.locator("#announce")).to_have_text("IBAN copied")
    assert page.evaluate("navigator.clipboard.readText()") == INSTRUCTIONS["iban"]
    visit.shop.till.decide(only_order(visit))
    look_again(page)
    expect(heading(page, THANKS)).to_be_focused()


def test_a_transfer_as_stripe_tells_it(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "bank_transfer")
    place_order(page)
    expect(page.locator(".transfer")).to_be_visible()
    [action] = visit.shop.orders[only_order(visit)]["next_actions"]
    action |= {"amount": None, "amount_minor": None, "currency": None}
    action["instructions"] = {
        "reference": "AB12",
        "amount_remaining": "22541",
        "currency": "usd",
        "aba.account_number": "000123",
        "aba.routing_number": "110000000",
        "swift.account_number": "000456",
        "swift.swift_code": "TESTUS99XXX",
    }
    page.reload()
    texts = page.locator(".transfer dd")
    aba, swift = ["110000000", "000123"], ["TESTUS99XXX", "000456"]
    expect(texts).to_have_text([*aba, *swift, "$225.41", "AB12"])
    expect(page.locator(".transfer dt").first).to_have_text("Routing number (ABA)")
    action |= {"amount": 25.41, "amount_minor": 2_541, "currency": "USD"}  # a part of the order
    page.reload()
    expect(texts).to_have_text([*aba, *swift, "$25.41", "AB12"])


def test_an_order_in_review_says_so_and_what_came_of_it(visit: Visit) -> None:
    visit.shop.till.reviews = True
    fill_in_checkout(visit)
    page = visit.page
    place_order(page)
    expect(heading(page, "Somebody looks at your order first")).to_be_visible()
    expect(page.get_by_text("Before anything is charged")).to_be_visible()
    extra = {"decline_code": "fraudulent"}
    refusal = Refusal(kind="payment_declined", status=402, extra=extra)
    visit.shop.till.decide(only_order(visit), refusal)
    look_again(page)
    expect(heading(page, "Your order was not completed")).to_be_focused()
    expect(page.get_by_text("could not accept it. Nothing was charged")).to_be_visible()


def test_credit_and_refunds_are_shown(visit: Visit) -> None:
    visit.shop.till.gift_cards[CODE] = 12.5
    visit.shop.till.store_credit = 25.0
    fill_in_checkout(visit)
    page = visit.page
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    order = visit.shop.orders[only_order(visit)]
    refund = {"amount": 12.5, "currency": "USD", "reason": "broken", "status": "done"}
    order["refunds"] = [{**refund, "created_at": order["placed_at"]}]
    page.reload()
    expect(page.locator(".refunds li")).to_contain_text("Paid back")
    expect(page.locator(".refunds li")).to_contain_text("broken")
    expect(page.locator(".refunds li")).to_contain_text("$12.50")
    page.get_by_role("navigation").get_by_role("link", name="Orders").click()
    expect(page.get_by_text("$25.00")).to_be_visible()
    page.get_by_label("What is on a gift card?").fill("NOTHING")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("No gift card has this code.")).to_be_visible()
    page.get_by_label("What is on a gift card?").fill(CODE)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("$12.50 on the card ending BCDF.")).to_be_visible()
    visit.shop.till.good_until = date(2031, 12, 31)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("BCDF, good until Wednesday, December 31, 2031.")).to_be_visible()
    limit = Refusal(kind="too_many_attempts", status=429, extra={"retry_after": 1800})
    visit.shop.answer_next("/gift-cards/balance", limit)
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Please try again in 30 minutes.")).to_be_visible()


def test_an_order_that_was_refunded_is_marked(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Orders").click()
    line = page.locator("[data-order]")
    expect(line).to_contain_text("$225.41")
    expect(line).not_to_contain_text("Refunded")
    for payment in visit.shop.orders[only_order(visit)]["payments"]:
        payment["status"] = "refunded"
    page.reload()
    expect(line).to_contain_text("Refunded")
    line.get_by_role("link").click()
    expect(page.get_by_text("all of it has been paid back")).to_be_visible()
    expect(page.get_by_text("Arrives by")).to_have_count(0)
    expect(page.locator(".payments li")).to_contain_text("Paid back")
