"""Recovery: what finishes or unwinds the checkouts that stopped halfway.

It trusts nobody's memory: for each pending order that is too old it asks the provider, by our
own id, what really happened to the charge. Money that is held or taken finishes the order;
otherwise the charge is made impossible first and the order unwound after that, so a replica
that wakes up late finds a voided charge and not a customer to bill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from actors.stock_client import StockClient
from domain.orders import PendingOrder, confirmed_event
from domain.payments import ChargeState
from domain.ports import OrderBook, PaymentProvider, StockSweep
from domain.stock import Load, PairStatus, Release, ReleaseStatus, Request

_log = structlog.get_logger(__name__)
INTERRUPTED = {
    "kind": "checkout_interrupted",
    "detail": "the checkout was interrupted and everything it held was given back; "
    "start again with a new Idempotency-Key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryConfig:
    """When recovery steps in."""

    stalled_after_s: float = 15.0
    """Age at which a pending order is looked after; a saga that is still at it stays right."""
    orphaned_after_s: float = 30.0
    """Age of a reservation without a pending order at which it is given back."""
    batch_max: int = 200


class Recovery:
    """One pass at a time; every step may be repeated, also by two recoveries at once."""

    def __init__(
        self,
        *,
        orders: OrderBook,
        provider: PaymentProvider,
        stock: StockClient,
        sweep: StockSweep,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        config: RecoveryConfig | None = None,
    ) -> None:
        self._config = config or RecoveryConfig()
        self._orders = orders
        self._provider = provider
        self._stock = stock
        self._sweep = sweep
        self._new_id = new_id
        self._now = now
        self.finished_total = 0
        self.unwound_total = 0
        self.released_total = 0

    async def settle_stalled(self) -> int:
        """Finish or unwind the oldest stalled orders; how many were found.

        Raises Unavailable when a part cannot be reached; the next pass goes on from there.
        """
        limit = self._now() - timedelta(seconds=self._config.stalled_after_s)
        stalled = await self._orders.stalled(limit, self._config.batch_max)
        for order in stalled:
            await self._settle(order)
        return len(stalled)

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

    async def _settle(self, order: PendingOrder) -> None:
        charge = await self._provider.lookup(order.transaction_id)
        if charge is not None and charge.status == "authorized":
            charge = await self._provider.capture(order.transaction_id)
        if charge is None or charge.status != "captured":
            # From here on it cannot be made. It may have been taken since we looked, though.
            charge = await self._provider.void(order.transaction_id)
        if charge.status == "captured":
            if not await self._lost_its_hold(order):
                return
            charge = await self._provider.refund(order.transaction_id)
        await self._unwind(order, charge)

    async def _lost_its_hold(self, order: PendingOrder) -> bool:
        """Confirm a paid order; True if it is not to be had and nobody else has settled it."""
        event = confirmed_event(self._new_id(), order.order_id, order.total_minor, order.currency)
        [status] = await self._orders.confirm([(order.order_id, event)])
        if status == "confirmed":
            self.finished_total += 1
            _log.info("order_finished_by_recovery", order_id=str(order.order_id))
        return status == "not_held"

    async def _unwind(self, order: PendingOrder, charge: ChargeState) -> None:
        [status] = await self._orders.fail([(order.order_id, INTERRUPTED, charge.status)])
        if status != "failed":
            return
        held = await self._orders.holds_of(order.order_id)
        if held:
            await self._stock.release([Release(one, pair) for one, pair in held])
        self.unwound_total += 1
        _log.info("order_unwound_by_recovery", order_id=str(order.order_id), charge=charge.status)
