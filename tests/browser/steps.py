"""What shoppers do again and again on the way to an order."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.fake_catalog import HOT_NAME

CODE = "BCDF-GHJK-LMNP-QRST-VWXZ-BCDF"
"""A gift card's."""
THANKS = "Thank you. Your order is in."
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


def choose(page: Page, way: str) -> None:
    page.locator(f'[name="pay"][value="{way}"]').check()


def heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", name=name)


def paid(visit: Visit) -> dict[str, Any]:
    """What the one checkout that was decided said."""
    [body] = visit.shop.till.bodies
    return body


def only_order(visit: Visit) -> str:
    [order_id] = visit.shop.orders
    return order_id


def give_coupon(page: Page, code: str) -> None:
    page.locator("#coupon").fill(code)
    page.get_by_role("button", name="Add", exact=True).click()


def look_again(page: Page) -> None:
    """As if the shopper had looked elsewhere; looking again asks at once."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
