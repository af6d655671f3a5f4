"""Operators' tokens that hold no more, on Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from storage.sql import load
from storage.stock_journal import reach

_SQL = load("operator_revocations")
LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """All tokens of an operator that were issued until `issued_to` are refused."""

    name: str
    issued_to: datetime
    revoked_by: str
    reason: str


class OperatorRevocations:
    """Written by the command line, read with each of an operator's requests. Raises Unavailable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def revoke(self, revocation: Revocation) -> None:
        """From now on, everywhere. The same again changes nothing."""
        about = (revocation.name, revocation.issued_to, revocation.revoked_by, revocation.reason)
        await reach(lambda: self._pool.execute(_SQL["revoke"], *about))

    async def is_revoked(self, name: str, issued_at: datetime) -> bool:
        """True for a token of `name` that was issued at that time or before a later revocation."""
        return await reach(lambda: self._pool.fetchval(_SQL["is_revoked"], name, issued_at))

    async def listed(self) -> list[Revocation]:
        """The newest first, at most LISTED_MAX."""
        rows = await reach(lambda: self._pool.fetch(_SQL["list"], LISTED_MAX))
        return [Revocation(**dict(row)) for row in rows]
