"""Bringing an order to its end: confirm it, unwind it, or let it wait.

The same for whoever does it: the order's own saga, recovery, a webhook, an operator's decision.
Any two of them may be at it at once; every step is conditional on the state before, and what
the providers say decides, never anybody's memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import structlog

from actors.charges import Charges, Outcome, States, all_captured, outcome_of
from actors.order_steps import OrderSteps
from actors.stock_client import StockClient
from domain.orders import (
    FAILED_BEFORE,
    OpenOrder,
    OrderDraft,
    Parking,
    PaymentPart,
    confirmed_event,
)
from domain.ports import OrderBook, Unavailable
from domain.reviews import ReviewDecision
from domain.stock import RETRYABLE, Extend, ExtendStatus, Release
from domain.transitions import OrderState

_log = structlog.get_logger(__name__)

Pause = Callable[[str], Awaitable[None]]
"""Where a test may hold a process: called with the name of the step that was just made, one of
`domain.checkout_steps.PAUSE_POINTS`."""

_TO_SETTLE = (OrderState.PENDING, OrderState.ACCEPTED, OrderState.AWAITING_PAYMENT)

Settled = Literal["confirmed", "failed", "waiting"]

INTERRUPTED: Mapping[str, Any] = {
    "kind": "checkout_interrupted",
    "detail": "the checkout was interrupted and everything it held was given back; "
    "start again with a new Idempotency-Key",
}
HOLD_EXPIRED: Mapping[str, Any] = {
    "kind": "hold_expired",
    "detail": "the hold on the stock ran out before the payment came through; "
    "the payment was refunded",
}
PAYMENT_EXPIRED: Mapping[str, Any] = {
    "kind": "payment_expired",
    "detail": "the payment did not come in time; everything was given back; order again",
}
NOT_APPROVED: Mapping[str, Any] = {
    "kind": "payment_declined",
    "detail": "the order was looked at and not accepted; nothing was charged",
    "decline_code": "fraudulent",
}


def declined(code: str) -> dict[str, Any]:
    """The problem of a payment that was declined with this code."""
    reason = code.replace("_", " ")
    detail = f"the payment was declined ({reason}); choose another payment method"
    return {"kind": "payment_declined", "detail": detail, "decline_code": code}


def not_paid(outcome: Outcome, status: str = OrderState.PENDING) -> Mapping[str, Any]:
    """The problem of an order in this state whose charges came to nothing.

    A charge that nobody declined was called off: while the checkout still runs, by recovery only,
    which took it for dead. Its buyer's card is as good as before.
    """
    if outcome.decline_code is not None:
        return declined(outcome.decline_code)
    return INTERRUPTED if status == OrderState.PENDING else declined("payment_cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementConfig:
    """How long orders wait, in seconds."""

    action_wait_s: float = 900.0
    """For the buyer to approve a payment elsewhere (3-D Secure, a wallet)."""
    transfer_wait_s: float = 7 * 86_400.0
    """For money that is sent by bank transfer."""
    review_wait_s: float = 86_400.0
    """For an operator to decide about a risky order."""


class Settlement:
    """Keeps nothing between orders."""

    def __init__(
        self,
        *,
        orders: OrderBook,
        steps: OrderSteps,
        charges: Charges,
        stock: StockClient,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        config: SettlementConfig | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._config = config or SettlementConfig()
        self._orders = orders
        self._steps = steps
        self._charges = charges
        self._stock = stock
        self._new_id = new_id
        self._now = now
        self._pause = pause

    async def reach(self, step: str) -> None:
        """A step was made; where tests hold the process, it stays here."""
        if self._pause is not None:
            await self._pause(step)

    async def settle(self, order: OpenOrder) -> Settled:
        """Go by what the providers say of an open order. Safe to repeat and to be overtaken.

        Raises Unavailable or Overloaded when a part cannot be reached; the order stays as it is.
        """
        if order.status not in _TO_SETTLE:
            return await self._without_decision(order)
        outcome = outcome_of(order.parts, await self._charges.look_up(order.parts))
        await self.reach("settle.looked_up")
        if not order.parts and order.status == OrderState.PENDING:
            # Nothing was to pay, and no charge can tell that its promotions were to be had.
            return await self._give_up(order, Outcome("failed", outcome.states, ()))
        if order.status == OrderState.ACCEPTED and not outcome.states and not self._is_over(order):
            outcome = await self._charges.hold(order.parts)
            await self.reach("settle.held")
        if outcome.status == "held":
            return await self._complete(order, outcome.states)
        if outcome.status == "waiting" and not self._is_over(order):
            if order.status == OrderState.AWAITING_PAYMENT:
                return "waiting"
            return await self._wait(order, outcome)
        return await self._give_up(order, outcome)

    async def confirm(self, order: OpenOrder | OrderDraft) -> str:
        """Confirm an order that is paid: its status now; `not_held` if its stock is gone."""
        event = confirmed_event(self._new_id(), order.order_id, order.total_minor, order.currency)
        return await self._steps.confirming.submit((order.order_id, event))

    async def park(
        self,
        order_id: UUID,
        status: OrderState,
        parts: Sequence[PaymentPart],
        held: Sequence[Release],
        states: States | None = None,
    ) -> tuple[str, datetime | None]:
        """Let an order wait, and its stock with it: (its status now, until when).

        The status is `not_held` if the stock could not be kept any longer; then nothing has
        changed, and the order has to be unwound.
        """
        wait_s = self._wait_s(parts, review=status == OrderState.IN_REVIEW)
        if not await self._extend(order_id, held, wait_s):
            return "not_held", None
        await self.reach("extended")
        until = self._now() + timedelta(seconds=wait_s)
        if status == OrderState.IN_REVIEW:
            # The stock is kept for the payment, too; the decision has less time.
            until = self._now() + timedelta(seconds=self._config.review_wait_s)
        actions = tuple(
            (part.payment_id, state.status, state.next_action)
            for part in parts
            if states is not None and (state := states.get(part.transaction_id)) is not None
        )
        parking = Parking(order_id=order_id, status=status, waits_until=until, actions=actions)
        return await self._steps.parking.submit(parking), until

    async def decline(self, order_id: UUID, decision: ReviewDecision) -> str:
        """Fail an order in review as an operator decided; its status now. `release` comes next.

        Nothing was charged yet, and once it has failed nothing will be.
        """
        status = await self._orders.fail_review(order_id, NOT_APPROVED, decision)
        await self.reach("review.declined")
        return status

    async def release(self, order_id: UUID) -> bool:
        """Give back what an order which failed still has: its stock, and its promotions' uses.

        False if it held no stock.
        """
        held = await self._holds_of(order_id)
        if held:
            await self._stock.release(held)
        await self._steps.returning.submit(order_id)
        return bool(held)

    async def _without_decision(self, order: OpenOrder) -> Settled:
        if order.status == OrderState.IN_REVIEW:
            if not self._is_over(order):
                return "waiting"
            return await self._fail_review(order)
        return "failed" if order.status == OrderState.FAILED else "confirmed"

    async def _fail_review(self, order: OpenOrder) -> Settled:
        status = await self._orders.fail_review(order.order_id, NOT_APPROVED)
        await self.reach("settle.failed")
        if status in (OrderState.ACCEPTED, OrderState.AWAITING_PAYMENT):  # at the last moment
            return "waiting"
        if status != OrderState.FAILED:
            return "confirmed"
        await self.release(order.order_id)
        _log.info("order_settled", order_id=str(order.order_id), result="review_expired")
        return "failed"

    def _is_over(self, order: OpenOrder) -> bool:
        return order.waits_until is not None and order.waits_until <= self._now()

    async def _complete(self, order: OpenOrder, states: States) -> Settled:
        taken = await self._charges.take(order.parts, states)
        await self.reach("settle.captured")
        if not all_captured(order.parts, taken):
            return await self._give_up(order, Outcome("failed", taken, order.parts))
        return await self._confirm_or_refund(order, taken)

    async def _confirm_or_refund(self, order: OpenOrder, taken: States) -> Settled:
        status = await self.confirm(order)
        await self.reach("settle.confirmed")
        if status == "confirmed":
            _log.info("order_settled", order_id=str(order.order_id), result="confirmed")
            return "confirmed"
        if status != "not_held":  # somebody else has settled it
            return "failed" if status == OrderState.FAILED else "confirmed"
        return await self._fail(order, HOLD_EXPIRED, await self._give_back(order, taken))

    async def _give_up(self, order: OpenOrder, outcome: Outcome) -> Settled:
        # From here on nothing more can be charged. It may have been since we looked, though.
        states = await self._charges.void(order.parts)
        await self.reach("settle.voided")
        if order.parts and all_captured(order.parts, states):
            return await self._confirm_or_refund(order, states)
        left = await self._give_back(order, states)
        return await self._fail(order, self._why(order, outcome), left)

    async def _give_back(self, order: OpenOrder, states: States) -> Mapping[str, str]:
        left = await self._charges.give_back(order.parts, states)
        if any(state.status == "captured" for state in states.values()):
            await self.reach("settle.refunded")
        return left

    def _why(self, order: OpenOrder, outcome: Outcome) -> Mapping[str, Any]:
        if outcome.status == "waiting":
            return PAYMENT_EXPIRED
        return not_paid(outcome, order.status)

    async def _wait(self, order: OpenOrder, outcome: Outcome) -> Settled:
        """Its checkout ended before it could be parked: the buyer can still pay."""
        held = await self._holds_of(order.order_id)
        status, _ = await self.park(
            order.order_id, OrderState.AWAITING_PAYMENT, order.parts, held, outcome.states
        )
        if status == "not_held":
            return await self._give_up(order, Outcome("failed", outcome.states, order.parts))
        await self.reach("settle.parked")
        return "waiting" if status == OrderState.AWAITING_PAYMENT else "confirmed"

    async def _fail(
        self, order: OpenOrder, failure: Mapping[str, Any], charges: Mapping[str, str]
    ) -> Settled:
        status = await self._steps.failing.submit((order.order_id, failure, charges))
        await self.reach("settle.failed")
        if status not in (OrderState.FAILED, FAILED_BEFORE):
            return "confirmed"
        if await self.release(order.order_id):
            await self.reach("settle.released")
        _log.info("order_settled", order_id=str(order.order_id), result=failure["kind"])
        return "failed"

    async def _holds_of(self, order_id: UUID) -> list[Release]:
        return [Release(one, pair) for one, pair in await self._orders.holds_of(order_id)]

    async def _extend(self, order_id: UUID, held: Sequence[Release], wait_s: float) -> bool:
        """Keep every hold for so long; again with the same id, should this be repeated."""
        asked = [
            Extend(order_id.bytes, one.reservation_id, one.inventory_id, wait_s) for one in held
        ]
        answers = await self._stock.extend(asked)
        if any(answer.status in RETRYABLE for answer in answers):
            raise Unavailable("the stock could not be kept for longer right now")
        return bool(held) and all(answer.status == ExtendStatus.EXTENDED for answer in answers)

    def _wait_s(self, parts: Sequence[PaymentPart], *, review: bool) -> float:
        config = self._config
        transfer = any(part.charge.kind == "bank_transfer" for part in parts)
        payment = config.transfer_wait_s if transfer else config.action_wait_s
        return payment + (config.review_wait_s if review else 0.0)
