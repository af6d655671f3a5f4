"""Operators' decisions about orders in review: written down first, carried out right after.

A decision is one conditional change of the order's state. Of two operators, or of one and the end
of the time, the first wins; the others learn what was decided. What follows from it, the charge or
the release of the stock, goes on by itself: recovery and the sweep do it should this process end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from actors.coalescer import Overloaded
from actors.settlement import Settlement
from domain.ports import OrderBook, ReviewBook, Unavailable
from domain.reviews import Review, ReviewDecision
from domain.transitions import OrderState

_log = structlog.get_logger(__name__)

CHARGE_WAIT_S = 300.0
"""How long an approved order is tried to be charged, also if it was approved at the last moment.
Its stock is kept for the payment beyond the time for the decision."""
AT_ONCE_MAX = 64
"""Decisions that are carried out at the same time; those beyond are left to recovery."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What has become of a decision."""

    review: Review
    """The order as it is now."""
    counted: bool
    """False if it came too late: the order is as it was before."""


class Reviews:
    """Takes decisions. Keeps nothing but what it is carrying out."""

    def __init__(
        self,
        *,
        book: ReviewBook,
        orders: OrderBook,
        settlement: Settlement,
        now: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._orders = orders
        self._settlement = settlement
        self._now = now
        self._carrying_out: set[asyncio.Task[None]] = set()

    async def decide(
        self, order_id: UUID, *, approve: bool, by: str, note: str = ""
    ) -> Decided | None:
        """Approve or decline an order in review; None if no such order was ever put up for it.

        Raises Unavailable: whether it was decided is not known, and it may be repeated.
        """
        if await self._book.find(order_id) is None:
            return None
        decision = ReviewDecision(approve=approve, by=by, note=note, at=self._now())
        if approve:
            until = decision.at + timedelta(seconds=CHARGE_WAIT_S)
            await self._book.accept(order_id, decision, until)
            await self._settlement.reach("review.accepted")
        else:
            await self._settlement.decline(order_id, decision)
        review = await self._book.find(order_id)
        if review is None:
            raise Unavailable(f"order {order_id} was there a moment ago; try again")
        counted = review.decision == decision
        if counted:
            _log.info("review_decided", order_id=str(order_id), approve=approve, by=by)
            self._carry_out(order_id, approve=approve)
        return Decided(review, counted)

    async def drain(self) -> None:
        """Wait for what is being carried out."""
        while self._carrying_out:
            await asyncio.wait(self._carrying_out)

    def _carry_out(self, order_id: UUID, *, approve: bool) -> None:
        if len(self._carrying_out) >= AT_ONCE_MAX:
            return
        work = self._settle(order_id) if approve else self._settlement.release(order_id)
        task = asyncio.create_task(self._left_to_recovery(order_id, work))
        self._carrying_out.add(task)
        task.add_done_callback(self._carrying_out.discard)

    async def _settle(self, order_id: UUID) -> None:
        order = await self._orders.open_by_id(order_id)
        if order is not None and order.status == OrderState.ACCEPTED:
            await self._settlement.settle(order)

    async def _left_to_recovery(self, order_id: UUID, work: Coroutine[Any, Any, object]) -> None:
        """Who decided has their answer: what cannot be done now is done later."""
        try:
            await work
        except (Unavailable, Overloaded) as error:
            _log.warning("review_left_to_recovery", order_id=str(order_id), reason=str(error))
        except Exception as error:
            _log.error("review_left_to_recovery", order_id=str(order_id), exc_info=error)
