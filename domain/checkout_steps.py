"""The steps of a checkout and of its settlement, by name: where a process may die.

After each of them `actors.settlement.Settlement.reach` is called with its name. Tests hold or
kill the process there (docs/checkout.md); a step that is missing here is one that nobody kills
at, so a test compares this list with the code.
"""

from __future__ import annotations

from collections.abc import Mapping

SAGA_POINTS: Mapping[str, str] = {
    "held": "The stock is held or refused; whether the order is recorded is not known yet.",
    "recorded": "The order is recorded as pending, and the stock's answer is known.",
    "withdrawn": "The stock was asked for too often: the order is deleted, holds are still there.",
    "redeemed": "The uses of the order's promotions are counted, or one of them is used up.",
    "scored": "The fraud score of an order that is not simply approved is written down.",
    "authorized": "The providers have answered: held, waiting or declined.",
    "captured": "The money is taken; the order is not confirmed.",
    "confirmed": "The order is confirmed and its event in the outbox; the buyer is not told.",
    "refunded": "The stock was gone at the end: the money is given back, the order still pending.",
    "undone": "A part of the payment failed: the other parts are given back, the order is pending.",
    "extended": "The holds of an order that has to wait are longer; the order is not parked.",
    "parked": "The order waits for its buyer, a bank or an operator; the buyer is not told.",
    "failed": "The order has failed, its holds are given back; the buyer is not told.",
}
"""Of the order's own saga; `extended` is of recovery, too."""

SETTLE_POINTS: Mapping[str, str] = {
    "settle.looked_up": "The providers have said how the charges stand.",
    "settle.held": "An order that an operator let pass has been charged.",
    "settle.captured": "What was held is taken; the order is not confirmed.",
    "settle.confirmed": "The order is confirmed, or has turned out to have no stock any more.",
    "settle.voided": "Nothing more can be charged; what was taken meanwhile is not given back.",
    "settle.refunded": "What was taken is given back; the order has not failed yet.",
    "settle.parked": "An order whose checkout ended too early waits for its buyer.",
    "settle.failed": "The order has failed; its holds are still there.",
    "settle.released": "Its holds are given back, too.",
}
"""Of whoever settles an order: recovery, a webhook, an operator's decision."""

REVIEW_POINTS: Mapping[str, str] = {
    "review.accepted": "An operator has let the order pass; nothing is charged yet.",
    "review.declined": "An operator has declined the order; its holds are still there.",
}
"""Of an operator's decision, before what follows from it."""

PAUSE_POINTS: Mapping[str, str] = {**SAGA_POINTS, **SETTLE_POINTS, **REVIEW_POINTS}
