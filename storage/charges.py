"""Charges of a provider whose books cannot be listed: each payment on record, looked up there.

And the charges in books that can be listed without those that are looked up elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg

from domain.payments import ChargeRequest, ChargeState
from domain.promises import Charge
from storage.sql import load

_SQL = load("charges")
_PAGE = 200
_AT_ONCE_MAX = 16


class ChargesOnRecord:
    """ProviderBooks by asking for every payment we know of.

    What it cannot find is a charge that we have no record of.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        gateway: str,
        lookup: Callable[[ChargeRequest], Awaitable[ChargeState | None]],
    ) -> None:
        """`lookup` asks the provider; what it raises ends the reading."""
        self._pool = pool
        self._gateway = gateway
        self._lookup = lookup
        self._at_once = asyncio.Semaphore(_AT_ONCE_MAX)

    async def charges(self) -> AsyncIterator[Charge]:
        """What the provider says of each payment."""
        after = ""
        while rows := await self._pool.fetch(_SQL["page"], self._gateway, after, _PAGE):
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
            state = await self._lookup(asked)
        if state is None:
            return None
        return Charge(
            transaction_id=asked.transaction_id,
            amount_minor=state.amount_minor,
            currency=state.currency,
            status=state.status,
            refunded_minor=state.refunded_minor,
        )


async def not_on_record(
    pool: asyncpg.Pool, gateway: str, charges: AsyncIterator[Charge]
) -> AsyncIterator[Charge]:
    """Those charges that no payment at this gateway asked for.

    A payment is on record before it is charged, so it is found if its charge was.
    """
    page: list[Charge] = []
    async for charge in charges:
        page.append(charge)
        if len(page) == _PAGE:
            for one in await _left_of(pool, gateway, page):
                yield one
            page = []
    for one in await _left_of(pool, gateway, page):
        yield one


async def _left_of(pool: asyncpg.Pool, gateway: str, page: Sequence[Charge]) -> list[Charge]:
    rows = await pool.fetch(_SQL["on_record"], gateway, [one.transaction_id for one in page])
    known = {row["transaction_id"] for row in rows}
    return [one for one in page if one.transaction_id not in known]
