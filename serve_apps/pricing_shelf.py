"""What pricing needs of promotions and exchange rates, kept in the process.

All promotions that are not long over are in memory, and what has changed in Postgres is taken
over within about a second. Whether a use is left is never decided from here: redeeming is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from domain.exchange import RateTable
from domain.promotions import NO_OFFERS, Offers, Promotion, offers_of
from storage.exchange_rates import PostgresExchangeRates
from storage.promotions import TOLD_AFTER_END, PostgresPromotions

_log = structlog.get_logger(__name__)
REFRESH_EVERY_S = 1.0
RATES_EVERY = 30
"""Refreshes until it is looked for new exchange rates: they are of days."""


class PricingShelf:
    """The promotions and exchange rates of now. `now` is aware UTC."""

    def __init__(
        self,
        promotions: PostgresPromotions,
        rates: PostgresExchangeRates,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._promotions = promotions
        self._exchange = rates
        self._now = now
        self._known: dict[UUID, Promotion] = {}
        self._xmin = 0
        self._refreshes = 0
        self._watching: asyncio.Task[None] | None = None
        self.offers: Offers = NO_OFFERS
        self.rates: RateTable | None = None
        """None: no rates were ever loaded."""

    async def start(self) -> None:
        """Read everything, and begin to watch for changes. Raises Unavailable."""
        await self.refresh()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def refresh(self) -> None:
        """Take over what has changed since the last look. Raises Unavailable."""
        if self._refreshes % RATES_EVERY == 0:
            self.rates = await self._exchange.newest(self._now().date())
        changed, self._xmin = await self._promotions.changed_since(self._xmin)
        self._refreshes += 1
        if not any(self._known.get(one.promotion_id) != one for one in changed):
            return
        self._known |= {one.promotion_id: one for one in changed}
        oldest = self._now() - TOLD_AFTER_END
        over = [key for key, one in self._known.items() if one.ends_at and one.ends_at <= oldest]
        for key in over:
            del self._known[key]
        self.offers = offers_of(self._live())

    def _live(self) -> list[Promotion]:
        """Those with a code, and the automatic ones that are not over: each costs every order."""
        now = self._now()
        return [
            one
            for one in self._known.values()
            if one.code is not None or one.ends_at is None or one.ends_at > now
        ]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except Exception as error:
                _log.warning("pricing_shelf_not_refreshed", reason=repr(error))
