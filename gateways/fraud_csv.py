"""Orders whose outcome is known, as CSV: what a model of fraud is trained on and measured with.

One row per order, at the moment it was placed. Columns that are not named here are passed over.
No card number, name or street is asked for: whether the addresses differed is enough.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TextIO

from domain.catalog import RejectedRow
from domain.fraud_features import NEW_CARD, FraudInput
from domain.money import SCALES, MoneyError, parse_wire, scale_of
from gateways.csv_records import CsvRecord, read_records

COLUMNS: dict[str, str] = {
    "order_id": "any name of the order; may be empty",
    "ordered_at": "ISO time with its zone",
    "currency": "ISO 4217",
    "total": "major units, plain digits",
    "item_count": "units over all lines, 1 or more",
    "new_card": "yes if this buyer had not paid with the card before",
    "recent_orders": "the buyer's other orders in the hour before",
    "avg_order_value": "the buyer's average order before this one, major units; empty: none",
    "shipping_country": "ISO 3166-1 alpha-2; empty: unknown",
    "user_country": "where the buyer was known to be; empty: unknown",
    "address_mismatch": "yes if a billing address was given that is not the shipping address",
    "fraud": "yes if it turned out to be fraud",
}
COUNT_MAX = 1_000_000
ORDER_ID_LENGTH_MAX = 100
GENERATED = "generated-"
"""How the ids of orders begin that nobody placed."""

_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_COUNT = re.compile(r"[0-9]{1,7}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_AVERAGE = re.compile(r"[0-9]{1,13}(\.[0-9]{1,12})?")


class LabelledFileError(ValueError):
    """A file that holds no labelled orders; the message says what it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledOrder:
    """An order as it looked when it was placed, and what it turned out to be."""

    order_id: str
    ordered_at: datetime  # aware, UTC
    order: FraudInput
    fraud: bool


def read_labelled_orders(lines: TextIO) -> Iterator[LabelledOrder | RejectedRow]:
    """The orders of a file, row by row; a row that cannot be used comes as a RejectedRow.

    Open it as `read_records` asks. Raises LabelledFileError if there is no heading or a column
    is missing.
    """
    records = read_records(lines)
    heading = next(records, None)
    if not isinstance(heading, CsvRecord):
        raise LabelledFileError(
            "it is empty" if heading is None else f"line 1 is no heading: {heading.reason}"
        )
    # A byte order mark is how some programs begin a file.
    names = [cell.strip().removeprefix("\ufeff") for cell in heading.cells]
    if missing := [name for name in COLUMNS if name not in names]:
        raise LabelledFileError(
            f"its heading has no {', '.join(missing)}; the columns are: {', '.join(COLUMNS)}"
        )
    if repeated := {name for name in names if name in COLUMNS and names.count(name) > 1}:
        raise LabelledFileError(f"its heading has {', '.join(sorted(repeated))} more than once")
    places = {name: names.index(name) for name in COLUMNS}
    for record in records:
        if isinstance(record, RejectedRow):
            yield record
        elif len(record.cells) != len(names):
            reason = f"it has {len(record.cells)} cells, the heading has {len(names)}"
            yield RejectedRow(line=record.line, reason=reason)
        else:
            cells = {name: record.cells[place].strip() for name, place in places.items()}
            try:
                yield _labelled(cells)
            except (ValueError, MoneyError) as error:
                yield RejectedRow(line=record.line, reason=str(error))


def write_labelled_orders(lines: TextIO, orders: Iterable[LabelledOrder]) -> int:
    """Write orders as `read_labelled_orders` reads them; gives how many there were."""
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, one in enumerate(orders, 1):  # noqa: B007 - the last one is the answer
        writer.writerow(_cells(one))
    return count


def _cells(one: LabelledOrder) -> tuple[str, ...]:
    order = one.order
    scale = SCALES[order.currency]
    billing = order.billing_address
    average = order.avg_order_minor
    return (
        one.order_id,
        one.ordered_at.isoformat(timespec="seconds"),
        order.currency,
        f"{Decimal(order.total_minor) / scale:f}",
        str(order.item_count),
        _yes(order.payment_method == NEW_CARD),
        str(order.recent_orders),
        "" if average is None else f"{Decimal(average) / scale:f}",
        order.shipping_address.get("country") or "",
        order.user_country or "",
        _yes(billing is not None and billing != order.shipping_address),
        _yes(one.fraud),
    )


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _labelled(cells: Mapping[str, str]) -> LabelledOrder:
    if len(cells["order_id"]) > ORDER_ID_LENGTH_MAX:
        raise ValueError(f"order_id is longer than {ORDER_ID_LENGTH_MAX} characters")
    currency = cells["currency"]
    scale = scale_of(currency)
    average = cells["avg_order_value"]
    if average and not _AVERAGE.fullmatch(average):
        raise ValueError(f"avg_order_value is {average[:40]!r}; give plain digits, or nothing")
    items = _count(cells, "item_count")
    if items == 0:
        raise ValueError("item_count is 0; an order has one unit at least")
    try:
        total_minor = parse_wire(cells["total"], currency)
    except MoneyError as error:
        raise ValueError(f"total: {error}") from None
    return LabelledOrder(
        order_id=cells["order_id"],
        ordered_at=_moment(cells["ordered_at"]),
        fraud=_truth(cells, "fraud"),
        order=FraudInput(
            payment_method=NEW_CARD if _truth(cells, "new_card") else "card",
            shipping_address=address_in(_country(cells, "shipping_country") or ""),
            billing_address=OTHER_ADDRESS if _truth(cells, "address_mismatch") else None,
            total_minor=total_minor,
            currency=currency,
            item_count=items,
            recent_orders=_count(cells, "recent_orders"),
            avg_order_minor=Decimal(average) * scale if average else None,
            user_country=_country(cells, "user_country"),
        ),
    )


OTHER_ADDRESS: Mapping[str, str | None] = {"street": "elsewhere"}
"""Stands for a billing address that is not the shipping address."""


@cache
def address_in(country: str) -> Mapping[str, str | None]:
    """Stands for an address of which no more than the country is known."""
    return {"country": country} if country else {}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"ordered_at is {text[:40]!r}; write 2026-11-27T00:00:00+00:00") from None
    if moment.tzinfo is None:
        raise ValueError(f"ordered_at is {text}, without a zone; add +00:00 or Z")
    return moment.astimezone(UTC)


def _truth(cells: Mapping[str, str], name: str) -> bool:
    fact = _TRUTH.get(cells[name].lower())
    if fact is None:
        raise ValueError(f"{name} is {cells[name][:40]!r}; write yes or no")
    return fact


def _count(cells: Mapping[str, str], name: str) -> int:
    text = cells[name]
    if not _COUNT.fullmatch(text) or int(text) > COUNT_MAX:
        raise ValueError(f"{name} is {text[:40]!r}; give a number from 0 to {COUNT_MAX:,}")
    return int(text)


def _country(cells: Mapping[str, str], name: str) -> str | None:
    text = cells[name]
    if text and not _COUNTRY.fullmatch(text):
        raise ValueError(f"{name} is {text[:40]!r}; give two capital letters such as US")
    return text or None
