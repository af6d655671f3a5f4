"""Recovery: what finishes or unwinds the checkouts that stopped halfway.

It trusts nobody's memory: for each pending order that is too old the providers are asked, by our
own ids, what really happened to its charges (`actors.settlement`). Money that is held or taken
finishes the order; otherwise the charges are made impossible first and the order unwound after
that, so a replica that wakes up late finds a voided charge and not a customer to bill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from actors.settlement import Settlement
from actors.stock_client import StockClient
from domain.orders import OpenOrder
from domain.ports import OrderBook, PromotionBook, StockSweep
from domain.stock import Load, PairStatus, Release, ReleaseStatus, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryConfig:
    """When recovery steps in."""

    stalled_after_s: float = 15.0
    """Age at which a pending order is looked after; a saga that is still at it stays right."""
    orphaned_after_s: float = 30.0
    """Age of a reservation without a pending order at which it is given back."""
    look_again_after_s: float = 10.0
    """How long an order that waits is not looked at, unless a provider tells of it."""
    uses_orphaned_after_s: float = 10.0
    """Age at which the use of a promotion by an order that failed is given back; who failed it
    has done so before, unless it died in between."""
    batch_max: int = 1_000
    at_once_max: int = 64
    """Orders that providers are asked about at the same time."""


class Recovery:
    """One pass at a time; every step may be repeated, also by two recoveries at once."""

    def __init__(
        self,
        *,
        orders: OrderBook,
        settlement: Settlement,
        stock: StockClient,
        sweep: StockSweep,
        promotions: PromotionBook | None = None,
        now: Callable[[], datetime],
        config: RecoveryConfig | None = None,
    ) -> None:
        self._config = config or RecoveryConfig()
        self._orders = orders
        self._settlement = settlement
        self._stock = stock
        self._sweep = sweep
        self._promotions = promotions
        self._now = now
        self._at_once = asyncio.Semaphore(self._config.at_once_max)
        self.finished_total = 0
        self.unwound_total = 0
        self.released_total = 0

    async def settle_stalled(self) -> int:
        """Finish or unwind the oldest stalled orders; how many were found.

        Raises Unavailable when a part cannot be reached; the next pass goes on from there.
        """
        limit = self._now() - timedelta(seconds=self._config.stalled_after_s)
        return await self._settle_all(await self._orders.stalled(limit, self._config.batch_max))

    async def settle_waiting(self) -> int:
        """Look after orders that wait for their buyer, a bank or an operator; how many.

        Raises as `settle_stalled`.
        """
        now = self._now()
        before = now - timedelta(seconds=self._config.look_again_after_s)
        found = await self._settle_all(
            await self._orders.waiting(now, before, self._config.batch_max)
        )
        await self._orders.events_settled(before)
        if self._promotions is not None:
            # Younger ones may still be about to be recorded.
            orphans = now - timedelta(seconds=self._config.uses_orphaned_after_s)
            await self._promotions.return_orphans(orphans, self._config.batch_max)
        return found

    async def _settle_all(self, orders: Sequence[OpenOrder]) -> int:
        """All of them, whatever becomes of the others; then the first failure, if any."""
        results = await asyncio.gather(*map(self._settle, orders), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(orders)

    async def release_abandoned(self) -> int:
        """Give back reservations whose time is over or whose order is gone; how many.

        Of those whose time is over the owner is only made to look: it lets them expire by its own
        clock, unless they have been extended since they were found.
        """
        found = await self._sweep.abandoned(
            orphaned_for_s=self._config.orphaned_after_s, limit=self._config.batch_max
        )
        if not found:
            return 0
        late = [pair for _, pair, overdue in found if overdue]
        orphans = [Release(one, pair) for one, pair, overdue in found if not overdue]
        asked: list[Request] = [*orphans, *(Load(pair) for pair in dict.fromkeys(late))]
        answers = await self._stock.ask(asked)
        released = sum(
            answer.status == ReleaseStatus.RELEASED for answer in answers[: len(orphans)]
        )
        looked_at = {
            request.inventory_id
            for request, answer in zip(asked, answers, strict=True)
            if type(request) is Load and answer.status == PairStatus.DONE
        }
        released += sum(pair in looked_at for pair in late)
        self.released_total += released
        return released

    async def _settle(self, order: OpenOrder) -> None:
        async with self._at_once:
            result = await self._settlement.settle(order)
        self.finished_total += result == "confirmed"
        self.unwound_total += result == "failed"
