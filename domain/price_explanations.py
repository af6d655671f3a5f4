"""Why an order costs what it costs: every line of a quote, the shipping and the totals, in steps.

Made from a quote when somebody asks; a checkout that nobody asks about pays nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from domain.exchange import Conversion
from domain.pricing import Quote, QuotedLine
from domain.tax import PPM_PER_PERCENT

EntryKind = Literal["conversion", "goods", "promotion", "shipping", "tax", "tax_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step: what it is, what it is called, and what it adds (or takes off, below 0)."""

    kind: EntryKind
    code: str
    """For programs: a coupon's code, a tax's place, a shipping method, a currency pair."""
    label: str
    """For people."""
    amount_minor: int
    """In the currency that is charged; 0 for what only tells how."""


def explain_line(quote: Quote, position: int) -> list[Entry]:
    """The steps of one line; they add up to its net price and its tax."""
    line = quote.lines[position]
    entries = [_goods(line, quote.currency)]
    if quote.conversion is not None:
        entries.append(_conversion(quote.conversion))
    for one in quote.applied:
        if one.by_line[position]:
            entries.append(
                Entry(
                    kind="promotion",
                    code=one.promotion.code or "",
                    label=one.promotion.label,
                    amount_minor=-one.by_line[position],
                )
            )
    if line.tax_ppm:
        entries.append(_tax(line.tax_minor, line.tax_ppm, quote.tax.place))
    return entries


def explain_shipping(quote: Quote) -> list[Entry]:
    """The steps of the shipping; they add up to what is charged for it."""
    entries = [
        Entry(
            kind="shipping",
            code=quote.shipping_method,
            label=f"{quote.shipping_method} shipping, not taxed",
            amount_minor=quote.shipping_minor,
        )
    ]
    for one in quote.applied:
        if one.shipping_minor:
            entries.append(
                Entry(
                    kind="promotion",
                    code=one.promotion.code or "",
                    label=one.promotion.label,
                    amount_minor=-one.shipping_minor,
                )
            )
    return entries


def explain_totals(quote: Quote) -> list[Entry]:
    """The steps of the whole; they add up to the total."""
    entries = [
        Entry(kind="goods", code="", label="goods", amount_minor=quote.subtotal_minor),
    ]
    for one in quote.applied:
        entries.append(
            Entry(
                kind="promotion",
                code=one.promotion.code or "",
                label=one.promotion.label,
                amount_minor=-one.total_minor,
            )
        )
    by_rate: dict[int, int] = {}
    for line in quote.lines:
        by_rate[line.tax_ppm] = by_rate.get(line.tax_ppm, 0) + line.tax_minor
    entries += [_tax(amount, ppm, quote.tax.place) for ppm, amount in by_rate.items()]
    if quote.tax.source == "fallback":
        label = "the tax service gave no answer; rates from the shop's table"
        entries.append(Entry(kind="tax_source", code="fallback", label=label, amount_minor=0))
    shipping = f"{quote.shipping_method} shipping"
    entries.append(
        Entry(
            kind="shipping",
            code=quote.shipping_method,
            label=shipping,
            amount_minor=quote.shipping_minor,
        )
    )
    return entries


def record_of(quote: Quote) -> dict[str, Any]:
    """What is kept with the order, as JSON: how the price came about, amounts in minor units."""
    record: dict[str, Any] = {
        "promotions": [
            {
                "promotion_id": str(one.promotion.promotion_id),
                "code": one.promotion.code,
                "label": one.promotion.label,
                "by_line": list(one.by_line),
                "shipping_minor": one.shipping_minor,
            }
            for one in quote.applied
        ],
        "tax": {
            "place": quote.tax.place,
            "source": quote.tax.source,
            "rates_ppm": [line.tax_ppm for line in quote.lines],
        },
        "shipping_discount_minor": quote.shipping_discount_minor,
    }
    if (conversion := quote.conversion) is not None:
        record["conversion"] = {
            "listed": conversion.listed,
            "charged": conversion.charged,
            "rate": str(conversion.rate),
            "as_of": conversion.as_of.isoformat(),
        }
    return record


def percent(ppm: int) -> str:
    """A rate as people write it: 8 %, 14.975 %."""
    whole, rest = divmod(ppm, PPM_PER_PERCENT)
    decimals = f".{rest:04}".rstrip("0") if rest else ""
    return f"{whole}{decimals} %"


def _goods(line: QuotedLine, currency: str) -> Entry:
    label = "1 unit" if line.quantity == 1 else f"{line.quantity} units"
    return Entry(kind="goods", code=currency, label=label, amount_minor=line.gross_minor)


def _conversion(one: Conversion) -> Entry:
    label = f"1 {one.listed} is {one.rate.normalize():f} {one.charged}, rate of {one.as_of}"
    return Entry(kind="conversion", code=f"{one.listed}-{one.charged}", label=label, amount_minor=0)


def _tax(amount: int, ppm: int, place: str) -> Entry:
    label = f"tax {place}, {percent(ppm)} of the net price"
    return Entry(kind="tax", code=place, label=label, amount_minor=amount)
