"""The pages as people meet them: in Chromium, at desktop and phone width."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.fake_api import Refusal
from tests.browser.fake_catalog import HOT_NAME, XSS_NAME
from tests.browser.steps import (
    fill_in_address,
    fill_in_checkout,
    place_order,
    product_path,
    put_in_cart,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
expect.set_options(timeout=PATIENCE_MS)

DECLINED = "Visa ending 0002"
HIDE = """is => {
    Object.defineProperty(document, "hidden", {get: () => is, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_from_search_to_order(visit: Visit) -> None:
    page = visit.open("/")
    expect(page.get_by_text("36 products", exact=True)).to_be_visible()
    page.get_by_role("searchbox").fill("headphones")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("heading", name="“headphones”")).to_be_visible()
    page.get_by_role("link", name=HOT_NAME).first.click()
    expect(page.get_by_role("heading", name=HOT_NAME)).to_be_focused()
    expect(page.get_by_text("In stock: 500 left")).to_be_visible()
    page.get_by_label("Quantity").fill("2")
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("link", name="Go to cart").click()
    expect(page.get_by_text("$398.00").first).to_be_visible()
    assert visit.sideways_px() <= 0
    page.get_by_role("link", name="Check out").click()
    page.get_by_role(
        "button", name="Place order"
    ).click()  # too early: each field says so, and the first has the focus
    expect(page.get_by_text("Please fill in: city.")).to_be_visible()
    expect(page.get_by_label("Full name")).to_be_focused()
    fill_in_address(page)
    page.get_by_label("Express").check()
    assert visit.sideways_px() <= 0
    place_order(page)
    expect(page.get_by_role("heading", name="Thank you. Your order is in.")).to_be_focused()
    expect(page.get_by_text("Confirmed", exact=True)).to_be_visible()
    expect(page.get_by_text("$24.99")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Orders").click()
    expect(page.get_by_text(next(iter(visit.shop.orders)))).to_be_visible()


def test_facets_and_pages_narrow_and_turn(visit: Visit, width_px: int) -> None:
    page = visit.open("/")
    expect(page.get_by_text("36 products", exact=True)).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    if width_px == 390:
        page.get_by_text("Filters").click()
    page.get_by_role("link", name="Shoes 4").click()
    expect(page.get_by_text("4 products", exact=True)).to_be_visible()
    page.get_by_label("Max").fill("140")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("2 products", exact=True)).to_be_visible()
    page.get_by_role("link", name="Clear all filters").click()
    expect(page.get_by_text("36 products", exact=True)).to_be_visible()


def test_a_name_with_markup_is_shown_as_text(visit: Visit) -> None:
    page = visit.open("/#/search?q=lamp&category=Home")
    expect(page.locator(".card-name", has_text="<img src=x")).to_be_visible()
    page.get_by_text("<script>alert(1)</script>").click()
    expect(page.get_by_role("heading", name=XSS_NAME)).to_be_visible()
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("link", name="Go to cart").click()
    expect(page.get_by_role("link", name=XSS_NAME)).to_be_visible()
    assert page.locator("main script, main img[onerror]").count() == 0
    assert page.title() == "Cart · Doorbuster"


def test_sold_out_before_and_during_checkout(visit: Visit) -> None:
    page = visit.open(product_path(visit, "Field Watch 38 mm"))
    expect(page.get_by_text("Sold out")).to_be_visible()
    expect(page.get_by_role("button", name="Add to cart")).to_be_disabled()
    fill_in_checkout(visit)
    visit.shop.products[0]["variants"][0]["available"] = 0
    place_order(page)
    said = f"{HOT_NAME}: Sold out: the last one has just gone. Nothing was charged."
    expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
    expect(page.get_by_role("link", name="Change your cart")).to_be_visible()


def test_a_variant_is_chosen_by_its_options(visit: Visit) -> None:
    page = visit.open(product_path(visit, "Trail Runner Shoe"))
    expect(page.locator(".stock")).to_have_text("Only 7 left")
    page.get_by_role("radio", name="41").check(force=True)
    expect(page.locator(".stock")).to_have_text("Sold out")
    page.get_by_role("radio", name="42").check(force=True)
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("1 in your cart.")).to_be_visible()
    page.get_by_role("link", name="Go to cart").click()
    expect(page.get_by_text("SHO-001-2")).to_be_visible()


def test_what_is_left_changes_while_one_looks(visit: Visit) -> None:
    page = visit.open(product_path(visit, HOT_NAME))
    [variant] = next(p for p in visit.shop.products if p["name"] == HOT_NAME)["variants"]
    stock, read_out = page.locator(".stock"), page.locator("#announce")
    button = page.get_by_role("button", name="Add to cart")
    expect(stock).to_have_text("In stock: 500 left")
    variant["available"] = 499
    expect(stock).to_have_text("In stock: 499 left")
    expect(read_out).to_have_text("")
    variant["available"] = 7
    expect(stock).to_have_text("Only 7 left")
    expect(read_out).to_have_text("Only 7 left")
    variant["available"] = 0
    expect(stock).to_have_text("Sold out")
    expect(button).to_be_disabled()
    variant["available"] = 2
    expect(button).to_be_enabled()
    assert visit.sideways_px() <= 0


def _variants(visit: Visit, name: str) -> list[dict[str, Any]]:
    return next(p for p in visit.shop.products if p["name"] == name)["variants"]


def _card(page: Page, name: str) -> Locator:
    named = page.locator(".card-name").get_by_text(name, exact=True)
    return page.locator(".card").filter(has=named)


def _places(page: Page) -> list[Any]:
    """Where every card and every line of it is, in CSS pixels."""
    script = """all => all.map(one => {
        const {x, y, height} = one.getBoundingClientRect();
        return [x, y + scrollY, height];
    })"""
    lines = ".card, .card-name, .card-price, .card-stock, .card-seller"
    return page.locator(lines).evaluate_all(script)


def test_results_change_while_one_looks_and_nothing_moves(visit: Visit) -> None:
    page = visit.open("/")
    [hot] = _variants(visit, HOT_NAME)
    stock = _card(page, HOT_NAME).locator(".stock")
    expect(stock).to_have_text("In stock: 500 left")
    shoes = _card(page, "Trail Runner Shoe").locator(".stock")
    sizes = _variants(visit, "Trail Runner Shoe")
    whole = sum(one["available"] for one in sizes)
    expect(shoes).to_have_text(f"In stock: {whole} left")
    before = _places(page)
    hot["available"] = 7
    expect(stock).to_have_text("Only 7 left")
    for size in sizes[1:]:
        size["available"] = 0
    expect(shoes).to_have_text(f"Only {sizes[0]['available']} left")
    hot["available"] = 0
    expect(stock).to_have_text("Sold out")
    expect(_card(page, HOT_NAME)).to_have_class("card sold-out")
    hot["available"] = 12_345
    expect(stock).to_have_text("In stock: 12,345 left")
    assert _places(page) == before
    assert visit.sideways_px() <= 0


def test_only_what_can_be_bought_is_read_out_and_not_each_number(visit: Visit) -> None:
    visit.page.clock.install()
    page = visit.open("/")
    [hot], [skillet] = _variants(visit, HOT_NAME), _variants(visit, "Cast-Iron Skillet 26 cm")
    stock, read_out = _card(page, HOT_NAME).locator(".stock"), page.locator("#announce")
    expect(stock).to_have_text("In stock: 500 left")
    expect(read_out).to_have_text("36 products, page 1 of 2")
    hot["available"] = 3
    expect(stock).to_have_text("Only 3 left")
    page.clock.run_for(5_000)
    expect(read_out).to_have_text("36 products, page 1 of 2")
    hot["available"] = skillet["available"] = 0
    expect(page.locator(".card .stock.out")).to_have_count(3)
    page.clock.run_for(5_000)
    expect(read_out).to_have_text(f"Sold out: {HOT_NAME}, Cast-Iron Skillet 26 cm.")
    hot["available"] = 1
    expect(stock).to_have_text("Only 1 left")
    page.clock.run_for(5_000)
    expect(read_out).to_have_text(f"Back in stock: {HOT_NAME}.")
    for product in visit.shop.products:
        for variant in product["variants"]:
            variant["available"] = 0
    expect(page.locator(".card .stock.out")).to_have_count(24)
    page.clock.run_for(5_000)
    expect(read_out).to_have_text("22 products sold out.")


def test_one_connection_for_the_results_and_none_for_others(visit: Visit) -> None:
    page = visit.open("/")
    expect(page.locator(".card-stock")).to_have_count(24)
    visit.until(lambda: visit.shop.listeners == 1)
    shown = page.locator(".card a").evaluate_all("all => all.map(one => one.hash.split('/')[2])")
    assert [sorted(asked) for asked in visit.shop.listened_to] == [sorted(shown)]
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".card-stock")).to_have_count(12)
    visit.until(lambda: visit.shop.listened == 2 and visit.shop.listeners == 1)
    assert len(visit.shop.listened_to[1]) == 12
    page.evaluate(HIDE, True)
    visit.until(lambda: visit.shop.listeners == 0)
    page.evaluate(HIDE, False)
    visit.until(lambda: visit.shop.listeners == 1)
    page.locator(".card a").first.click()
    visit.until(lambda: visit.shop.listened == 4 and visit.shop.listeners == 1)
    assert len(visit.shop.listened_to[3]) == 1
    visit.open("/#/search?q=zzzz")
    visit.until(lambda: visit.shop.listeners == 0)
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    assert visit.shop.listened == 4


