"""The checkout: reserve and record, score, authorize, capture, confirm; or unwind.

One saga per order (ARCHITECTURE.md, The way of an order). Every step is a batch over
all checkouts in flight, is safe to repeat, and leaves enough behind for recovery to finish or
unwind the order if this process dies right after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from actors.coalescer import Coalescer, Overloaded
from actors.holding import Demand, Holder, busy_for_ms
from actors.retry import until_reached
from actors.stock_client import StockClient
from domain import fraud
from domain.orders import (
    HistoryOfCustomer,
    OrderDraft,
    OutboxEvent,
    RecordedOrder,
    confirmed_event,
)
from domain.payments import ChargeRequest, ChargeState
from domain.ports import OrderBook, PaymentProvider, Unavailable
from domain.stock import RESERVATION_TTL_S, RETRYABLE, Answer, Release, ReserveStatus

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The order is confirmed, paid and durable."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The order failed for a reason that repeating the request will not change."""

    failure: Mapping[str, Any]
    """`kind` of the problem, `detail`, and what helps."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The idempotency key belongs to an order already."""

    order: RecordedOrder


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Not decided: too busy, or a part did not answer. The same request may be repeated."""

    detail: str
    retry_after_ms: int = 0
    """When a repeat has better chances, as the stock's owners estimate it; 0: nobody knows."""


CheckoutResult = Confirmed | Refused | KnownKey | TryAgain


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutConfig:
    """Bounds of the checkout."""

    batch_max: int = 256
    """Orders per transaction."""
    batch_spacing_s: float = 0.0
    """Least time between two batches of a step (see Coalescer)."""
    queue_max: int = 5_000
    """Orders waiting for a batch; beyond it the shopper is told to come back."""
    reservation_ttl_s: float = RESERVATION_TTL_S


