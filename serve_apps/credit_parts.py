"""The ledger as the shop's processes use it: charges of many callers travel together."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import asyncpg

from actors.coalescer import Coalescer, Overloaded
from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import NotReached
from serve_apps.settings import Settings
from storage.credit_accounts import CreditAccounts
from storage.credit_ledger import PostgresCreditLedger, check_charge

BATCH_MAX = 256


def gift_card_key(settings: Settings) -> bytes:
    """The key that gift cards' codes are hashed with; with another, no card is found any more."""
    return hashlib.sha256(b"gift card codes" + settings.signing_key()).digest()


def utc_now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


def credit_accounts(pool: asyncpg.Pool) -> CreditAccounts:
    """The operators' and customers' side of the ledger."""
    return CreditAccounts(pool, utc_now)


class BatchedLedger:
    """PaymentProvider and PaymentForecast over the ledger: one statement for all who authorize, capture or void now."""

    def __init__(self, ledger: PostgresCreditLedger, *, batch_spacing_s: float = 0.0) -> None:
        self._ledger = ledger
        self.name = ledger.name
        self.charges = ledger.charges
        self.foresee = ledger.foresee
        self._authorizing = _batches(ledger.authorize_many, batch_spacing_s)
        self._capturing = _batches(ledger.capture_many, batch_spacing_s)
        self._voiding = _batches(ledger.void_many, batch_spacing_s)

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Hold; ValueError for a kind that the ledger does not take."""
        check_charge(charge)
        return await _ask(self._authorizing, charge)

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take what is held."""
        return await _ask(self._capturing, charge)

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Drop the hold, for ever."""
        return await _ask(self._voiding, charge)

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back, to where it came from."""
        return await self._ledger.refund(charge, refund)

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """What the ledger knows of a charge."""
        return await self._ledger.lookup(charge)


def ledger_over(pool: asyncpg.Pool, *, batch_spacing_s: float = 0.0) -> BatchedLedger:
    """The ledger for one process."""
    return BatchedLedger(PostgresCreditLedger(pool, utc_now), batch_spacing_s=batch_spacing_s)


def _batches(work: Any, spacing_s: float) -> Coalescer[ChargeRequest, ChargeState]:
    return Coalescer(work, batch_max=BATCH_MAX, spacing_s=spacing_s)


async def _ask(batches: Coalescer[ChargeRequest, ChargeState], one: ChargeRequest) -> ChargeState:
    try:
        return await batches.submit(one)
    except Overloaded as error:
        raise NotReached(f"ledger: {error}") from error