def test_results_go_on_from_where_a_cut_connection_was(visit: Visit) -> None:
    page = visit.open("/")
    [hot] = _variants(visit, HOT_NAME)
    stock = _card(page, HOT_NAME).locator(".stock")
    expect(stock).to_have_text("In stock: 500 left")
    visit.shop.cuts += 1
    hot["available"] = 9
    expect(stock).to_have_text("Only 9 left")
    assert len(visit.shop.resumed) == 1
    assert visit.shop.listened_to[0] == visit.shop.listened_to[1]


def test_nobody_listens_who_does_not_look(visit: Visit) -> None:
    page = visit.open(product_path(visit, HOT_NAME))
    visit.until(lambda: visit.shop.listeners == 1)
    page.evaluate(HIDE, True)
    visit.until(lambda: visit.shop.listeners == 0)
    page.evaluate(HIDE, False)
    visit.until(lambda: visit.shop.listeners == 1)
    visit.open("/#/cart")
    visit.until(lambda: visit.shop.listeners == 0)
    assert visit.shop.listened == 2


def test_a_product_is_sold_without_live_numbers(visit: Visit) -> None:
    refused = Refusal(kind="busy", status=503, extra={"retry_after": 10})
    visit.shop.answer_next("/live", refused, times=1)
    visit.page.clock.install()
    put_in_cart(visit)
    assert visit.shop.listened == 0
    [variant] = next(p for p in visit.shop.products if p["name"] == HOT_NAME)["variants"]
    variant["available"] = 8
    visit.page.clock.run_for(30_000)  # it asks again by and by
    expect(visit.page.locator(".stock")).to_have_text("Only 8 left")


