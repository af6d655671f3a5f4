"""What shoppers do again and again on the way to an order."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.fake_catalog import HOT_NAME

ADDRESS = {
    "Full name": "Ada Byron",
    "Street and number": "12 St James's Square",
    "City": "Reno",
    "Postal code": "89501",
}


def product_path(visit: Visit, name: str) -> str:
    return "/#/product/" + next(p["product_id"] for p in visit.shop.products if p["name"] == name)


def put_in_cart(visit: Visit, name: str = HOT_NAME) -> None:
    page = visit.open(product_path(visit, name))
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("1 in your cart.")).to_be_visible()


def fill_in_address(page: Page) -> None:
    for label, text in ADDRESS.items():
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_label("State", exact=True).select_option("NV")


def fill_in_checkout(visit: Visit) -> None:
    put_in_cart(visit)
    page = visit.open("/#/checkout")
    fill_in_address(page)


def price_is_told(page: Page) -> None:
    """Wait until the total is that of what the form says."""
    expect(page.locator(".prices details.sum")).to_be_visible()
    expect(page.locator(".prices[aria-busy]")).to_have_count(0)


def place_order(page: Page) -> None:
    price_is_told(page)
    page.get_by_role("button", name="Place order").click()
