"""The shop's own ledger on the conformance bench: once for each way to pay that it knows.

Cards and customers are per currency here as everywhere, and the suite names means of payment: so
a token of the suite's stands for a card or a customer in the currency of the charge.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from domain.ledger import GATEWAY
from domain.payments import ChargeRequest, ChargeState, PaymentKind, RefundRequest
from serve_apps.credit_parts import BatchedLedger
from storage.postgres import open_pool
from tests.conformance.providers import Bench, Means, Stage
from tests.storage.credit import Desk

_PLENTY_MINOR = 1_000_000
_CODES: Mapping[PaymentKind, Mapping[Means, str]] = {
    "gift_card": {
        "declined": "gift_card_unknown",  # it is blocked
        "no_funds": "insufficient_credit",
        "expired": "gift_card_expired",
        "unknown": "gift_card_unknown",
    },
    "store_credit": {"no_funds": "insufficient_credit", "unknown": "insufficient_credit"},
    "invoice": {
        "declined": "invoice_not_approved",
        "no_funds": "credit_limit_exceeded",
        "unknown": "invoice_not_approved",
    },
}


class _NamedByTheSuite:
    """PaymentProvider that puts the card or customer in place of the suite's token."""

    name = GATEWAY

    def __init__(self, desk: Desk, cards: Mapping[tuple[str, str], str]) -> None:
        self._ledger = BatchedLedger(desk.ledger)
        self._cards = cards

    def _ours(self, charge: ChargeRequest) -> ChargeRequest:
        card = self._cards.get((charge.payment_token, charge.currency), charge.payment_token)
        return replace(charge, payer=charge.payment_token, payment_token=card)

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        return await self._ledger.authorize(self._ours(charge))

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        return await self._ledger.capture(self._ours(charge))

    async def void(self, charge: ChargeRequest) -> ChargeState:
        return await self._ledger.void(self._ours(charge))

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        return await self._ledger.refund(self._ours(charge), refund)

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        return await self._ledger.lookup(self._ours(charge))


async def _cards(desk: Desk) -> dict[tuple[str, str], str]:
    cards: dict[tuple[str, str], str] = {}
    for currency in ("USD", "JPY"):
        cards["good", currency], _ = await desk.card(_PLENTY_MINOR, currency=currency)
    cards["no_funds", "USD"], _ = await desk.card(1)
    tomorrow = desk.now + timedelta(days=1)
    cards["expired", "USD"], _ = await desk.card(_PLENTY_MINOR, expires_at=tomorrow)
    cards["declined", "USD"], number = await desk.card(_PLENTY_MINOR)
    await desk.accounts.block_gift_card(number)
    desk.now = tomorrow
    return cards


async def _customers(desk: Desk) -> None:
    for currency in ("USD", "JPY"):
        await desk.credit("good", _PLENTY_MINOR, currency)
        await desk.approve("good", _PLENTY_MINOR, currency=currency)
    await desk.credit("no_funds", 1)
    await desk.approve("no_funds", 1)
    await desk.approve("declined", _PLENTY_MINOR, approved=False)


def _ledger(kind: PaymentKind) -> Any:
    async def bench(stage: Stage) -> AsyncIterator[Bench]:
        pool = await open_pool(stage.database_url, max_size=6)
        desk = Desk(pool)
        try:
            cards = await _cards(desk)
            await _customers(desk)

            async def taken(transaction_id: str) -> int:
                return await pool.fetchval(
                    "SELECT amount_minor - refunded_minor FROM credit_charges"
                    " WHERE transaction_id = $1",
                    transaction_id,
                )

            codes = _CODES[kind]
            yield Bench(
                provider=_NamedByTheSuite(desk, cards),
                tokens={means: (kind, means) for means in ("good", *codes)},
                codes={means: frozenset({code}) for means, code in codes.items()},
                taken=taken,
            )
        finally:
            await pool.close()

    return bench


LEDGER_BENCHES = {
    f"ledger_{kind}": _ledger(kind) for kind in ("gift_card", "store_credit", "invoice")
}