def test_a_declined_card_then_a_good_one_is_another_attempt(visit: Visit) -> None:
    fill_in_checkout(visit)
    page = visit.page
    page.get_by_label(DECLINED).check()
    place_order(page)
    expect(page.get_by_text("The card was declined by its bank.")).to_be_visible()
    page.get_by_label("Visa ending 4242").check()
    place_order(page)
    expect(page.get_by_role("heading", name="Thank you. Your order is in.")).to_be_visible()
    assert len(visit.shop.seen_keys) == len(set(visit.shop.seen_keys)) == 2


def test_a_lost_answer_is_asked_for_again_with_the_same_key(visit: Visit) -> None:
    fill_in_checkout(visit)
    lost = Refusal(kind="internal", status=500, after_work=True, extra={"retry_after": 0.01})
    visit.shop.answer_next("/checkout", lost, times=4)
    place_order(visit.page)
    heading = visit.page.get_by_role("heading", name="We are still waiting to hear")
    expect(heading).to_be_visible()
    visit.page.reload()  # the attempt outlives the page
    expect(heading).to_be_visible()
    visit.page.get_by_role("button", name="Ask again").click()
    expect(visit.page.get_by_role("heading", name="Thank you. Your order is in.")).to_be_visible()
    assert len(visit.shop.orders) == 1
    assert len(set(visit.shop.seen_keys)) == 1


def test_busy_is_waited_out_and_said(visit: Visit) -> None:
    fill_in_checkout(visit)
    busy = Refusal(kind="busy", status=503, extra={"retry_after": 1})
    visit.shop.answer_next("/checkout", busy)
    place_order(visit.page)
    expect(visit.page.get_by_text("The shop is very busy. Trying again in 1 s")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="Thank you. Your order is in.")).to_be_visible()
    assert len(set(visit.shop.seen_keys)) == 1


