"""Revocations on Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from storage.operator_revocations import OperatorRevocations, Revocation

pytestmark = pytest.mark.asyncio
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


async def test_a_revocation_holds_for_its_name_and_what_was_issued_until_then(
    pool: asyncpg.Pool,
) -> None:
    book = OperatorRevocations(pool)
    moment = timedelta(milliseconds=1)
    first = Revocation(name="ann", issued_to=NOON, revoked_by="bob", reason="lost")
    second = Revocation(
        name="ann", issued_to=NOON - timedelta(days=1), revoked_by="bob", reason="earlier"
    )
    for one in (first, second, first):
        await book.revoke(one)
    assert await book.is_revoked("ann", NOON)
    assert not await book.is_revoked("ann", NOON + moment)
    assert not await book.is_revoked("Ann", NOON)
    assert not await book.is_revoked("bob", NOON)
    assert await book.is_revoked("ann", datetime.fromtimestamp(0, UTC))
    assert await book.listed() == [first, second]