class Checkout:
    """Runs sagas. One per process; it keeps nothing between orders but its batches."""

    def __init__(
        self,
        *,
        stock: StockClient,
        orders: OrderBook,
        provider: PaymentProvider,
        new_id: Callable[[], UUID],
        monotonic: Callable[[], float],
        config: CheckoutConfig | None = None,
    ) -> None:
        self._config = config or CheckoutConfig()
        self._stock = stock
        self._orders = orders
        self._provider = provider
        self._new_id = new_id
        self._holder = Holder(
            stock, new_id=new_id, monotonic=monotonic, ttl_s=self._config.reservation_ttl_s
        )
        self._monotonic = monotonic
        self._releasing: set[asyncio.Task[None]] = set()
        bounds: dict[str, Any] = {
            "batch_max": self._config.batch_max,
            "queue_max": self._config.queue_max,
            "spacing_s": self._config.batch_spacing_s,
        }
        self._recording: Coalescer[OrderDraft, HistoryOfCustomer | RecordedOrder] = Coalescer(
            self._patient(orders.record), **bounds
        )
        self._confirming: Coalescer[tuple[UUID, OutboxEvent], str] = Coalescer(
            self._patient(orders.confirm), **bounds
        )
        self._failing: Coalescer[tuple[UUID, Mapping[str, Any], str], str] = Coalescer(
            self._patient(orders.fail), **bounds
        )

    async def run(self, draft: OrderDraft, demands: Sequence[Demand]) -> CheckoutResult:
        """Take one drafted order to its end."""
        try:
            return await self._run(draft, demands)
        except (Unavailable, Overloaded) as error:
            # Pending or not there: recovery will find it, or the repeat starts afresh.
            _log.warning(
                "checkout_stopped_halfway", order_id=str(draft.order_id), reason=str(error)
            )
            return TryAgain("a part of the shop did not answer in time; nothing is lost")

    async def _run(self, draft: OrderDraft, demands: Sequence[Demand]) -> CheckoutResult:
        recording = self._recording.submit(draft)  # both at once: neither needs the other
        try:
            held, short = await self._holder.hold_all(draft.order_id, draft.user_id, demands)
        except BaseException:
            recording.cancel()
            raise
        try:
            history = await recording
        except (Unavailable, Overloaded):
            self._give_back_later(held)
            raise
        if isinstance(history, RecordedOrder):
            self._give_back_later(held)
            return KnownKey(history)
        if short is not None:
            return await self._not_held(draft, held, *short)
        verdict = self._score(draft, history)
        if verdict.action != "approve":
            note = (draft.order_id, verdict.risk_score, verdict.action, verdict.flags)
            await self._orders.note_fraud([note])
        if verdict.action == "decline":
            failure = _declined("fraudulent")
            return await self._unwind(draft, held, failure, payment="voided")
        return await self._pay_and_confirm(draft, held)

    async def _not_held(
        self, draft: OrderDraft, held: list[Release], demand: Demand, answer: Answer
    ) -> CheckoutResult:
        if answer.status in RETRYABLE:
            await self._orders.withdraw([draft.order_id])
            self._give_back_later(held)
            detail = "the stock of this product is asked for too often right now"
            return TryAgain(detail, busy_for_ms(answer))
        failure = _not_to_be_had(demand, answer)
        return await self._unwind(draft, held, failure, payment="voided")

    def _score(self, draft: OrderDraft, history: HistoryOfCustomer) -> fraud.FraudScore:
        average = history.average_total_minor
        known = average is not None
        return fraud.score(
            fraud.FraudInput(
                payment_method=draft.payment_method if known else fraud.NEW_CARD,
                shipping_address=draft.shipping_address,
                billing_address=draft.billing_address,
                total_minor=draft.total_minor,
                item_count=sum(line.quantity for line in draft.lines),
                recent_orders=history.orders_last_hour,
                avg_order_minor=round(average) if average is not None else None,
                user_country=history.last_country,
                currency=draft.currency,
            )
        )

    async def _pay_and_confirm(self, draft: OrderDraft, held: list[Release]) -> CheckoutResult:
        charge = ChargeRequest(
            draft.transaction_id, draft.total_minor, draft.currency, draft.payment_token
        )
        state = await self._ask(lambda: self._provider.authorize(charge))
        if state.status == "authorized":
            state = await self._ask(lambda: self._provider.capture(draft.transaction_id))
        if state.status != "captured":
            code = state.decline_code or "payment_cancelled"
            # Refunded: recovery was here before and gave the money back.
            payment = state.status if state.status in ("declined", "refunded") else "voided"
            return await self._unwind(draft, held, _declined(code), payment=payment)
        event = confirmed_event(self._new_id(), draft.order_id, draft.total_minor, draft.currency)
        status = await self._confirming.submit((draft.order_id, event))
        if status == "confirmed":
            return Confirmed()
        # Time ran out on the hold, or recovery was faster: the money goes back.
        await self._ask(lambda: self._provider.refund(draft.transaction_id))
        failure = {
            "kind": "hold_expired",
            "detail": "the hold on the stock ran out before the payment came through; "
            "the payment was refunded",
        }
        return await self._unwind(draft, held, failure, payment="refunded")

    async def _unwind(
        self, draft: OrderDraft, held: list[Release], failure: Mapping[str, Any], *, payment: str
    ) -> CheckoutResult:
        failing = self._failing.submit((draft.order_id, failure, payment))
        await self._give_back(held)
        await failing
        return Refused(failure)

    async def _give_back(self, held: list[Release]) -> None:
        # What cannot be released now is found by the sweep, at the latest when its time is over.
        if held:
            await self._stock.release(held)

    def _give_back_later(self, held: list[Release]) -> None:
        """The shopper need not wait for it: the answer does not depend on it."""
        if held:
            task = asyncio.create_task(self._give_back(held))
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)

    async def _ask(self, call: Callable[[], Any]) -> ChargeState:
        return await until_reached(call, monotonic=self._monotonic)

    def _patient(self, work: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        async def patiently(items: list[Any]) -> Any:
            return await until_reached(lambda: work(items), monotonic=self._monotonic)

        return patiently


def _not_to_be_had(demand: Demand, answer: Answer) -> dict[str, Any]:
    asked = f"{demand.quantity} of {demand.sku} asked for"
    if answer.status == ReserveStatus.OVER_LIMIT:
        kind = "limit_exceeded"
        detail = f"{asked}, one customer may have {answer.available} more; change the quantity"
    else:
        kind, detail = "out_of_stock", f"{asked}, {answer.available} left"
    return {
        "kind": kind,
        "detail": detail,
        "product_id": demand.product_id,
        "sku": demand.sku,
        "requested": demand.quantity,
        "available": answer.available,
    }


def _declined(code: str) -> dict[str, Any]:
    reason = code.replace("_", " ")
    detail = f"the payment was declined ({reason}); choose another payment method"
    return {"kind": "payment_declined", "detail": detail, "decline_code": code}


__all__ = [
    "Checkout",
    "CheckoutConfig",
    "CheckoutResult",
    "Confirmed",
    "Demand",
    "KnownKey",
    "Refused",
    "TryAgain",
]