def test_busy_for_too_long_leaves_the_form_as_it_was(visit: Visit) -> None:
    fill_in_checkout(visit)
    busy = Refusal(kind="busy", status=503, extra={"retry_after": 0.01})
    visit.shop.answer_next("/checkout", busy, times=4)
    place_order(visit.page)
    expect(visit.page.get_by_text("Please try again in a moment.")).to_be_visible()
    expect(visit.page.get_by_label("City")).to_have_value("Reno")
    place_order(visit.page)
    expect(visit.page.get_by_role("heading", name="Thank you. Your order is in.")).to_be_visible()
    assert len(set(visit.shop.seen_keys)) == 1


def test_a_field_that_the_api_refuses_is_marked(visit: Visit) -> None:
    fill_in_checkout(visit)
    errors = [{"field": "shipping_address.zip", "message": "A US postal code has five digits."}]
    refusal = Refusal(kind="validation", status=422, extra={"errors": errors})
    visit.shop.answer_next("/checkout", refusal)
    place_order(visit.page)
    expect(visit.page.get_by_text("A US postal code has five digits.")).to_be_visible()
    expect(visit.page.get_by_label("Postal code")).to_be_focused()


def test_cart_lines_change_and_go(visit: Visit) -> None:
    put_in_cart(visit)
    page = visit.open("/#/cart")
    quantity = page.get_by_label(f"Quantity of {HOT_NAME}")
    quantity.fill("3")
    quantity.press("Enter")
    expect(page.get_by_text("3 items")).to_be_visible()
    visit.shop.answer_next(
        visit.shop.products[0]["variants"][0]["variant_id"],
        Refusal(kind="out_of_stock", status=409, extra={"requested": 900, "available": 500}),
    )
    quantity.fill("900")
    quantity.press("Enter")
    expect(page.get_by_text("Only 500 left, and you asked for 900.")).to_be_visible()
    expect(quantity).to_have_value("3")
    page.get_by_role("button", name=f"Remove {HOT_NAME}").click()
    expect(page.get_by_text("Your cart is empty.")).to_be_visible()


def test_a_token_that_is_not_known_any_more_starts_a_new_cart(visit: Visit) -> None:
    put_in_cart(visit)
    visit.shop.carts.clear()
    page = visit.open("/#/cart")
    expect(page.get_by_text("Your earlier cart has expired.")).to_be_visible()
    put_in_cart(visit)
    visit.shop.carts.clear()
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("Your earlier cart had expired, so this is a new one.")).to_be_visible()


def test_what_is_not_there_is_said(visit: Visit) -> None:
    page = visit.open("/#/product/prod_nothing")
    expect(page.get_by_text("This product is not sold here (any more).")).to_be_visible()
    page = visit.open("/#/order/order_nothing")
    expect(page.get_by_text("This order cannot be shown here.")).to_be_visible()
    page = visit.open("/#/nowhere")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page = visit.open("/#/search?q=zzzz")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def test_dashboard_shows_owners_and_updates(visit: Visit) -> None:
    page = visit.open("/dashboard")
    row = page.locator("#owners tbody tr", has_text="pool-3")
    expect(row).to_be_visible()
    for text in ("node-2", "4221", "634"):
        expect(row).to_contain_text(text)
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator("#chart-orders .main-svg").first).to_be_visible()
    expect(page.locator("#pairs li").first).to_contain_text(HOT_NAME)
    expect(page.locator("#replicas tbody tr")).to_have_count(4)
    before = page.locator("#tiles").inner_text()
    expect(page.locator("#tiles")).not_to_have_text(before)
    assert visit.sideways_px() <= 0


def test_dashboard_has_no_times_where_nobody_checked_out(visit: Visit) -> None:
    page = visit.open("/dashboard")
    tile = page.locator("#tiles > div", has_text="Checkout p50")
    expect(tile.locator("dd")).to_have_text(re.compile(r"^[\d.]+ms$"))
    visit.shop.is_idle = True
    expect(tile.locator("span")).to_have_text("–")
    expect(tile.get_by_text("ms")).to_be_hidden()
    expect(page.get_by_text("Confirmed since start")).to_be_visible()


