"""Posting to the shop's own ledger, inside a transaction of the caller's.

What is posted is decided by `domain.ledger`; the database checks that it sums to zero and moves
the balances with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.ledger import AccountKind, Entry, LedgerEvent
from storage.sql import load

_SQL = load("credit_journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What happened: the event of a reference is posted once. Time is aware UTC."""

    event: LedgerEvent
    reference: str
    at: datetime
    actor: str = ""
    reason: str = ""


async def lock_accounts(connection: Any, account_ids: Sequence[int]) -> None:
    """Keep others from moving these accounts until the transaction ends, in the house's order."""
    await connection.execute(_SQL["lock_accounts"], list(account_ids))


async def open_account(
    connection: Any,
    kind: AccountKind,
    customer: str,
    currency: str,
    *,
    limit_minor: int | None = None,
) -> int:
    """The customer's account of this kind and currency, made if there is none; not locked.

    Before `lock_accounts`, never after: who holds locks must not wait for another's new account.
    """
    await connection.execute(_SQL["open_account"], kind, customer, currency, limit_minor)
    return await connection.fetchval(_SQL["account_of"], kind, customer, currency)


async def post_journal(
    connection: Any,
    journal: Journal,
    entries: Sequence[Entry],
    accounts: Mapping[AccountKind, int],
) -> int | None:
    """Post a journal; its id, or None if this event of this reference was posted before.

    `accounts` are the ids of the customers' accounts among the entries, locked by the caller.
    """
    journal_id = await connection.fetchval(
        _SQL["add_journal"],
        journal.event,
        journal.reference,
        journal.actor,
        journal.reason,
        journal.at,
    )
    if journal_id is not None:
        await connection.execute(
            _SQL["add_entries"],
            journal_id,
            [entry.account for entry in entries],
            [accounts.get(entry.account) for entry in entries],
            [entry.amount_minor for entry in entries],
            [entry.currency for entry in entries],
        )
    return journal_id
