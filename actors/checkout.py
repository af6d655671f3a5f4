"""The checkout: reserve and record, score, authorize, capture, confirm; or unwind.

One saga per order (ARCHITECTURE.md, The way of an order). Every step is a batch over
all checkouts in flight, is safe to repeat, and leaves enough behind for recovery to finish or
unwind the order if this process dies right after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from actors.charges import Charges, States, all_captured, outcome_of
from actors.coalescer import Coalescer, Overloaded
from actors.holding import Demand, Holder, busy_for_ms
from actors.order_steps import OrderSteps
from actors.settlement import HOLD_EXPIRED, Settlement, declined, not_paid
from actors.stock_client import StockClient
from domain import fraud
from domain.orders import FAILED_BEFORE, HistoryOfCustomer, OrderDraft, RecordedOrder
from domain.payments import ALIVE, NextAction
from domain.ports import OrderBook, Unavailable
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus
from domain.stock import RESERVATION_TTL_S, RETRYABLE, Answer, Release, ReserveStatus
from domain.transitions import OrderState

_log = structlog.get_logger(__name__)

_WAITING = (OrderState.IN_REVIEW, OrderState.ACCEPTED, OrderState.AWAITING_PAYMENT)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The order is confirmed, paid and durable."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The order failed for a reason that repeating the request will not change."""

    failure: Mapping[str, Any]
    """`kind` of the problem, `detail`, and what helps."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The order waits: for its buyer or a bank (`awaiting_payment`), or for an operator."""

    status: str
    waits_until: datetime
    actions: tuple[NextAction, ...]


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


CheckoutResult = Confirmed | Refused | Waiting | KnownKey | TryAgain


