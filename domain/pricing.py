"""What an order costs, line by line, in minor units; the parts always add up to the totals.

The order of things: unit prices are converted into the currency that is charged, promotions are
taken off the lines, tax is computed on what is left of them, shipping has its own price per
currency and is not taxed. `domain.price_explanations` tells every step of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.allocation import allocate
from domain.cart import LINE_QUANTITY_MAX, LINES_MAX, Refusal, check_line_count, check_quantity
from domain.exchange import Conversion
from domain.money import AMOUNT_MINOR_MAX, SCALES
from domain.promotions import NO_OFFERS, CouponRefusal, Line, Offers
from domain.reductions import NOTHING_OFF, Applied, Basket, reduce
from domain.shipping import METHODS, PRICES_MINOR
from domain.tax import PPM, TaxAnswer
from domain.tax_rates import tax_of


class QuotedLine(NamedTuple):
    """One line of a quote, in minor units: net = gross − discount, and tax comes on top."""

    variant_id: UUID
    unit_price_minor: int
    """In the currency that is charged."""
    quantity: int
    gross_minor: int
    discount_minor: int
    net_minor: int
    tax_minor: int
    tax_ppm: int
    """The rate, in parts per million of the net price."""


class Quote(NamedTuple):
    """The price of an order, in minor units of its currency; the parts always add up."""

    subtotal_minor: int
    """The goods before discounts: the sum of the lines' gross prices."""
    tax_minor: int
    shipping_minor: int
    """Before discounts."""
    discount_minor: int
    """Off the goods and off the shipping."""
    total_minor: int
    """subtotal + tax + shipping − discount: what is charged."""
    currency: str
    lines: tuple[QuotedLine, ...]
    shipping_method: str
    shipping_discount_minor: int
    tax: TaxAnswer
    applied: tuple[Applied, ...] = ()
    """The promotions, in the order in which they were taken off."""
    unused: tuple[CouponRefusal, ...] = ()
    """Coupons that were asked for, are valid, and take nothing more off."""
    conversion: Conversion | None = None
    """How list prices became prices in `currency`, if they are in another one."""

    @property
    def promotion_ids(self) -> tuple[UUID, ...]:
        """What is used up by this order."""
        return tuple(one.promotion.promotion_id for one in self.applied)


def quote_order(
    lines: Sequence[Line],
    *,
    currency: str,
    tax: TaxAnswer,
    shipping_method: str,
    now: datetime | None = None,
    offers: Offers = NO_OFFERS,
    coupons: Sequence[str] = (),
    exhausted: Collection[UUID] = (),
    conversion: Conversion | None = None,
) -> Quote | Refusal | CouponRefusal:
    """Price an order.

    `currency` is what is charged; unit prices are in it, or in `conversion.listed`. `now` decides
    which of `offers` are valid and is needed if there are any; `exhausted` are promotions of which
    this customer has had all uses. Tax is computed on the discounted goods of each rate together,
    rounded half up (as `money.apply_rate` says why), and split over their lines by largest
    remainder.

    A Refusal names a cart without lines or with too many, a quantity or price out of range, an
    unknown shipping method or currency, or an order above AMOUNT_MINOR_MAX; a CouponRefusal a
    coupon that cannot be used.
    """
    shipping = PRICES_MINOR.get((shipping_method, currency))
    if shipping is None:
        return _shipping_refusal(shipping_method, currency)
    goods = _gross(lines, currency, conversion)
    if isinstance(goods, Refusal):
        return goods
    units, gross = goods
    reduced, nets, off = NOTHING_OFF, gross, [0] * len(gross)
    if coupons or offers.automatic:
        assert now is not None, "promotions need a time"
        basket = Basket(lines=lines, gross=gross, shipping_minor=shipping, currency=currency)
        reduced = reduce(basket, offers, coupons, now=now, exhausted=exhausted)
        if isinstance(reduced, CouponRefusal):
            return reduced
        off = reduced.by_line
        nets = [had - part for had, part in zip(gross, off, strict=True)]
    ids = [line.variant_id for line in lines]
    taxes, rates = _taxes(ids, nets, tax)
    subtotal, tax_minor = sum(gross), sum(taxes)
    total = subtotal + tax_minor + shipping - reduced.total_minor
    if total > AMOUNT_MINOR_MAX:
        return _too_large(currency)
    quantities = [line.quantity for line in lines]
    columns = zip(ids, units, quantities, gross, off, nets, taxes, rates, strict=True)
    return Quote(
        *(subtotal, tax_minor, shipping, reduced.total_minor, total, currency),
        tuple(map(QuotedLine._make, columns)),
        shipping_method,
        reduced.shipping_minor,
        tax,
        reduced.applied,
        reduced.unused,
        conversion,
    )


