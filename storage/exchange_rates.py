"""Exchange rates in Postgres, by day."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import asyncpg

from domain.exchange import RATE_DECIMALS, RateTable
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("exchange_rates")


class PostgresExchangeRates:
    """The rates that operators load and replicas read. Raises Unavailable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def load(self, table: RateTable) -> None:
        """Keep a day's rates; the same day again replaces all of that day's."""
        currencies = sorted(table.scaled)
        rates = [Decimal(table.scaled[one]).scaleb(-RATE_DECIMALS) for one in currencies]

        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["drop_day"], table.as_of, table.base, currencies)
                await connection.execute(_SQL["load"], table.base, table.as_of, currencies, rates)

        await reach(write)

    async def newest(self, today: date) -> RateTable | None:
        """The rates of the last day that is not after `today`; None if there are none."""
        rows = await reach(lambda: self._pool.fetch(_SQL["newest"], today))
        if not rows:
            return None
        scaled = {row["currency"]: int(row["rate"].scaleb(RATE_DECIMALS)) for row in rows}
        return RateTable(base=rows[0]["base"], as_of=rows[0]["as_of"], scaled=scaled)
