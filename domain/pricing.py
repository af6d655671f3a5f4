"""What an order costs: subtotal, tax, shipping and their sum, in minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.cart import LINE_QUANTITY_MAX, LINES_MAX, Refusal, check_line_count, check_quantity
from domain.money import AMOUNT_MINOR_MAX, SCALES, apply_rate
from domain.shipping import METHODS, PRICES_MINOR
from domain.tax_rates import rate_bps


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of an order, in minor units of its currency; the parts always add up."""

    subtotal_minor: int
    tax_minor: int
    shipping_minor: int
    discount_minor: int
    total_minor: int
    """subtotal + tax + shipping − discount: what is charged."""
    currency: str


def quote(
    lines: Sequence[tuple[int, int]],
    *,
    currency: str,
    country: str,
    state: str | None,
    shipping_method: str,
) -> Quote | Refusal:
    """Price an order of (unit price in minor units, quantity) lines.

    Tax is computed once on the subtotal and rounded half up (`money.apply_rate`); shipping is
    not taxed. A Refusal names a cart without lines or with too many, a quantity or price out
    of range, an unknown shipping method or currency, or an order above AMOUNT_MINOR_MAX.
    """
    if not 1 <= len(lines) <= LINES_MAX:
        return check_line_count(len(lines)) or Refusal(
            name="lines_out_of_range", detail="an order needs at least one line; add an item"
        )
    subtotal = 0
    for unit_price, quantity in lines:
        if not 1 <= quantity <= LINE_QUANTITY_MAX or unit_price < 0:
            return check_quantity(quantity) or Refusal(
                name="price_negative",
                detail="a unit price is negative; correct the catalog",
            )
        subtotal += unit_price * quantity
    shipping = PRICES_MINOR.get((shipping_method, currency))
    if shipping is None:
        return _shipping_refusal(shipping_method, currency)
    tax = apply_rate(subtotal, rate_bps(country, state))
    total = subtotal + tax + shipping
    if total > AMOUNT_MINOR_MAX:
        return Refusal(
            name="amount_too_large",
            detail=f"the order comes to more than {AMOUNT_MINOR_MAX} minor units of {currency}; "
            "split it into several",
        )
    return Quote(subtotal, tax, shipping, 0, total, currency)


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
