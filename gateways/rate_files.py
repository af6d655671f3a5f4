"""Exchange rates as central banks and accountants hand them over: CSV or JSON files.

CSV has a head line and the columns `currency` and `rate`; JSON is `{"base": "USD",
"as_of": "2026-11-26", "rates": {"EUR": 0.92}}`. A rate is units of the currency for one of the
base; its digits are taken as they are written, never as binary floating point.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

from domain.exchange import ExchangeError, RateTable, rate_table

FILE_BYTES_MAX = 1_000_000
RATES_MAX = 1_000


def read_rates(path: Path, *, base: str | None, as_of: date | None, today: date) -> RateTable:
    """The rates in a file; `base` and `as_of` win over what a JSON file says of them.

    Without either the base is USD, the day `today`. A day after `today` is refused. Raises
    ExchangeError, or OSError for a file that cannot be read.
    """
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ExchangeError(f"{path} is over {FILE_BYTES_MAX} bytes; it is no file of rates")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ExchangeError(f"{path} is no text in UTF-8") from None
    said: dict[str, Any] = {}
    if path.suffix.lower() == ".json":
        said = _json(path, text)
        rates = _rates_of(path, said.get("rates"))
    else:
        rates = _csv(path, text)
    if len(rates) > RATES_MAX:
        raise ExchangeError(f"{path} has more than {RATES_MAX} rates")
    day = as_of or _day(path, said.get("as_of")) or today
    if day > today:
        raise ExchangeError(f"{path} is of {day}, which is yet to come; check --as-of")
    return rate_table(base or str(said.get("base", "USD")), day, rates)


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise ExchangeError(f"{path} is no JSON") from None
    if not isinstance(document, dict):
        raise ExchangeError(f'{path} is no object; write {{"base": …, "as_of": …, "rates": …}}')
    return document


def _rates_of(path: Path, rates: Any) -> dict[str, str]:
    if not isinstance(rates, dict):
        raise ExchangeError(f'{path} has no "rates"; write {{"rates": {{"EUR": 0.92}}}}')
    wrong = [name for name, rate in rates.items() if not isinstance(rate, str)]
    if wrong:
        raise ExchangeError(f"{path}: the rate of {wrong[0][:12]} is no number")
    return rates


def _csv(path: Path, text: str) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(text))
    rates: dict[str, str] = {}
    try:
        for row in rows:
            currency, rate = (row.get("currency") or "").strip(), row.get("rate")
            if not currency or rate is None:
                raise ExchangeError(
                    f"{path}, line {rows.line_num}: it needs the columns currency and rate"
                )
            if currency in rates:
                raise ExchangeError(f"{path}, line {rows.line_num}: {currency} is there twice")
            rates[currency] = rate
    except csv.Error as error:
        raise ExchangeError(f"{path}, line {rows.line_num}: {error}") from None
    return rates


def _day(path: Path, text: Any) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        raise ExchangeError(
            f"{path}: as_of {str(text)[:40]!r} is no day; write 2026-11-26"
        ) from None