def quote(
    lines: Sequence[tuple[int, int]],
    *,
    currency: str,
    country: str,
    state: str | None,
    shipping_method: str,
) -> Quote | Refusal:
    """Price (unit price in minor units, quantity) lines of no catalog, without promotions."""
    numbered = [
        Line(variant_id=UUID(int=number), unit_price_minor=unit, quantity=quantity)
        for number, (unit, quantity) in enumerate(lines)
    ]
    tax = tax_of(country, state)
    priced = quote_order(numbered, currency=currency, tax=tax, shipping_method=shipping_method)
    assert not isinstance(priced, CouponRefusal)
    return priced


def _gross(
    lines: Sequence[Line], currency: str, conversion: Conversion | None
) -> tuple[list[int], list[int]] | Refusal:
    """Each line's unit price in the currency that is charged, and what the line comes to."""
    if not 1 <= len(lines) <= LINES_MAX:
        return check_line_count(len(lines)) or Refusal(
            name="lines_out_of_range", detail="an order needs at least one line; add an item"
        )
    units: list[int] = []
    gross: list[int] = []
    for line in lines:
        unit, quantity = line.unit_price_minor, line.quantity
        if not 1 <= quantity <= LINE_QUANTITY_MAX or unit < 0:
            return check_quantity(quantity) or Refusal(
                name="price_negative", detail="a unit price is negative; correct the catalog"
            )
        if conversion is not None:
            unit = conversion.price(unit)
        units.append(unit)
        gross.append(unit * quantity)
    return (units, gross) if sum(gross) <= AMOUNT_MINOR_MAX else _too_large(currency)


def _taxes(
    ids: Sequence[UUID], nets: Sequence[int], tax: TaxAnswer
) -> tuple[list[int], Sequence[int]]:
    """Each line's tax and rate."""
    rates = tax.rates_ppm
    if len(rates) == 1:
        total = (2 * sum(nets) * rates[0] + PPM) // (2 * PPM)
        return allocate(total, nets, ids), rates * len(nets)
    assert len(rates) == len(nets), "a tax service answers for each line or once for all"
    taxes = [0] * len(nets)
    for rate in dict.fromkeys(rates):
        here = [one for one, other in enumerate(rates) if other == rate]
        weights = [nets[one] for one in here]
        total = (2 * sum(weights) * rate + PPM) // (2 * PPM)
        parts = allocate(total, weights, [ids[one] for one in here])
        for one, part in zip(here, parts, strict=True):
            taxes[one] = part
    return taxes, rates


def _too_large(currency: str) -> Refusal:
    return Refusal(
        name="amount_too_large",
        detail=f"the order comes to more than {AMOUNT_MINOR_MAX} minor units of {currency}; "
        "split it into several",
    )


def _shipping_refusal(method: str, currency: str) -> Refusal:
    if currency not in SCALES:
        return Refusal(
            name="currency_unknown",
            detail=f"currency {currency[:12]!r} is not sold in; use an ISO 4217 code such as USD",
        )
    return Refusal(
        name="shipping_method_unknown",
        detail=f"there is no shipping method {method[:40]!r}; "
        f"choose one of {', '.join(sorted(METHODS))}",
    )
