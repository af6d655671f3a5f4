"""Charges of a provider whose books cannot be listed: each payment on record, looked up there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg

from domain.payments import ChargeRequest
from domain.ports import PaymentProvider
from domain.promises import Charge
from storage.sql import load

_SQL = load("charges")
_PAGE = 200
_AT_ONCE_MAX = 16


class ChargesOnRecord:
    """ProviderBooks by asking for every payment we know of.

    What it cannot find is a charge that we have no record of.
    """

    def __init__(self, pool: asyncpg.Pool, provider: PaymentProvider) -> None:
        self._pool = pool
        self._provider = provider
        self._at_once = asyncio.Semaphore(_AT_ONCE_MAX)

    async def charges(self) -> AsyncIterator[Charge]:
        """What the provider says of each payment. Raises Unavailable."""
        after = ""
        while rows := await self._pool.fetch(_SQL["page"], self._provider.name, after, _PAGE):
            for charge in await asyncio.gather(*map(self._look_up, rows)):
                if charge is not None:
                    yield charge
            after = rows[-1]["transaction_id"]

    async def _look_up(self, row: asyncpg.Record) -> Charge | None:
        asked = ChargeRequest(
            row["transaction_id"],
            row["amount_minor"],
            row["currency"],
            row["payment_token"],
            kind=row["payment_method"],
            payer=str(row["user_id"]),
            customer=row["customer"],
            return_url=row["return_url"],
            asked_at=row["created_at"],
        )
        async with self._at_once:
            state = await self._provider.lookup(asked)
        if state is None:
            return None
        return Charge(
            transaction_id=asked.transaction_id,
            amount_minor=state.amount_minor,
            currency=state.currency,
            status=state.status,
            refunded_minor=state.refunded_minor,
        )
