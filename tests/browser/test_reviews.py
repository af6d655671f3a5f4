"""The operators' review queue, in Chromium, at desktop and phone width."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.fake_catalog import XSS_NAME
from tests.browser.fake_reviews import TOKEN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
expect.set_options(timeout=PATIENCE_MS)
FIELD = "Operator’s token"


def sign_in(visit: Visit, token: str = TOKEN) -> Page:
    page = visit.open("/reviews")
    expect(page.get_by_label(FIELD)).to_be_focused()
    page.get_by_label(FIELD).fill(token)
    page.get_by_label(FIELD).press("Enter")
    return page


def order(page: Page, amount: str) -> Locator:
    return page.locator(".review", has_text=amount)


FIRST, SECOND, THIRD = "$435.83", "$178.79", "$2,811.83"


def test_what_waits_and_why(visit: Visit) -> None:
    page = sign_in(visit)
    expect(page.get_by_role("heading", name="3 orders wait")).to_be_focused()
    expect(page).to_have_title("(3) Reviews · Doorbuster")
    amounts = page.locator(".review .amount")
    expect(amounts).to_have_text([FIRST, SECOND, THIRD])
    first = order(page, FIRST)
    expect(first.get_by_text("The buyer has placed more than 5 orders")).to_be_visible()
    expect(first.get_by_text("+25.0")).to_be_visible()
    expect(first.locator(".left")).to_have_text("25 min left to decide")
    expect(order(page, THIRD).locator(".left")).to_have_text("22 h 14 min left to decide")
    expect(first.get_by_text("to United States · by card")).to_be_visible()
    expect(order(page, SECOND).get_by_text(XSS_NAME)).to_be_visible()
    assert page.locator("main script, main img[onerror]").count() == 0
    expect(page.get_by_text("No decision yet.")).to_be_visible()


def test_addresses_are_opened_when_asked_for(visit: Visit) -> None:
    page = sign_in(visit)
    first = order(page, FIRST)
    expect(first.get_by_text("ada@example.com")).to_have_count(0)
    first.get_by_text("Addresses and contact").press("Enter")
    expect(first.get_by_text("ada@example.com")).to_be_visible()
    expect(first.locator("[data-differs]")).to_have_text(
        ["12 St James's Square", "United States", "9 Elsewhere", "France"]
    )
    assert visit.sideways_px() <= 0


def test_approving_with_a_note_by_keyboard(visit: Visit) -> None:
    page = sign_in(visit)
    first = order(page, FIRST)
    first.get_by_label("Note, for the journal").fill("Called her.")
    page.keyboard.press("Tab")
    expect(first.get_by_role("button", name=f"Approve the order of {FIRST}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(first.get_by_text("Approved. The buyer is being charged.")).to_be_focused()
    order_id = next(iter(visit.shop.reviews.orders))
    assert visit.shop.reviews.decisions == [(order_id, "approve", "Called her.")]
    expect(page.get_by_role("heading", name="2 orders wait")).to_be_visible()
    entry = page.locator(".journal li")
    expect(entry).to_contain_text("Approved")
    expect(entry).to_contain_text("Called her.")
    expect(first.get_by_role("button")).to_have_count(0)
    page.get_by_role("heading", name="2 orders wait").click()
    expect(first).to_have_count(0)


def test_declining(visit: Visit) -> None:
    page = sign_in(visit)
    second = order(page, SECOND)
    second.get_by_role("button", name="Decline").click()
    expect(second.get_by_text("Declined. Nothing was charged")).to_be_visible()
    expect(page.locator(".journal li")).to_contain_text("Declined")


def test_who_comes_second_is_told(visit: Visit) -> None:
    page = sign_in(visit)
    first = order(page, FIRST)
    expect(first).to_be_visible()
    visit.shop.reviews.decide(next(iter(visit.shop.reviews.orders)), "decline", by="bob")
    first.get_by_role("button", name="Approve").click()
    expect(first.get_by_text("bob was quicker: declined. Nothing was changed.")).to_be_visible()


def test_the_queue_keeps_itself_up_to_date(visit: Visit) -> None:
    page = sign_in(visit)
    expect(page.locator(".review")).to_have_count(3)
    first, second, _ = visit.shop.reviews.orders
    order(page, SECOND).get_by_label("Note, for the journal").fill("hm")
    visit.shop.reviews.decide(first, "approve", by="bob")
    visit.shop.reviews.decide(second, "approve", by="bob")
    visit.shop.reviews.add("Field Watch", 50.0, "US", ("address_mismatch",), 60)
    expect(order(page, "$113.99")).to_contain_text("1 min left")
    expect(order(page, FIRST)).to_have_count(0)
    # Where somebody writes, the card stays and says so.
    expect(order(page, SECOND)).to_contain_text("It waits no more")
    expect(page.get_by_role("heading", name="2 orders wait")).to_be_visible()


def test_orders_of_one_buyer_are_recognised(visit: Visit) -> None:
    for price in (50.0, 60.0):
        visit.shop.reviews.add("Field Watch", price, "US", ("high_velocity",), 9_000, customer=1)
    page = sign_in(visit)
    for amount in (FIRST, "$113.99", "$135.59"):
        expect(order(page, amount).locator(".buyer")).to_have_text(
            "buyer …000001 · 3 orders of this buyer wait"
        )
    expect(order(page, SECOND).locator(".buyer")).to_have_text("buyer …000002")
    visit.shop.reviews.decide(next(iter(visit.shop.reviews.orders)), "decline", by="bob")
    expect(order(page, "$113.99").locator(".buyer")).to_contain_text("2 orders of this buyer wait")


def test_what_became_of_an_approved_order_is_told(visit: Visit) -> None:
    first, second, _ = visit.shop.reviews.orders
    visit.shop.reviews.decide(first, "approve")
    visit.shop.reviews.fail(first, "insufficient_funds")
    visit.shop.reviews.decide(second, "decline")
    page = sign_in(visit)
    entries = page.locator(".journal li")
    expect(entries).to_have_count(2)
    expect(entries.nth(1)).to_contain_text("Not completed")
    expect(entries.nth(1)).to_contain_text("The card does not have enough funds.")
    expect(entries.nth(0).locator(".note")).to_have_count(0)


def test_a_sku_is_not_broken(visit: Visit) -> None:
    page = sign_in(visit)
    skus = page.locator(".sku")
    expect(skus).to_have_count(3)
    heights = skus.evaluate_all("all => all.map((one) => one.getClientRects().length)")
    lines = skus.evaluate_all(
        "all => all.map((one) => one.clientHeight / parseFloat(getComputedStyle(one).lineHeight))"
    )
    assert heights == [1, 1, 1]
    assert all(1 <= round(one, 1) < 1.5 for one in lines)


def test_nothing_waits(visit: Visit) -> None:
    visit.shop.reviews.orders.clear()
    page = sign_in(visit)
    expect(page.get_by_text("Nothing waits for a decision.")).to_be_visible()
    expect(page.get_by_role("heading", name="0 orders wait")).to_be_visible()
    expect(page).to_have_title("Reviews · Doorbuster")


def test_many_come_a_page_at_a_time(visit: Visit) -> None:
    for _ in range(25):
        visit.shop.reviews.add("Mug", 10.0, "US", ("new_payment_method",), 9_000)
    page = sign_in(visit)
    expect(page.locator(".review")).to_have_count(20)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".review")).to_have_count(28)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("operator_x.1.2", "this token is not valid"),
        ("user_01.abc", "this token is a customer's"),
        ("two words", "Paste the whole token"),
    ],
)
def test_the_door_says_what_is_wrong(visit: Visit, token: str, says: str) -> None:
    page = sign_in(visit, token)
    expect(page.get_by_role("alert").filter(has_text=says)).to_be_visible()
    expect(page.get_by_label(FIELD)).to_be_focused()
    expect(page.locator(".review")).to_have_count(0)


def test_the_token_is_kept_until_one_signs_out(visit: Visit) -> None:
    page = sign_in(visit)
    expect(page.locator(".review")).to_have_count(3)
    page.reload()
    expect(page.locator(".review")).to_have_count(3)
    expect(page.locator("#who")).to_have_text("ann")
    assert page.evaluate("localStorage.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label(FIELD)).to_be_focused()
    expect(page.locator(".review")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label(FIELD)).to_be_focused()


def test_a_lost_connection_is_said_and_taken_up_again(visit: Visit) -> None:
    page = sign_in(visit)
    expect(page.locator(".review")).to_have_count(3)
    visit.shop.is_down = True
    order(page, FIRST).get_by_role("button", name="Approve").click()
    expect(order(page, FIRST).get_by_text("The shop did not answer.")).to_be_visible()
    expect(page.get_by_text("Lost connection, retrying")).to_be_visible()
    visit.shop.is_down = False
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    order(page, FIRST).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved. The buyer is being charged.")).to_be_visible()


def test_the_dashboard_leads_here(visit: Visit) -> None:
    page = visit.open("/dashboard")
    page.get_by_role("link", name="Reviews").click()
    expect(page.get_by_role("heading", name="Operators only")).to_be_visible()
