"""What a cart would cost, over HTTP: explained, in several currencies, with coupons or without."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from domain.exchange import rate_table
from domain.ids import decode
from domain.ports import TaxService, Unavailable
from domain.promotions import Kind, Promotion, Scope
from domain.redemptions import RedemptionOutcome, RedemptionStatus
from domain.tax import TaxAnswer, TaxQuestion
from gateways.tax_service import TableTaxes
from serve_apps.http import Problem, new_app
from serve_apps.price_desk import (
    BatchedTaxes,
    PriceDesk,
    Wanted,
    check_expected_total,
    redemption_of,
    redemption_problem,
)
from serve_apps.pricing_shelf import PricingShelf
from serve_apps.quote_app import QuoteService, add_quote_routes
from serve_apps.shelf import Shelf
from storage.exchange_rates import PostgresExchangeRates
from storage.promotions import PostgresPromotions
from tests.domain.promotion_samples import line, promotion
from tests.serve_apps.conftest import ORIGIN, Shop, Shopper, assert_problem, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALIFORNIA = {"country": "US", "state": "CA"}
NOTHING = {"kind": Kind.PERCENT, "percent_bps": 1}


def _now() -> datetime:
    return datetime.now(UTC)


class SilentTaxes:
    """A tax service that is down, without a table behind it."""

    async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
        raise Unavailable(f"no answer to {len(questions)} questions")


@dataclass
class Counter:
    """The quote app of a shop."""

    shop: Shop
    client: httpx.AsyncClient
    shelf: PricingShelf
    promotions: PostgresPromotions
    rates: PostgresExchangeRates

    async def add(self, **changes: Any) -> Promotion:
        one = promotion(**{"code": f"C{uuid4().hex[:10].upper()}", **changes})
        await self.promotions.add(one)
        await self.shelf.refresh()
        return one

    async def end(self, one: Promotion) -> None:
        await self.promotions.end(str(one.promotion_id))
        await self.shelf.refresh()

    async def ask(self, shopper: Shopper, **changes: Any) -> httpx.Response:
        body = {"cart_id": shopper.cart_id, "shipping_address": CALIFORNIA, **changes}
        return await self.client.post("/api/v1/orders/quote", json=body, headers=shopper.headers)

    async def quote(self, shopper: Shopper, **changes: Any) -> dict[str, Any]:
        answer = await self.ask(shopper, **changes)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def counter_of(shop: Shop, taxes: TaxService) -> AsyncIterator[Counter]:
    promotions = PostgresPromotions(shop.pool)
    rates = PostgresExchangeRates(shop.pool)
    pricing, shelf = PricingShelf(promotions, rates, now=_now), Shelf(shop.parts.catalog)
    await rates.load(rate_table("USD", _now().date(), {"EUR": "0.92", "JPY": "151.5"}))
    await pricing.start()
    service = QuoteService(
        carts=shop.parts.carts,
        shelf=shelf,
        desk=PriceDesk(pricing, taxes, now=_now),
        promotions=promotions,
        identities=shop.parts.identities,
    )
    app = new_app("Quotes")
    add_quote_routes(app, lambda _: service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield Counter(shop, client, pricing, promotions, rates)
    await pricing.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def counter(standing_shop: Shop) -> AsyncIterator[Counter]:
    async with counter_of(standing_shop, TableTaxes()) as opened:
        yield opened


async def test_the_worked_example(counter: Counter) -> None:
    shopper = await counter.shop.shopper("LAPTOP")
    quote = await counter.quote(shopper)
    assert (quote["total"], quote["tax"], quote["shipping"]) == (1299.99, 104.00, 9.99)
    assert (quote["discount"], quote["grand_total"], quote["currency"]) == (0, 1413.98, "USD")
    [item] = quote["items"]
    assert item["sku"] == "LAPTOP"
    assert [(step["kind"], step["amount"]) for step in item["explanation"]] == [
        ("goods", 1299.99),
        ("tax", 104.00),
    ]
    assert item["explanation"][1]["label"] == "tax US-CA, 8 % of the net price"
    assert quote["conversion"] is None


async def test_a_coupon_is_shown_on_every_line_it_touches(counter: Counter) -> None:
    one = await counter.add(label="Ten off")
    shopper = await counter.shop.shopper("LAPTOP")
    await shopper.add("TEE-S", 2)
    quote = await counter.quote(shopper, coupons=[f" {one.code.lower()} " if one.code else ""])
    assert quote["discount"] == pytest.approx(sum(item["discount"] for item in quote["items"]))
    for item in quote["items"]:
        assert item["discount"] > 0
        [step] = [step for step in item["explanation"] if step["kind"] == "promotion"]
        assert step == {
            "kind": "promotion",
            "code": one.code,
            "label": "Ten off",
            "amount": -item["discount"],
        }
        assert item["net"] == pytest.approx(item["subtotal"] - item["discount"])
    whole = quote["total"] - quote["discount"] + quote["tax"] + quote["shipping"]
    assert quote["grand_total"] == pytest.approx(whole)
    assert quote["tax"] == pytest.approx(sum(item["tax"] for item in quote["items"]))


async def test_an_automatic_promotion_needs_no_asking(counter: Counter) -> None:
    one = await counter.add(kind=Kind.FREE_SHIPPING, code=None, label="Free shipping week")
    shopper = await counter.shop.shopper("LAPTOP")
    quote = await counter.quote(shopper)
    assert (quote["shipping"], quote["discount"]) == (9.99, 9.99)
    assert quote["shipping_explanation"][1]["label"] == "Free shipping week"
    await counter.end(one)
    assert (await counter.quote(shopper))["discount"] == 0


async def test_in_another_currency_the_sums_are_of_that_currency(counter: Counter) -> None:
    shopper = await counter.shop.shopper("LAPTOP")
    quote = await counter.quote(
        shopper, currency="EUR", shipping_address={"country": "DE", "zip": "10115"}
    )
    assert (quote["currency"], quote["total"], quote["tax"]) == ("EUR", 1195.99, 227.24)
    assert quote["conversion"]["rate"] == "0.92"
    assert quote["items"][0]["price"] == 1195.99
    assert quote["grand_total"] == 1195.99 + 227.24 + 9.99
    yen = await counter.quote(shopper, currency="JPY")
    assert yen["total"] == 196_948
    assert isinstance(yen["grand_total"], int)


async def test_a_currency_without_a_rate_is_refused(counter: Counter) -> None:
    shopper = await counter.shop.shopper("LAPTOP")
    for currency in ("GBP", "XXX"):
        problem = assert_problem(await counter.ask(shopper, currency=currency), 422, "validation")
        assert problem["errors"][0]["field"] == "currency"


async def test_old_rates_are_not_sold_at(counter: Counter) -> None:
    old = rate_table("USD", _now().date() - timedelta(days=8), {"EUR": "0.5"})
    counter.shelf.rates = old
    shopper = await counter.shop.shopper("LAPTOP")
    problem = assert_problem(await counter.ask(shopper, currency="EUR"), 422, "validation")
    assert "too old" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ends_at": _now() - timedelta(seconds=1)}, "coupon_expired"),
        ({"starts_at": _now() + timedelta(days=1)}, "coupon_not_yet_valid"),
        ({"minimum_minor": 10**9, "currency": "USD"}, "coupon_minimum_not_met"),
        ({"currency": "EUR"}, "coupon_wrong_currency"),
        ({"scope": Scope(categories=frozenset({"nothing"}))}, "coupon_not_applicable"),
    ],
)
async def test_a_coupon_is_refused_by_name(
    counter: Counter, changes: dict[str, Any], reason: str
) -> None:
    one = await counter.add(**changes)
    shopper = await counter.shop.shopper("LAPTOP")
    problem = assert_problem(await counter.ask(shopper, coupons=[one.code]), 422, "coupon_refused")
    assert (problem["coupon"], problem["reason"]) == (one.code, reason)


async def test_an_unknown_coupon_and_two_that_do_not_go_together(counter: Counter) -> None:
    shopper = await counter.shop.shopper("LAPTOP")
    problem = assert_problem(await counter.ask(shopper, coupons=["NO"]), 422, "coupon_refused")
    assert problem["reason"] == "coupon_unknown"
    one, other = await counter.add(), await counter.add(exclusive=True)
    answer = await counter.ask(shopper, coupons=[one.code, other.code])
    assert assert_problem(answer, 422, "coupon_refused")["reason"] == "coupon_not_stackable"


async def test_a_coupon_that_others_have_used_up(counter: Counter) -> None:
    one = await counter.add(uses_max=1)
    shopper = await counter.shop.shopper("LAPTOP")
    quote = await priced(counter, [one.code or ""])
    asked = redemption_of(quote, uuid4(), uuid4())
    assert asked is not None
    await counter.promotions.redeem_many([asked])
    await counter.shelf.refresh()
    problem = assert_problem(await counter.ask(shopper, coupons=[one.code]), 409, "coupon_used_up")
    assert problem["coupon"] == one.code


async def test_a_coupon_that_this_customer_has_used_up(counter: Counter) -> None:
    one = await counter.add(uses_per_customer_max=1)
    ann, bob = await counter.shop.shopper("LAPTOP"), await counter.shop.shopper("LAPTOP")
    user = decode("user", ann.token.partition(".")[0])
    asked = redemption_of(await priced(counter, [one.code or ""]), uuid4(), user)
    assert asked is not None
    await counter.promotions.redeem_many([asked])
    assert_problem(await counter.ask(ann, coupons=[one.code]), 409, "coupon_used_up")
    assert (await counter.quote(bob, coupons=[one.code]))["discount"] > 0


async def test_a_coupon_that_gives_nothing_more_is_told_of(counter: Counter) -> None:
    one = await counter.add(exclusive=True, **NOTHING)
    better = await counter.add(code=None)
    shopper = await counter.shop.shopper("LAPTOP")
    quote = await counter.quote(shopper, coupons=[one.code])
    assert [unused["coupon"] for unused in quote["unused_coupons"]] == [one.code]
    await counter.end(better)


@pytest.mark.parametrize(
    "changes",
    [
        {"coupons": ["X"] * 6},
        {"coupons": "SAVE"},
        {"coupons": [5]},
        {"coupons": [""]},
        {"coupons": ["x" * 201]},
        {"currency": "usd"},
        {"currency": "DOLLARS"},
        {"shipping_method": "drone"},
        {"shipping_address": {"state": "CA"}},
        {"shipping_address": {"country": "usa"}},
        {"expected_total": 5},
    ],
    ids=str,
)
async def test_bad_input_is_refused(counter: Counter, changes: dict[str, Any]) -> None:
    shopper = await counter.shop.shopper("LAPTOP")
    assert_problem(await counter.ask(shopper, **changes), 422, "validation")


async def test_whose_cart_it_is(counter: Counter) -> None:
    ann, bob = await counter.shop.shopper("LAPTOP"), await counter.shop.shopper("LAPTOP")
    assert_problem(await counter.ask(ann, cart_id=bob.cart_id), 404, "not_found")
    assert_problem(await counter.ask(ann, cart_id="mine"), 404, "not_found")
    bob.token = ""
    assert_problem(await counter.ask(bob), 401, "unauthorized")
    empty = await counter.shop.shopper()
    assert (await counter.ask(empty)).status_code in (404, 409)


async def test_without_tax_rates_nothing_is_quoted(standing_shop: Shop) -> None:
    async with counter_of(standing_shop, SilentTaxes()) as counter:
        shopper = await counter.shop.shopper("LAPTOP")
        assert_problem(await counter.ask(shopper), 503, "busy")


async def test_the_shelf_follows_by_itself(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_apps.pricing_shelf.REFRESH_EVERY_S", 0.01)
    shelf = PricingShelf(counter.promotions, counter.rates, now=_now)
    await shelf.start()
    try:
        one = promotion(code=f"C{uuid4().hex[:10].upper()}")
        assert one.code is not None
        await counter.promotions.add(one)

        async def is_there() -> bool:
            return one.code in shelf.offers.by_code

        await until(is_there)
        assert shelf.offers.by_code[one.code] == one
        await counter.promotions.end(one.code)

        async def is_over() -> bool:
            return shelf.offers.by_code[one.code or ""].ends_at is not None

        await until(is_over)
    finally:
        await shelf.stop()


async def priced(counter: Counter, coupons: Sequence[str] = ()) -> Any:
    desk = PriceDesk(counter.shelf, TableTaxes(), now=_now)
    return await desk.price(
        Wanted(
            lines=[line(129_999)],
            listed_currency="USD",
            country="US",
            state="CA",
            shipping_method="standard",
            coupons=coupons,
        )
    )


async def test_a_total_that_changed_is_told(counter: Counter) -> None:
    quote = await priced(counter)
    for expected in (None, 1413.98):
        check_expected_total(quote, expected)
    with pytest.raises(Problem) as caught:
        check_expected_total(quote, 1413.97)
    assert caught.value.kind == "total_changed"
    assert caught.value.extra["grand_total"] == 1413.98
    for nonsense in (-1, 0.001, float("nan")):
        with pytest.raises(Problem, match="expected_total") as caught:
            check_expected_total(quote, nonsense)
        assert caught.value.kind == "validation"


async def test_what_came_of_redeeming_is_worded(counter: Counter) -> None:
    one = await counter.add()
    quote = await priced(counter, [one.code or ""])
    order, user = uuid4(), uuid4()
    asked = redemption_of(quote, order, user)
    assert asked is not None
    assert asked.promotion_ids == (one.promotion_id,)
    assert redemption_of(await priced(counter), order, user) is None

    def problem(status: RedemptionStatus, because: UUID | None = None) -> Problem | None:
        return redemption_problem(RedemptionOutcome(status=status, promotion_id=because), quote)

    assert problem(RedemptionStatus.REDEEMED) is None
    for status in (RedemptionStatus.USED_UP, RedemptionStatus.CUSTOMER_USED_UP):
        told = problem(status, one.promotion_id)
        assert told is not None
        assert (told.kind, told.extra["coupon"]) == ("coupon_used_up", one.code)
    returned = problem(RedemptionStatus.RETURNED)
    assert returned is not None
    assert returned.kind == "checkout_interrupted"


async def test_tax_questions_of_many_go_in_one_call() -> None:
    calls: list[int] = []

    class Counting(TableTaxes):
        async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
            calls.append(len(questions))
            return await super().rates(questions)

    taxes = BatchedTaxes(Counting())
    asked = [TaxQuestion(country="US", state=state) for state in ("CA", "NY", "TX")]
    answers = await asyncio.gather(*(taxes.rates([one]) for one in asked))
    assert [one.place for [one] in answers] == ["US-CA", "US-NY", "US-TX"]
    assert calls == [3]
