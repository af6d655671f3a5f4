"""Exchange rates from files: digits as written, and every mistake told with its place."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from domain.exchange import ExchangeError, RateTable
from gateways.rate_files import FILE_BYTES_MAX, read_rates

TODAY = date(2026, 11, 27)


def read(tmp_path: Path, name: str, text: str | bytes, **changes: Any) -> RateTable:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    given = {"base": None, "as_of": None, "today": TODAY, **changes}
    return read_rates(path, **given)


def test_csv(tmp_path: Path) -> None:
    table = read(
        tmp_path, "rates.csv", "\ufeffcurrency,name,rate\nEUR,Euro,0.9201\nJPY,Yen,151.3\n"
    )
    assert (table.base, table.as_of) == ("USD", TODAY)
    assert table.scaled == {"EUR": 9_201_000_000, "JPY": 1_513_000_000_000}


def test_json_says_base_and_day_itself(tmp_path: Path) -> None:
    text = '{"base": "EUR", "as_of": "2026-11-26", "rates": {"USD": 1.1, "JPY": 162, "EUR": 1}}'
    table = read(tmp_path, "rates.json", text)
    assert (table.base, table.as_of) == ("EUR", date(2026, 11, 26))
    assert table.scaled == {"USD": 11_000_000_000, "JPY": 1_620_000_000_000}


def test_what_is_asked_for_wins_over_the_file(tmp_path: Path) -> None:
    day = date(2026, 11, 1)
    text = '{"base": "EUR", "as_of": "2026-11-26", "rates": {"JPY": "162.0"}}'
    table = read(tmp_path, "rates.json", text, base="GBP", as_of=day)
    assert (table.base, table.as_of) == ("GBP", day)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "no rate"),
        ("a.csv", "currency,rate\n", "no rate"),
        ("a.csv", "code,value\nEUR,1\n", "line 2"),
        ("a.csv", "currency,rate\nEUR\n", "line 2"),
        ("a.csv", "currency,rate\nEUR,1\nEUR,2\n", "line 3"),
        ("a.csv", "currency,rate\nEUR,1.x\n", "EUR"),
        ("a.csv", "currency,rate\nXXX,1\n", "XXX"),
        ("a.csv", b"currency,rate\n\xff,1\n", "UTF-8"),
        ("a.csv", "x" * (FILE_BYTES_MAX + 1), "bytes"),
        ("a.csv", "currency,rate\n" + "A,1\n" * 2, "twice"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.json", "[]", "no object"),
        ("a.json", "{}", "rates"),
        ("a.json", '{"rates": {"EUR": null}}', "EUR"),
        ("a.json", '{"rates": {"EUR": NaN}}', "EUR"),
        ("a.json", '{"as_of": "soon", "rates": {"EUR": 1}}', "soon"),
        ("a.json", '{"as_of": "2026-11-28", "rates": {"EUR": 1}}', "yet to come"),
        ("a.json", '{"base": 5, "rates": {"EUR": 1}}', "base"),
    ],
    ids=str,
)
def test_what_is_no_file_of_rates(tmp_path: Path, name: str, text: str | bytes, says: str) -> None:
    with pytest.raises(ExchangeError, match=says):
        read(tmp_path, name, text)
