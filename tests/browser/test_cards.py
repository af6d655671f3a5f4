"""Which cards the checkout offers: saved ones, and made-up ones only where no money moves."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.steps import (
    THANKS,
    choose,
    fill_in_checkout,
    give_coupon,
    heading,
    paid,
    place_order,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
expect.set_options(timeout=PATIENCE_MS)


def saved_card(digits: str, *, default: bool) -> dict[str, Any]:
    return {
        "method_id": f"method_{digits}",
        "type": "card",
        "brand": "visa",
        "last_four": digits,
        "expiry_month": 3,
        "expiry_year": 2034,
        "default": default,
    }


def test_saved_cards_come_first(visit: Visit) -> None:
    visit.shop.till.methods = [saved_card("1881", default=True), saved_card("0005", default=False)]
    fill_in_checkout(visit)
    page = visit.page
    expect(page.get_by_text("Your saved cards, and those of the simulated")).to_be_visible()
    expect(page.locator("footer")).to_contain_text("Payments here are simulated")
    expect(page.locator("[name=card_id]")).to_have_count(8)
    expect(page.get_by_label("Visa ending 1881")).to_be_checked()
    page.get_by_label("Visa ending 0005").check()
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    method = paid(visit)["payment_method"]
    assert (method["method_id"], "card_id" in method) == ("method_0005", False)
    expect(page.locator(".payments li")).to_contain_text("Card ending 0005")


def test_where_a_real_provider_takes_cards_none_is_made_up(visit: Visit) -> None:
    visit.shop.takes_cards = "stripe"
    visit.shop.till.store_credit = 25.0
    fill_in_checkout(visit)
    page = visit.page
    expect(page.locator("footer")).not_to_contain_text("simulated")
    cards = page.locator(".cards")
    expect(cards).to_contain_text("You have no saved card here. A new card is entered in Stripe's")
    expect(page.locator("[name=card_id]")).to_have_count(0)
    place_order(page)
    expect(page.locator("#problem-card_id")).to_contain_text("no card to pay with")
    choose(page, "store_credit")
    place_order(page)  # the rest would have to come from a card
    expect(page.locator("#problem-card_id")).to_contain_text("no card to pay with")
    give_coupon(page, "ALL")
    expect(page.get_by_text("There is nothing to pay.")).to_be_visible()
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert visit.shop.till.bodies[0]["expected_total"] == 0


def test_a_real_providers_saved_card_pays(visit: Visit) -> None:
    visit.shop.takes_cards = "stripe"
    visit.shop.till.methods = [saved_card("4242", default=True)]
    fill_in_checkout(visit)
    page = visit.page
    expect(page.locator(".cards")).to_contain_text("These are your saved cards. A new card is")
    place_order(page)
    expect(heading(page, THANKS)).to_be_visible()
    assert paid(visit)["payment_method"]["method_id"] == "method_4242"
