"""The steps of orders in Postgres, each a batch over all orders that are at it.

One instance per process; checkout and recovery go through the same kind of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from actors.coalescer import Coalescer
from actors.retry import until_reached
from domain.orders import HistoryOfCustomer, OrderDraft, OutboxEvent, Parking, RecordedOrder
from domain.ports import FraudNote, OrderBook, PromotionBook, Unavailable
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """Bounds of the batches."""

    batch_max: int = 256
    """Orders per transaction."""
    batch_spacing_s: float = 0.0
    """Least time between two batches of a step (see Coalescer)."""
    queue_max: int = 5_000
    """Orders waiting for a batch; beyond it the shopper is told to come back."""


class OrderSteps:
    """Each method raises Unavailable or Overloaded; asked again, it changes nothing twice."""

    def __init__(
        self,
        orders: OrderBook,
        promotions: PromotionBook | None = None,
        *,
        monotonic: Callable[[], float],
        config: StepConfig | None = None,
    ) -> None:
        config = config or StepConfig()
        self._monotonic = monotonic
        bounds: dict[str, Any] = {
            "batch_max": config.batch_max,
            "queue_max": config.queue_max,
            "spacing_s": config.batch_spacing_s,
        }
        self.recording: Coalescer[OrderDraft, HistoryOfCustomer | RecordedOrder] = Coalescer(
            self._patient(orders.record), **bounds
        )
        self.confirming: Coalescer[tuple[UUID, OutboxEvent], str] = Coalescer(
            self._patient(orders.confirm), **bounds
        )
        self.failing: Coalescer[tuple[UUID, Mapping[str, Any], Mapping[str, str]], str] = Coalescer(
            self._patient(orders.fail), **bounds
        )
        self.parking: Coalescer[Parking, str] = Coalescer(self._patient(orders.park), **bounds)
        self.noting: Coalescer[FraudNote, None] = Coalescer(
            self._patient(_answered(orders.note_fraud)), **bounds
        )

        promotions = promotions or _NoPromotions()
        self.redeeming: Coalescer[Redemption, RedemptionOutcome] = Coalescer(
            self._patient(promotions.redeem_many), **bounds
        )
        self.returning: Coalescer[UUID, None] = Coalescer(
            self._patient(_answered(promotions.give_back)), **bounds
        )

    def _patient(self, work: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        async def patiently(items: list[Any]) -> Sequence[Any]:
            try:
                return await until_reached(lambda: work(items), monotonic=self._monotonic)
            except Unavailable:
                raise
            except Exception as error:
                if len(items) == 1:
                    return [error]
            # An order that cannot be done is no fault of those that are in a batch with it: each
            # batch is all or nothing, so it is made again in halves, down to the order itself.
            half = len(items) // 2
            return [*await patiently(items[:half]), *await patiently(items[half:])]

        return patiently


class _NoPromotions:
    """PromotionBook of a shop that has none."""

    async def redeem_many(self, redemptions: Sequence[Redemption]) -> list[RedemptionOutcome]:
        return [RedemptionOutcome(status=RedemptionStatus.UNKNOWN) for _ in redemptions]

    async def give_back(self, order_ids: Collection[UUID]) -> int:
        del order_ids
        return 0

    async def return_orphans(self, older_than: datetime, limit: int) -> int:
        del older_than, limit
        return 0


def _answered(work: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """For a batch that answers nothing: nothing for each."""

    async def done(items: list[Any]) -> list[None]:
        await work(items)
        return [None] * len(items)

    return done
