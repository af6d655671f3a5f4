"""Exchange rates in Postgres: by day, exact, the newest that is not of tomorrow."""

from __future__ import annotations

from datetime import date

import asyncpg
import pytest

from domain.exchange import rate_table
from storage.exchange_rates import PostgresExchangeRates

pytestmark = pytest.mark.asyncio
THURSDAY, FRIDAY = date(2026, 11, 26), date(2026, 11, 27)


async def test_the_newest_day_counts(pool: asyncpg.Pool) -> None:
    book = PostgresExchangeRates(pool)
    assert await book.newest(FRIDAY) is None
    thursday = rate_table("USD", THURSDAY, {"EUR": "0.9201234567", "VND": "25999.5"})
    friday = rate_table("EUR", FRIDAY, {"USD": "1.1"})
    await book.load(thursday)
    await book.load(friday)
    assert await book.newest(THURSDAY) == thursday
    assert await book.newest(FRIDAY) == friday
    assert await book.newest(date(2026, 11, 1)) is None


async def test_a_day_again_replaces_that_day(pool: asyncpg.Pool) -> None:
    book = PostgresExchangeRates(pool)
    await book.load(rate_table("USD", FRIDAY, {"EUR": "0.9", "JPY": "150"}))
    corrected = rate_table("USD", FRIDAY, {"EUR": "0.92", "GBP": "0.78"})
    await book.load(corrected)
    await book.load(corrected)
    assert await book.newest(FRIDAY) == corrected
    other_base = rate_table("GBP", FRIDAY, {"EUR": "1.17"})
    await book.load(other_base)
    assert await book.newest(FRIDAY) == other_base
