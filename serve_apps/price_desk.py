"""The price desk: prices an order from what the process knows, and words what is refused.

Quotes and checkouts ask here, so a shopper pays what was shown. Nothing is counted here: a
checkout redeems what its quote makes use of (`redemption_of`) before it takes money.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from actors.coalescer import Coalescer
from domain.cart import Refusal
from domain.exchange import Conversion
from domain.money import SCALES, MoneyError, amount_text, parse_wire, to_wire
from domain.ports import TaxService
from domain.pricing import Quote, quote_order
from domain.promotions import CouponRefusal, Line, normal_code
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus
from domain.tax import TaxAnswer, TaxQuestion
from serve_apps.http import Problem, field_problem
from serve_apps.pricing_shelf import PricingShelf

TAX_CALLS_MAX = 4  # calls to a tax service that are away at once
RATES_AGE_DAYS_MAX = 7
"""Older exchange rates are not used: the shop would sell at a price of long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What shall be priced. Unit prices of `lines` are in `listed_currency`."""

    lines: Sequence[Line]
    listed_currency: str
    currency: str | None = None
    """What the shopper wants to pay in; None: as listed."""
    country: str
    state: str | None = None
    postal_code: str | None = None
    shipping_method: str
    coupons: Sequence[str] = ()
    exhausted: Collection[UUID] = ()
    """Promotions of which this customer has had all uses."""


class BatchedTaxes:
    """TaxService of domain.ports: questions of many checkouts in one call to another one.

    For a service that is asked over a network; the table needs none of it.
    """

    def __init__(self, taxes: TaxService, *, spacing_s: float = 0.0) -> None:
        self._asking: Coalescer[TaxQuestion, TaxAnswer] = Coalescer(
            taxes.rates, in_flight_max=TAX_CALLS_MAX, spacing_s=spacing_s
        )

    async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
        """An answer to each question. Raises Unavailable and Overloaded."""
        return list(await asyncio.gather(*(self._asking.submit(one) for one in questions)))


class PriceDesk:
    """Prices orders. `now` is aware UTC."""

    def __init__(
        self, shelf: PricingShelf, taxes: TaxService, *, now: Callable[[], datetime]
    ) -> None:
        self._shelf = shelf
        self._taxes = taxes
        self._now = now

    async def price(self, wanted: Wanted) -> Quote:
        """What it costs. Raises Problem, and Unavailable if no tax rates can be had."""
        currency = wanted.currency or wanted.listed_currency
        conversion = self._conversion(wanted.listed_currency, currency)
        question = TaxQuestion(
            country=wanted.country,
            state=wanted.state,
            postal_code=wanted.postal_code,
            categories=tuple([line.category for line in wanted.lines]),
        )
        [tax] = await self._taxes.rates([question])
        priced = quote_order(
            wanted.lines,
            currency=currency,
            tax=tax,
            shipping_method=wanted.shipping_method,
            now=self._now(),
            offers=self._shelf.offers,
            coupons=wanted.coupons,
            exhausted=wanted.exhausted,
            conversion=conversion,
        )
        if isinstance(priced, CouponRefusal):
            raise coupon_problem(priced)
        if isinstance(priced, Refusal):
            raise field_problem("cart_id", priced.detail)
        return priced

    def limited_per_customer(self, coupons: Sequence[str]) -> list[UUID]:
        """Those of the coupons that a customer may use only so often."""
        by_code = self._shelf.offers.by_code
        known = [by_code.get(normal_code(code)) for code in coupons]
        return [one.promotion_id for one in known if one and one.uses_per_customer_max]

    def _conversion(self, listed: str, charged: str) -> Conversion | None:
        if charged == listed:
            return None
        if charged not in SCALES:
            detail = f"{charged[:12]} is not sold in; use an ISO 4217 code such as USD"
            raise field_problem("currency", detail)
        rates = self._shelf.rates
        conversion = rates.conversion(listed, charged) if rates else None
        if rates is None or conversion is None:
            detail = f"there is no exchange rate from {listed} to {charged}; choose {listed}"
            raise field_problem("currency", detail)
        if (self._now().date() - rates.as_of).days > RATES_AGE_DAYS_MAX:
            detail = f"the exchange rates are of {rates.as_of}, too old to sell at; choose {listed}"
            raise field_problem("currency", detail)
        return conversion


def coupon_problem(refusal: CouponRefusal) -> Problem:
    """A refused coupon: which, and why by a name for programs."""
    kind = "coupon_used_up" if refusal.name == "coupon_used_up" else "coupon_refused"
    return Problem(kind, refusal.detail, coupon=refusal.code, reason=refusal.name)


def redemption_of(quote: Quote, order_id: UUID, user_id: UUID) -> Redemption | None:
    """What an order of this quote uses up; None if nothing."""
    if not quote.applied:
        return None
    return Redemption(order_id=order_id, user_id=user_id, promotion_ids=quote.promotion_ids)


def redemption_problem(outcome: RedemptionOutcome, quote: Quote) -> Problem | None:
    """Why an order cannot have what its quote promised; None if it can."""
    if outcome.status is RedemptionStatus.REDEEMED:
        return None
    if outcome.status is RedemptionStatus.RETURNED:
        detail = "the checkout was undone and its discounts given back; begin a new order"
        return Problem("checkout_interrupted", detail)
    promotion = next(
        (
            one.promotion
            for one in quote.applied
            if one.promotion.promotion_id == outcome.promotion_id
        ),
        None,
    )
    name = (promotion and (promotion.code or promotion.label)) or "one of the discounts"
    why = (
        "you have had as many uses of it as a customer may"
        if outcome.status is RedemptionStatus.CUSTOMER_USED_UP
        else "another buyer had the last use a moment before"
    )
    detail = f"{name} is used up: {why}; ask for a new quote"
    return Problem("coupon_used_up", detail, coupon=name, reason="coupon_used_up")


def check_expected_total(quote: Quote, expected: float | int | None) -> None:
    """That an order costs what the shopper was shown, in major units; None: was shown nothing.

    Raises the Problem `total_changed`, or `validation` for what is no amount.
    """
    if expected is None:
        return
    try:
        minor = parse_wire(expected, quote.currency)
    except MoneyError as error:
        raise field_problem("expected_total", str(error)) from None
    if minor == quote.total_minor:
        return
    total = to_wire(quote.total_minor, quote.currency)
    raise Problem(
        "total_changed",
        f"the order comes to {amount_text(quote.total_minor, quote.currency)} now, not {expected};"
        " show the new total first",
        expected_total=expected,
        grand_total=total,
        currency=quote.currency,
    )
