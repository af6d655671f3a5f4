"""The simulated provider's books in Postgres (schema `simulated_provider`), in batches.

What one statement changes is whole or not at all, so books survive the death of whoever keeps
them. Nothing but the provider's two doors reads or writes them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from domain.payments import ChargeRequest, RefundRequest
from domain.ports import RefundRefused
from domain.promises import Charge
from sim.provider_rules import STEPS, Outcome, Step

SETTLE_BATCH_MAX = 500

UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
UNREACHABLE += (asyncpg.OperatorInterventionError, asyncpg.InternalClientError)
UNREACHABLE += (asyncpg.TransactionRollbackError, asyncpg.InsufficientResourcesError)
"""What is raised when Postgres is away, or gave up a transaction."""

_INSERT = """
    INSERT INTO simulated_provider.charges
        (transaction_id, amount_minor, currency, status, decline_code, kind, return_url)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                         $7::text[])
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id
"""
# One statement for every later step: from the states it may start in to the one it ends in.
_MOVE = """
    UPDATE simulated_provider.charges
       SET status = CASE WHEN captures_at_once AND $2 = 'authorized' THEN 'captured' ELSE $2 END,
           decline_code = coalesce($5, decline_code), updated_at = now()
     WHERE transaction_id = ANY ($1::text[]) AND status = ANY ($3::text[])
       AND kind = ANY ($4::text[])
    RETURNING transaction_id, status, amount_minor, currency, decline_code, refunded_minor, kind
"""
# The step of every checkout, with no more in the answer than the caller does not know.
_CAPTURE = """
    UPDATE simulated_provider.charges SET status = $2, updated_at = now()
     WHERE transaction_id = ANY ($1::text[]) AND status = ANY ($3::text[])
    RETURNING transaction_id, amount_minor, currency
"""
_READ = """
    SELECT transaction_id, status, amount_minor, currency, decline_code, refunded_minor, kind
    FROM simulated_provider.charges WHERE transaction_id = ANY ($1::text[])
"""
_TOMBSTONE = """
    INSERT INTO simulated_provider.charges (transaction_id, amount_minor, currency, status, kind)
    SELECT id, amount_minor, currency, 'voided', kind
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
        AS a (id, amount_minor, currency, kind)
    ON CONFLICT (transaction_id) DO NOTHING
"""
_LOCK = f"{_READ} FOR UPDATE"
_REFUND_OF = """
    SELECT amount_minor FROM simulated_provider.refunds
    WHERE transaction_id = $1 AND refund_id = $2
"""
_WRITE_REFUND = """
    INSERT INTO simulated_provider.refunds (transaction_id, refund_id, amount_minor)
    VALUES ($1, $2, $3)
"""
_GIVE_BACK = """
    UPDATE simulated_provider.charges
       SET refunded_minor = refunded_minor + $2, updated_at = now(),
           status = CASE WHEN refunded_minor + $2 = amount_minor THEN 'refunded' ELSE status END
     WHERE transaction_id = $1
    RETURNING transaction_id, status, amount_minor, currency, decline_code, refunded_minor, kind
"""
_PAGE = """
    SELECT transaction_id, intent_id, status, amount_minor, currency, kind, return_url
    FROM simulated_provider.charges WHERE transaction_id = $1 OR intent_id = $1
"""
# Transfers that were asked for a while ago: their bank has sent the money by now.
_DUE_TRANSFERS = """
    SELECT transaction_id FROM simulated_provider.charges
    WHERE kind = 'bank_transfer' AND status IN ('requires_action', 'processing')
      AND created_at <= $1
    ORDER BY created_at LIMIT $2
"""
_ALL = """
    SELECT transaction_id, status, amount_minor, currency, refunded_minor
    FROM simulated_provider.charges WHERE status <> 'created'
"""

Executor = Any
"""A pool or a connection of asyncpg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOfCharge:
    """What the provider's page for the buyer shows and needs."""

    transaction_id: str
    status: str
    amount_minor: int
    currency: str
    kind: str
    return_url: str | None


