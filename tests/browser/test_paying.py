"""Prices and every way to pay, as shoppers meet them in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.fake_checkout import Refusal
from tests.browser.steps import (
    CODE,
    THANKS,
    choose,
    fill_in_checkout,
    give_coupon,
    heading,
    only_order,
    paid,
    place_order,
    price_is_told,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
expect.set_options(timeout=PATIENCE_MS)

TOTAL = 225.41
"""The headphones with 8.25 % of tax and standard shipping."""


def test_the_price_follows_the_form_and_every_line_is_explained(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    total = page.locator(".prices details.sum > summary")
    expect(total).to_contain_text("$225.41")
    price_is_told(page)
    page.get_by_label("Express").check()
    expect(total).to_contain_text("$240.41")
    expect(page.locator("#announce")).to_have_text("Total $240.41")
    tax = page.locator('[data-key="tax"]')
    tax.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(tax.get_by_text("8.25 % tax, US-NV")).to_be_visible()
    page.get_by_label("Standard").check()
    expect(total).to_contain_text("$225.41")
    expect(tax).to_have_attribute("open", "")  # stays as it was left
    page.get_by_label("State", exact=True).select_option("")
    expect(page.get_by_text("once you choose the state")).to_be_visible()
    page.get_by_label("Country").select_option("DE")
    expect(page.get_by_label("State")).to_have_attribute("maxlength", "100")
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["expected_total"] == TOTAL
    assert "contact" not in paid(visit)


def test_typing_asks_for_few_prices(visit: Visit) -> None:
    fill_in_checkout(visit)
    price_is_told(visit.page)
    before = visit.shop.till.quotes
    visit.page.get_by_label("Postal code").fill("")
    visit.page.get_by_label("Postal code").press_sequentially("89502")
    visit.page.get_by_label("City").fill("Sparks")  # no price depends on it
    visit.until(lambda: visit.shop.till.quotes > before)
    price_is_told(visit.page)
    assert visit.shop.till.quotes - before <= 2


def test_coupons_come_off_and_can_be_taken_away_again(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    price_is_told(page)
    give_coupon(page, "HALF")
    expect(page.locator('[data-key="discount"]')).to_contain_text("-$99.50")
    give_coupon(page, "SAVE10")
    expect(page.get_by_text("Coupon SAVE10 takes nothing more off")).to_be_visible()
    page.get_by_role("button", name="Remove coupon SAVE10").click()
    expect(page.locator(".chips li")).to_have_count(1)
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    expect(page.get_by_text("-$99.50")).to_be_visible()
    assert paid(visit)["coupons"] == ["HALF"]


def test_a_refused_coupon_is_said_in_the_shops_words_and_costs_nothing(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    price_is_told(page)
    page.locator("#coupon").fill("OLD")
    page.locator("#coupon").press("Enter")
    expect(page.get_by_text("Coupon OLD is not valid any more; leave it out.")).to_be_visible()
    expect(page.locator("#coupon")).to_be_focused()
    expect(page.locator(".chips li")).to_have_count(0)
    assert not visit.shop.seen_keys
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert "coupons" not in paid(visit)


def test_a_coupon_that_another_buyer_used_up_is_taken_out_and_the_total_shown(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    give_coupon(page, "HALF")
    expect(page.locator('[data-key="discount"]')).to_be_visible()
    detail = "HALF is used up: another buyer had the last use a moment before"
    extra = {"coupon": "HALF", "reason": "coupon_used_up", "detail": detail}
    visit.shop.answer_next(
        "/checkout", Refusal(kind="coupon_used_up", status=409, extra=extra), times=1
    )
    place_order(page)
    expect(page.get_by_text(f"{detail}. Nothing was charged. Without it the")).to_be_visible()
    expect(page.locator(".chips li")).to_have_count(0)
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["expected_total"] == TOTAL
    assert len(set(visit.shop.seen_keys)) == 2


def test_a_total_that_changed_is_shown_and_asked_for_again(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    price_is_told(page)
    visit.shop.till.surcharge = 10.0
    place_order(page)
    words = "The total is $236.23 now, not $225.41. Nothing was ordered or charged."
    expect(page.get_by_text(words)).to_be_visible()
    button = page.get_by_role("button", name="Place order · $236.23")
    expect(button).to_be_focused()
    assert not visit.shop.orders
    button.press("Enter")
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["expected_total"] == 236.23
    assert len(set(visit.shop.seen_keys)) == 2


def test_without_a_price_nothing_is_ordered(visit: Visit) -> None:
    refusal = Refusal(kind="internal", status=500, extra={"retry_after": 0.01})
    visit.shop.answer_next("/quote", refusal, times=4)
    fill_in_checkout(visit)
    page = visit.page
    again = page.get_by_role("button", name="Work out the total again")
    page.get_by_role("button", name="Place order").click()
    visit.until(lambda: not visit.shop.refusals["/quote"])
    if again.is_visible():
        again.click()
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert len(visit.shop.orders) == 1


def test_the_address_of_the_buyer_is_checked_and_sent(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    page.get_by_label("E-mail").fill("ada at example")
    place_order(page)
    expect(page.get_by_text("This is no e-mail address")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.get_by_label("E-mail").fill("ada@example.com")
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["contact"] == {"email": "ada@example.com"}


@pytest.mark.parametrize(
    ("card", "words"),
    [("0119", "could not process the card"), ("9995", "does not have enough funds")],
)
def test_a_card_that_is_declined_says_why(visit: Visit, card: str, words: str) -> None:
    fill_in_checkout(visit)
    page = visit.page
    page.get_by_label(f"Visa ending {card}").check()
    place_order(page)
    expect(page.locator("#problem-card_id")).to_contain_text(words)
    expect(page.get_by_label(f"Visa ending {card}")).to_be_focused()


@pytest.mark.parametrize("has_resume", [True, False], ids=["resume", "polling"])
def test_a_card_that_asks_the_bank_goes_there_and_back(visit: Visit, has_resume: bool) -> None:
    visit.shop.till.has_resume = has_resume
    fill_in_checkout(visit)
    page = visit.page
    page.get_by_label("Visa ending 3220").check()
    place_order(page)
    expect(heading(page, "Simulated payment provider")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(heading(page, THANKS)).to_be_visible()
    assert "redirect_status" not in page.url
    assert page.url.endswith(f"/#/order/{only_order(visit)}?back")
    assert paid(visit)["payment_method"]["return_url"] == f"{visit.origin}/#/back"
    assert (visit.shop.till.resumed > 0) == has_resume
    page.get_by_role("navigation").get_by_role("link", name="Orders").click()
    expect(page.get_by_text("Waiting for payment")).to_have_count(0)


def test_a_wallet_that_is_not_approved_fails_and_the_items_come_back(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "wallet")
    place_order(page)
    page.get_by_role("button", name="Deny").click()
    expect(heading(page, "Your order was not completed")).to_be_visible()
    expect(page.get_by_text("You did not confirm the payment")).to_be_visible()
    page.get_by_role("button", name="Try again with these items").click()
    expect(page.get_by_label("City")).to_have_value("Reno")
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()


def test_who_comes_back_undecided_may_go_there_again(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "wallet")
    place_order(page)
    expect(heading(page, "Simulated payment provider")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Held for you for another 14 min")).to_be_visible()
    page.get_by_role("link", name="Go to the payment page").click()
    page.get_by_role("button", name="Approve").click()
    expect(heading(page, THANKS)).to_be_visible()


def test_coming_back_to_another_tab_finds_the_order_that_waits(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "wallet")
    place_order(page)
    page.get_by_role("button", name="Approve").wait_for()
    visit.shop.till.agree(only_order(visit), is_agreed=True)
    page.evaluate("sessionStorage.clear()")
    visit.open("/?payment_intent=x&redirect_status=succeeded#/back")
    expect(heading(page, THANKS)).to_be_visible()
    page.evaluate("localStorage.removeItem('doorbuster.orders')")
    visit.open("/#/back")
    expect(heading(page, "Welcome back")).to_be_visible()
    expect(page.get_by_text("does not know which order")).to_be_visible()


def test_a_gift_card_that_pays_it_all(visit: Visit) -> None:
    visit.shop.till.gift_cards[CODE] = 300.0
    fill_in_checkout(visit)
    page = visit.page
    price_is_told(page)
    choose(page, "gift_card")
    page.get_by_label("Code of the gift card").fill(CODE)
    page.get_by_role("button", name="Check balance").click()
    expect(page.locator(".rest:visible")).to_contain_text("$74.59 stays on it")
    expect(page.locator("[name=card_id]")).to_have_count(0)
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["payment_method"] == {"type": "gift_card", "code": CODE}


def test_a_gift_card_and_the_rest_by_card(visit: Visit) -> None:
    visit.shop.till.gift_cards[CODE] = 50.0
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "gift_card")
    place_order(page)
    expect(page.get_by_text("Type the code of the gift card first.")).to_be_visible()
    page.get_by_label("Code of the gift card").fill("NO SUCH CODE")
    place_order(page)
    expect(page.get_by_text("No gift card has this code.")).to_be_visible()
    page.get_by_label("Code of the gift card").fill(CODE)
    place_order(page)  # it turns out that a card has to be chosen, too
    expect(page.locator(".rest:visible")).to_contain_text("the rest, $175.41, by the card")
    page.get_by_label("Visa ending 0002").check()
    place_order(page)
    expect(page.locator("#problem-card_id")).to_contain_text("declined by its bank")
    page.get_by_label("Visa ending 4242").check()
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    expect(page.locator(".payments li")).to_contain_text(
        ["Gift card ending BCDFPaid$50.00", "CardPaid$175.41"]
    )
    gift, card = paid(visit)["payment_methods"]
    assert gift == {"type": "gift_card", "code": CODE, "amount": 50.0}
    assert card["card_id"] == "card_visa_4242"
    assert "amount" not in card


def test_store_credit_and_invoice_are_offered_to_those_who_have_them(visit: Visit) -> None:
    visit.shop.till.store_credit = 25.0
    visit.shop.till.invoice_limit = 100.0
    fill_in_checkout(visit)
    page = visit.page
    choose(page, "invoice")
    place_order(page)
    expect(page.locator("#problem-pay")).to_contain_text("more than your limit")
    choose(page, "store_credit")
    expect(page.locator(".rest:visible")).to_contain_text("the rest, $200.41, by the card")
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    credit, _ = paid(visit)["payment_methods"]
    assert credit == {"type": "store_credit", "amount": 25.0}


def test_an_invoice_pays_later(visit: Visit) -> None:
    visit.shop.till.invoice_limit = 1_000.0
    fill_in_checkout(visit)
    choose(visit.page, "invoice")
    place_order(visit.page)
    expect(heading(visit.page, THANKS)).to_be_visible()
    assert paid(visit)["payment_method"] == {"type": "invoice"}
    told = visit.page.locator(".payments li")
    expect(told).to_contain_text("Invoice INV-000042")
    expect(told).to_contain_text("$225.41 open, due Wednesday, January 15, 2031")


def test_only_what_a_shopper_has_is_offered(visit: Visit) -> None:
    fill_in_checkout(visit)
    price_is_told(visit.page)
    ways = visit.page.locator("[name=pay]")
    values = ways.evaluate_all("all => all.map(one => one.value)")
    assert values == ["card", "wallet", "bank_transfer", "gift_card"]


def test_nothing_to_pay_asks_for_nothing(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    give_coupon(page, "ALL")
    expect(page.get_by_text("There is nothing to pay.")).to_be_visible()
    expect(page.locator("[name=pay]:visible")).to_have_count(0)
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["expected_total"] == 0


def test_the_order_can_be_placed_however_much_is_shown(visit: Visit, width_px: int) -> None:
    visit.page.set_viewport_size({"width": width_px, "height": 600})
    fill_in_checkout(visit)
    page = visit.page
    price_is_told(page)
    page.evaluate(
        "document.querySelectorAll('aside details').forEach((one) => { one.open = true; })"
    )
    give_coupon(page, "OLD")
    expect(page.get_by_text("is not valid any more")).to_be_in_viewport(ratio=0.95)
    button = page.get_by_role("button", name="Place order")
    if width_px == 1280:
        expect(button).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.querySelector('.scrolls').scrollHeight") > 600
    else:
        button.scroll_into_view_if_needed()
        expect(button).to_be_in_viewport(ratio=1)