def test_dashboard_marks_a_dead_owner_and_a_new_epoch(visit: Visit) -> None:
    page = visit.open("/dashboard")
    expect(page.locator("#owners tbody tr")).to_have_count(6)
    expect(page.get_by_role("alert")).to_have_text("6 owners, all alive.")
    visit.shop.dead.add("pool-4")
    expect(page.locator("#owners tbody tr").first).to_contain_text("not alive")
    expect(page.get_by_role("alert")).to_have_text("1 owner is not alive: pool-4.")
    visit.shop.dead.clear()
    visit.shop.epochs["pool-4"] = 4
    expect(page.locator("#owners tbody tr", has_text="pool-4")).to_contain_text("↑ was 3")
    expect(page.get_by_role("alert")).to_have_text("New epoch within the last minute: pool-4.")
    del visit.shop.epochs["pool-1"]
    expect(page.locator("#owners tbody tr").first).to_contain_text("gone")


def test_dashboard_tells_dedicated_owners_and_stops_from_deaths(visit: Visit) -> None:
    page = visit.open("/dashboard")
    alarm = page.get_by_role("alert")
    expect(alarm).to_have_text("6 owners, all alive.")
    expect(page.locator("#owners tbody tr", has_text="pool-0")).to_contain_text("Pool")
    visit.shop.epochs["hot-0"] = visit.shop.epochs["hot-1"] = 1
    visit.shop.dedicated = {
        "hot-0": [{"sku": "HEADPHONES-1", "warehouse": "RNO-2"}],
        "hot-1": [{"sku": "SHOE-42", "warehouse": "ATL-1"}],
    }
    hot = page.locator("#owners tbody tr", has_text="hot-0")
    expect(hot).to_contain_text("Dedicated to HEADPHONES-1 · RNO-2")
    expect(alarm).to_have_text("8 owners, all alive.")
    expect(page.locator("#owners-sum")).to_contain_text("8 owners, 2 of them dedicated")
    del visit.shop.dedicated["hot-0"]
    visit.shop.stopped.add("hot-0")
    expect(hot).to_contain_text("stopped, idle")
    expect(alarm).to_have_text("7 owners, all alive.")
    assert page.locator("#owners tbody th").last.inner_text().startswith("hot-0")
    visit.shop.dead.add("hot-1")
    expect(alarm).to_have_text("1 owner is not alive: hot-1.")
    expect(page.locator("#owners tbody tr").first).to_contain_text("not alive")
    visit.shop.dead.clear()
    del visit.shop.epochs["hot-0"]  # after a minute it is not even told of
    expect(hot).to_have_count(0)
    expect(alarm).to_have_text("7 owners, all alive.")
    assert visit.sideways_px() <= 0


def test_dashboard_takes_a_stopped_owner_that_starts_again_for_no_restart(visit: Visit) -> None:
    visit.shop.epochs["hot-0"] = 1
    visit.shop.stopped.add("hot-0")
    page = visit.open("/dashboard")
    hot = page.locator("#owners tbody tr", has_text="hot-0")
    expect(hot).to_contain_text("Dedicated, without a pair")
    visit.shop.stopped.clear()
    visit.shop.epochs["hot-0"] = 2
    expect(page.get_by_role("alert")).to_have_text("7 owners, all alive.")
    expect(hot).not_to_contain_text("was 1")
    visit.shop.epochs["hot-0"] = 3
    expect(hot).to_contain_text("↑ was 2")


def test_dashboard_says_when_the_connection_is_lost(visit: Visit) -> None:
    page = visit.open("/dashboard")
    expect(page.locator("#state")).to_have_text("Live")
    visit.shop.is_down = True
    expect(page.locator("#state")).to_contain_text("Lost connection, retrying")
    visit.shop.is_down = False
    expect(page.locator("#state")).to_have_text("Live")


def test_dashboard_pauses_while_hidden(visit: Visit) -> None:
    visit.page.clock.install()
    page = visit.open("/dashboard")
    expect(page.locator("#state")).to_have_text("Live")
    page.evaluate(HIDE, True)
    expect(page.locator("#state")).to_have_text("Paused while hidden")
    ask_once = "async () => { await fetch('/api/v1/ops/overview'); }"
    page.evaluate(ask_once)  # whatever was on its way has arrived when this returns
    asked = visit.shop.overview_asked
    page.clock.run_for(5_000)
    page.evaluate(ask_once)
    assert visit.shop.overview_asked == asked + 1
    page.evaluate(HIDE, False)
    expect(page.locator("#state")).to_have_text("Live")