async def insert(
    on: Executor, charges: Sequence[ChargeRequest], outcomes: Sequence[Outcome]
) -> set[str]:
    """Write charges with what came of them; the ids of those that were not there yet."""
    rows = await on.fetch(
        _INSERT,
        [charge.transaction_id for charge in charges],
        [charge.amount_minor for charge in charges],
        [charge.currency for charge in charges],
        [outcome.status for outcome in outcomes],
        [outcome.decline_code for outcome in outcomes],
        [charge.kind for charge in charges],
        [charge.return_url for charge in charges],
    )
    return {row[0] for row in rows}


async def move(on: Executor, ids: Sequence[str], step: str) -> list[asyncpg.Record]:
    """Take a step with those charges that it may start from; these, as they are then."""
    rule: Step = STEPS[step]
    return await on.fetch(
        _MOVE, ids, rule.to, list(rule.before), list(rule.kinds), rule.decline_code
    )


async def capture(on: Executor, ids: Sequence[str]) -> list[asyncpg.Record]:
    """(transaction_id, amount_minor, currency) of those charges that this call captures."""
    rule = STEPS["capture"]
    return await on.fetch(_CAPTURE, ids, rule.to, list(rule.before))


async def read(on: Executor, ids: Sequence[str]) -> list[asyncpg.Record]:
    """Charges as they are; unknown ones are left out."""
    return await on.fetch(_READ, ids)


async def make_impossible(on: Executor, charges: Sequence[ChargeRequest]) -> None:
    """Charges that do not exist yet are voided, so that they never will."""
    await on.execute(
        _TOMBSTONE,
        [charge.transaction_id for charge in charges],
        [max(charge.amount_minor, 0) for charge in charges],
        [charge.currency for charge in charges],
        [charge.kind for charge in charges],
    )


async def refund(
    pool: asyncpg.Pool, charge: ChargeRequest, asked: RefundRequest
) -> tuple[asyncpg.Record, bool]:
    """Give money back, once per refund id; the charge, and whether this call did it.

    Raises RefundRefused if the charge took less, took another currency, or took nothing.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_LOCK, [charge.transaction_id])
        before = await connection.fetchval(_REFUND_OF, charge.transaction_id, asked.refund_id)
        if row is not None and before == asked.amount_minor:
            return row, False
        if reason := refusal(row, charge.currency, asked, before):
            raise RefundRefused(
                f"refund {asked.refund_id} of {asked.amount_minor} {charge.currency} minor units"
                f" from charge {charge.transaction_id} is refused: {reason}"
            )
        await connection.execute(
            _WRITE_REFUND, charge.transaction_id, asked.refund_id, asked.amount_minor
        )
        fresh = await connection.fetchrow(_GIVE_BACK, charge.transaction_id, asked.amount_minor)
        assert fresh is not None
        return fresh, True


def refusal(row: Any, currency: str, asked: RefundRequest, before: int | None) -> str | None:
    """Why a refund cannot be given, or None. `before` is what the same id already gave back."""
    if row is None:
        return "there is no such charge"
    if before is not None:
        return f"it was made before, over {before}; give another refund its own id"
    if row["currency"] != currency:
        return f"the charge was made in {row['currency']}"
    if row["status"] not in ("captured", "refunded"):
        return f"nothing was taken, the charge is {row['status']}"
    left = row["amount_minor"] - row["refunded_minor"]
    if not 0 < asked.amount_minor <= left:
        return f"only 1 to {left} can be given back" if left else "all of it is given back already"
    return None


async def due_transfers(on: Executor, asked_before: datetime) -> list[str]:
    """Transfers that were asked for before that, oldest first, SETTLE_BATCH_MAX at most."""
    return [row[0] for row in await on.fetch(_DUE_TRANSFERS, asked_before, SETTLE_BATCH_MAX)]


async def page_of(on: Executor, name: str) -> PageOfCharge | None:
    """A charge by our id or the intent's, for the buyer's page."""
    row = await on.fetchrow(_PAGE, name)
    if row is None:
        return None
    return PageOfCharge(
        transaction_id=row["transaction_id"],
        status=row["status"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        kind=row["kind"],
        return_url=row["return_url"],
    )


async def all_charges(pool: asyncpg.Pool) -> AsyncIterator[Charge]:
    """Every charge that was ever made, for the audit; not those that were only prepared."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        async for row in connection.cursor(_ALL, prefetch=1_000):
            yield Charge(
                transaction_id=row["transaction_id"],
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                status=row["status"],
                refunded_minor=row["refunded_minor"],
            )