class Checkout:
    """Runs sagas. One per process; it keeps nothing between orders but its batches."""

    def __init__(
        self,
        *,
        stock: StockClient,
        orders: OrderBook,
        steps: OrderSteps,
        charges: Charges,
        settlement: Settlement,
        new_id: Callable[[], UUID],
        monotonic: Callable[[], float],
        reservation_ttl_s: float = RESERVATION_TTL_S,
        scoring: fraud.Scoring | None = None,
    ) -> None:
        self._stock = stock
        self._orders = orders
        self._steps = steps
        self._charges = charges
        self._settlement = settlement
        self._holder = Holder(stock, new_id=new_id, monotonic=monotonic, ttl_s=reservation_ttl_s)
        self._scoring = scoring or fraud.Scoring()
        # Those that were recorded together are scored together: the answers come at once.
        self._scorer: Coalescer[fraud.FraudInput, fraud.FraudScore] = Coalescer(self._score)
        self._releasing: set[asyncio.Task[None]] = set()

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
        recording = self._steps.recording.submit(draft)  # both at once: neither needs the other
        try:
            held, short = await self._holder.hold_all(draft.order_id, draft.user_id, demands)
            await self._settlement.reach("held")
        except BaseException:
            recording.cancel()
            raise
        try:
            history = await recording
        except Exception:
            self._give_back_later(held)
            raise
        if isinstance(history, RecordedOrder):
            self._give_back_later(held)
            return KnownKey(history)
        await self._settlement.reach("recorded")
        if short is not None:
            return await self._not_held(draft, held, *short)
        if draft.promotions:
            # Not before the order is on record: a repeat of a known key must not count a use,
            # and what has no order nobody gives back.
            redeemed = await self._redeem(draft)
            await self._settlement.reach("redeemed")
            if redeemed.status != RedemptionStatus.REDEEMED:
                return await self._unwind(draft, held, _not_redeemed(draft, redeemed), {})
        verdict = await self._scorer.submit(_to_score(draft, history))
        if verdict.action == "approve":
            return await self._pay_and_confirm(draft, held)
        explained = verdict.explained(self._scoring.model_version)
        await self._steps.noting.submit(
            (draft.order_id, verdict.risk_score, verdict.action, verdict.flags, explained)
        )
        await self._settlement.reach("scored")
        if verdict.action == "decline":
            return await self._unwind(draft, held, declined("fraudulent"), {})
        return await self._put_up_for_review(draft, held)

    async def _put_up_for_review(self, draft: OrderDraft, held: list[Release]) -> CheckoutResult:
        code = await self._charges.foresee(draft.parts)
        if code is not None:  # nobody need look at what cannot be paid
            return await self._unwind(draft, held, declined(code), {})
        return await self._wait(draft, held, OrderState.IN_REVIEW, None)

    async def _not_held(
        self, draft: OrderDraft, held: list[Release], demand: Demand, answer: Answer
    ) -> CheckoutResult:
        if answer.status in RETRYABLE:
            await self._orders.withdraw([draft.order_id])
            await self._settlement.reach("withdrawn")
            self._give_back_later(held)
            detail = "the stock of this product is asked for too often right now"
            return TryAgain(detail, busy_for_ms(answer))
        return await self._unwind(draft, held, _not_to_be_had(demand, answer), {})

    def _redeem(self, draft: OrderDraft) -> asyncio.Future[RedemptionOutcome]:
        """Count the uses of the order's promotions."""
        ids = tuple(promotion_id for promotion_id, _ in draft.promotions)
        asked = Redemption(order_id=draft.order_id, user_id=draft.user_id, promotion_ids=ids)
        return self._steps.redeeming.submit(asked)

    async def _score(self, orders: list[fraud.FraudInput]) -> Sequence[fraud.FraudScore]:
        return self._scoring.score_batch(orders)

    async def _pay_and_confirm(self, draft: OrderDraft, held: list[Release]) -> CheckoutResult:
        outcome = await self._charges.hold(draft.parts, first_try=True)
        if outcome.parts != draft.parts:
            draft = replace(draft, parts=outcome.parts)  # a part went to another provider
        await self._settlement.reach("authorized")
        if outcome.status == "waiting":
            return await self._wait(draft, held, OrderState.AWAITING_PAYMENT, outcome.states)
        states = outcome.states
        if outcome.status == "held":
            states = await self._charges.take(draft.parts, states)
            await self._settlement.reach("captured")
        if outcome.status == "failed" or not all_captured(draft.parts, states):
            why = not_paid(outcome_of(draft.parts, states))
            return await self._unwind(draft, held, why, await self._undo(draft, states))
        return await self._confirm_or_refund(draft, held, states)

    async def _confirm_or_refund(
        self, draft: OrderDraft, held: list[Release], states: States
    ) -> CheckoutResult:
        status = await self._settlement.confirm(draft)
        await self._settlement.reach("confirmed")
        if status == "confirmed":
            return Confirmed()
        if status not in ("not_held", OrderState.FAILED):
            # It was confirmed by somebody else, and more has happened to it since.
            recorded = await self._orders.by_key(draft.user_id, draft.idempotency_key)
            if recorded is not None:
                return KnownKey(recorded)
        # Time ran out on the hold, or recovery was faster: the money goes back.
        left = await self._charges.give_back(draft.parts, states)
        await self._settlement.reach("refunded")
        return await self._unwind(draft, held, HOLD_EXPIRED, left)

    async def _undo(self, draft: OrderDraft, states: States) -> Mapping[str, str]:
        """The other parts of a payment of which one failed, given back."""
        if len(states) == 1 and not any(state.status in ALIVE for state in states.values()):
            return {name: state.status for name, state in states.items()}
        left = await self._charges.undo(draft.parts)
        await self._settlement.reach("undone")
        return left

    async def _wait(
        self,
        draft: OrderDraft,
        held: list[Release],
        status: OrderState,
        states: States | None,
    ) -> CheckoutResult:
        now, until = await self._settlement.park(draft.order_id, status, draft.parts, held, states)
        # An operator may have been quicker than the answer that it is in review.
        if until is not None and now in _WAITING:
            await self._settlement.reach("parked")
            return Waiting(now, until, _asked_of_buyer(states or {}))
        if now == OrderState.CONFIRMED:
            return Confirmed()
        return await self._instead_of_waiting(draft, held, states or {})

    async def _instead_of_waiting(
        self, draft: OrderDraft, held: list[Release], states: States
    ) -> CheckoutResult:
        """Its stock cannot be kept, or somebody has settled it meanwhile: perhaps as paid."""
        left: Mapping[str, str] = {}
        if states:
            voided = await self._charges.void(draft.parts)
            if all_captured(draft.parts, voided):
                return await self._confirm_or_refund(draft, held, voided)
            left = await self._charges.give_back(draft.parts, voided)
            await self._settlement.reach("undone")
        return await self._unwind(draft, held, HOLD_EXPIRED, left)

    async def _unwind(
        self,
        draft: OrderDraft,
        held: list[Release],
        failure: Mapping[str, Any],
        charges: Mapping[str, str],
    ) -> CheckoutResult:
        failing = self._steps.failing.submit((draft.order_id, failure, charges))
        await self._give_back(held)
        status = await failing
        if draft.promotions and status in (OrderState.FAILED, FAILED_BEFORE):
            await self._steps.returning.submit(draft.order_id)
        await self._settlement.reach("failed")
        if status != OrderState.FAILED:
            # Somebody else was faster, with a reason of their own: what is on record is told,
            # now as on each repeat.
            recorded = await self._orders.by_key(draft.user_id, draft.idempotency_key)
            if recorded is not None and recorded.failure != failure:
                return KnownKey(recorded)
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


def _to_score(draft: OrderDraft, history: HistoryOfCustomer) -> fraud.FraudInput:
    average = history.average_total_minor
    known = average is not None
    return fraud.FraudInput(
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


def _not_redeemed(draft: OrderDraft, outcome: RedemptionOutcome) -> dict[str, Any]:
    named = dict(draft.promotions)
    name = named.get(outcome.promotion_id or UUID(int=0), "one of the discounts")
    own = outcome.status == RedemptionStatus.CUSTOMER_USED_UP
    why = (
        "you have had as many uses of it as a customer may"
        if own
        else "another buyer had the last use a moment before"
    )
    detail = f"{name} is used up: {why}; ask for a new quote"
    return {
        "kind": "coupon_used_up",
        "detail": detail,
        "coupon": name,
        "reason": "coupon_used_up",
    }


def _asked_of_buyer(states: States) -> tuple[NextAction, ...]:
    """What the buyer has to do for which charge, with what each of them comes to."""
    return tuple(
        replace(state.next_action, amount_minor=state.amount_minor, currency=state.currency)
        for state in states.values()
        if state.next_action is not None
    )


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


__all__ = [
    "Checkout",
    "CheckoutResult",
    "Confirmed",
    "Demand",
    "KnownKey",
    "Refused",
    "TryAgain",
    "Waiting",
]
