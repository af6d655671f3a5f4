"""Labelled orders as CSV: what is written reads back the same, and every mistake has its line."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from domain.catalog import RejectedRow
from domain.fraud_features import features
from gateways.fraud_csv import (
    COLUMNS,
    LabelledFileError,
    LabelledOrder,
    read_labelled_orders,
    write_labelled_orders,
)
from sim.fraud_orders import generated_orders

ROW = {
    "order_id": "o-1",
    "ordered_at": "2026-03-01T12:00:00+01:00",
    "currency": "USD",
    "total": "80.50",
    "item_count": "2",
    "new_card": "yes",
    "recent_orders": "0",
    "avg_order_value": "",
    "shipping_country": "US",
    "user_country": "",
    "address_mismatch": "no",
    "fraud": "no",
}


def read(text: str) -> list[LabelledOrder | RejectedRow]:
    return list(read_labelled_orders(io.StringIO(text, newline="")))


def file_of(*rows: dict[str, str], heading: str = ",".join(COLUMNS)) -> str:
    return "\n".join([heading, *(",".join(row.values()) for row in rows)]) + "\n"


def test_a_row_becomes_an_order() -> None:
    [one] = read(file_of(ROW | {"avg_order_value": "33.333", "user_country": "DE"}))
    assert isinstance(one, LabelledOrder)
    assert (one.order_id, one.fraud) == ("o-1", False)
    assert one.ordered_at == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert one.order.total_minor == 8_050
    assert one.order.avg_order_minor == Decimal("3333.3")
    assert one.order.payment_method == "new_card"
    assert one.order.user_country == "DE"


def test_what_is_written_reads_back() -> None:
    orders = list(generated_orders(500, seed=3, begin=datetime(2026, 1, 1, tzinfo=UTC)))
    text = io.StringIO(newline="")
    assert write_labelled_orders(text, orders) == 500
    back = read(text.getvalue())
    assert len(back) == 500
    for before, after in zip(orders, back, strict=True):
        assert isinstance(after, LabelledOrder)
        assert (after.order_id, after.ordered_at, after.fraud) == (
            before.order_id,
            before.ordered_at,
            before.fraud,
        )
        assert features(after.order) == pytest.approx(features(before.order), nan_ok=True, rel=0)
        assert after.order.currency == before.order.currency


def test_other_columns_and_another_order_of_columns_are_fine() -> None:
    names = [*reversed(COLUMNS), "remark"]
    cells = [*reversed(ROW.values()), "nice"]
    text = "\ufeff" + ",".join(names) + "\n\n" + ",".join(cells) + "\n"
    [one] = read(text)
    assert isinstance(one, LabelledOrder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("a,b\n1,2\n", "its heading has no order_id, ordered_at"),
        (file_of(ROW, heading=",".join([*COLUMNS, "fraud"])), "fraud more than once"),
        ('"a\n', "line 1 is no heading"),
    ],
)
def test_a_file_of_something_else_is_refused(text: str, says: str) -> None:
    with pytest.raises(LabelledFileError, match=says):
        read(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ordered_at": "yesterday"}, "ordered_at is 'yesterday'"),
        ({"ordered_at": "2026-03-01T12:00:00"}, "without a zone"),
        ({"currency": "XXX"}, "XXX"),
        ({"total": "-3"}, "total: '-3' is not an amount"),
        ({"total": "1.005"}, "total: "),
        ({"total": ""}, "total: "),
        ({"item_count": "0"}, "item_count is 0"),
        ({"item_count": "2.5"}, "item_count is '2.5'"),
        ({"recent_orders": "9999999"}, "recent_orders is '9999999'"),
        ({"avg_order_value": "nan"}, "avg_order_value is 'nan'"),
        ({"avg_order_value": "-1"}, "avg_order_value is '-1'"),
        ({"shipping_country": "usa"}, "shipping_country is 'usa'"),
        ({"user_country": "1"}, "user_country is '1'"),
        ({"new_card": "perhaps"}, "new_card is 'perhaps'; write yes or no"),
        ({"address_mismatch": ""}, "address_mismatch is ''"),
        ({"fraud": "2"}, "fraud is '2'"),
        ({"order_id": "x" * 101}, "order_id is longer"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_costs_no_other(
    change: dict[str, str], says: str
) -> None:
    first, bad, last = read(file_of(ROW, ROW | change, ROW))
    assert isinstance(first, LabelledOrder)
    assert isinstance(last, LabelledOrder)
    assert isinstance(bad, RejectedRow)
    assert bad.line == 3
    assert says in bad.reason


def test_a_row_with_too_few_cells() -> None:
    [bad] = read(file_of() + "1,2,3\n")
    assert isinstance(bad, RejectedRow)
    assert bad.reason == "it has 3 cells, the heading has 12"
