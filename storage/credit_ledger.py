"""The shop's own ledger as a payment provider: gift cards, store credit, pay on invoice.

Holds and captures of many charges are one statement (`authorize_many`, `capture_many`,
`void_many`), in functions of migration 0012; every other step is one short transaction. What is
posted is said in `domain.ledger`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from domain.ledger import (
    ACCOUNT_OF,
    GATEWAY,
    POSTINGS,
    AccountKind,
    Entry,
    InvoiceParts,
    LedgerEvent,
    post,
    refund_of_invoice,
)
from domain.money import AMOUNT_MINOR_MAX
from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import RefundRefused, Unavailable
from domain.promises import SOLD, VIOLATIONS_SHOWN_MAX, Charge
from storage.credit_journal import Journal, lock_accounts, open_account, post_journal
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("credit_ledger")
CALL_TIMEOUT_S = 5.0
AUDIT_TIMEOUT_S = 600.0
_PREFETCH = 1_000  # charges per round trip of the audit's reader
T = TypeVar("T")

_MAY_POST = [
    f"{event}/{side}/{kind}"
    for event, pairs in POSTINGS.items()
    for pair in pairs
    for side, kind in zip(("debit", "credit"), pair, strict=True)
]
_SOLD = list(SOLD)

LEDGER_CHECKS: Mapping[str, tuple[Any, ...]] = {
    "audit_journals": (),
    "audit_postings": (_MAY_POST,),
    "audit_balances": (),
    "audit_holds": (),
    "audit_bounds": (),
    "audit_guards": (),
    "audit_captures": (),
    "audit_refunds": (),
    "audit_invoices": (),
    "audit_invoice_numbers": (),
}
"""Queries that find violations within the ledger, and what they take after the limit."""
ORDER_CHECKS: Mapping[str, tuple[Any, ...]] = {
    "audit_payments": (GATEWAY,),
    "audit_orders": (GATEWAY, _SOLD),
}
"""The same between the ledger and the orders' payments (P7)."""


def check_charge(charge: ChargeRequest) -> None:
    """ValueError for a charge that the ledger does not take: a fault of the caller.

    Before it joins a batch, which it would spoil for the others.
    """
    if charge.kind not in ACCOUNT_OF or not 0 <= charge.amount_minor <= AMOUNT_MINOR_MAX:
        raise ValueError(
            f"charge {charge.transaction_id} of {charge.amount_minor} by {charge.kind} is not for"
            f" the ledger: it takes 0 to {AMOUNT_MINOR_MAX} by {', '.join(ACCOUNT_OF)}"
        )


class PostgresCreditLedger:
    """PaymentProvider, PaymentForecast and ProviderBooks of the domain, on the shop's own database.

    `now` gives the time, aware UTC.
    """

    name = GATEWAY

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        check_charge(charge)
        return (await self.authorize_many([charge]))[0]

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        return (await self.capture_many([charge]))[0]

    async def void(self, charge: ChargeRequest) -> ChargeState:
        return (await self.void_many([charge]))[0]

    async def authorize_many(self, charges: Sequence[ChargeRequest]) -> list[ChargeState]:
        """Hold for each, in one statement; the answers in order. Each passed `check_charge`."""
        columns = _columns({charge.transaction_id: charge for charge in charges}.values())
        rows = await _in_time(lambda: self._pool.fetch(_SQL["authorize"], *columns, self._now()))
        return _in_order(charges, rows)

    async def foresee(self, charges: Sequence[ChargeRequest]) -> str | None:
        """The decline code of the first charge that could not be held now; holds nothing."""
        columns = _columns(charges)
        return await _in_time(lambda: self._pool.fetchval(_SQL["foresee"], *columns, self._now()))

    async def capture_many(self, charges: Sequence[ChargeRequest]) -> list[ChargeState]:
        """Take what is held for each, in one statement; the answers in order."""
        ids = [charge.transaction_id for charge in charges]
        rows = await _in_time(lambda: self._pool.fetch(_SQL["capture"], ids, self._now()))
        return _in_order(charges, rows)

    async def void_many(self, charges: Sequence[ChargeRequest]) -> list[ChargeState]:
        """Drop each hold for ever; the answers in order."""
        ids = [charge.transaction_id for charge in charges]
        kinds = [charge.kind for charge in charges]
        amounts = [charge.amount_minor for charge in charges]
        currencies = [charge.currency for charge in charges]

        async def work() -> Sequence[asyncpg.Record]:
            now = self._now()
            await self._pool.execute(_SQL["tombstone"], ids, kinds, amounts, currencies, now)
            return await self._pool.fetch(_SQL["void"], ids, now)

        return _in_order(charges, await _in_time(work))

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Back to the card or credit it came from; of an invoice, first off what is still owed."""

        async def work() -> ChargeState:
            async with self._pool.acquire() as connection, connection.transaction():
                return await self._give_back(connection, charge, refund)

        return await _in_time(work)

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        row = await _in_time(lambda: self._pool.fetchrow(_SQL["lookup"], charge.transaction_id))
        return None if row is None else _state(row)

    async def charges(self) -> AsyncIterator[Charge]:
        """All charges, for the audit."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_SQL["all_charges"], prefetch=_PREFETCH):
                yield Charge(
                    transaction_id=row["transaction_id"],
                    amount_minor=row["amount_minor"],
                    currency=row["currency"],
                    status=row["status"],
                    refunded_minor=row["refunded_minor"],
                )

    async def _give_back(
        self, connection: Any, charge: ChargeRequest, refund: RefundRequest
    ) -> ChargeState:
        transaction_id = charge.transaction_id
        accounts = await _locked_accounts(connection, transaction_id)
        row = await connection.fetchrow(_SQL["charge_to_refund"], transaction_id)
        known = await connection.fetchval(_SQL["refund_by_id"], refund.refund_id)
        if known == transaction_id:
            return _state(row)
        left = row["amount_minor"] - row["refunded_minor"] if row["status"] == "captured" else 0
        fits = 0 < refund.amount_minor <= left and charge.currency == row["currency"]
        if known is not None or not fits:
            raise RefundRefused(
                f"refund {refund.refund_id} of {refund.amount_minor} {charge.currency}: charge"
                f" {transaction_id} is {row['status']} and has {left} {row['currency']} minor units to give back"
                + (f"; the refund id is of charge {known}" if known else "")
            )
        event = LedgerEvent.REFUNDED
        journal = Journal(event=event, reference=refund.refund_id, at=self._now())
        entries = await _refund_entries(connection, row, refund.amount_minor)
        posted = await post_journal(connection, journal, entries, accounts)
        if posted is None:
            raise RefundRefused(
                f"refund id {refund.refund_id} is being used for another charge; take a new one"
            )
        values = (refund.refund_id, transaction_id, refund.amount_minor, posted, journal.at)
        await connection.execute(_SQL["add_refund"], *values)
        updated = await connection.fetchrow(
            _SQL["note_refunded"], transaction_id, refund.amount_minor, journal.at
        )
        return _state(updated)


async def _locked_accounts(connection: Any, transaction_id: str) -> dict[AccountKind, int]:
    """The accounts that a refund may touch, locked. Raises RefundRefused if nothing was taken."""
    found = await connection.fetchrow(_SQL["account_of_charge"], transaction_id)
    if found is None:
        raise RefundRefused(f"charge {transaction_id} took nothing; there is nothing to give back")
    accounts = {ACCOUNT_OF[found["kind"]]: found["account_id"]}
    if found["kind"] == "invoice":
        credit = AccountKind.STORE_CREDIT
        customer, currency = found["customer"], found["currency"]
        accounts[credit] = await open_account(connection, credit, customer, currency)
    await lock_accounts(connection, list(accounts.values()))
    return accounts


async def _refund_entries(
    connection: Any, charge: Mapping[str, Any], amount_minor: int
) -> list[Entry]:
    """What a refund posts; an invoice is credited on the way."""
    event, sales, currency = LedgerEvent.REFUNDED, AccountKind.SALES, charge["currency"]
    if charge["kind"] != "invoice":
        return [*post(event, sales, ACCOUNT_OF[charge["kind"]], amount_minor, currency)]
    transaction_id = charge["transaction_id"]
    row = await connection.fetchrow(_SQL["invoice_to_refund"], transaction_id)
    split = refund_of_invoice(InvoiceParts(**dict(row)), amount_minor)
    await connection.execute(
        _SQL["credit_invoice"], transaction_id, split.off_the_debt_minor, split.off_the_loss_minor
    )
    parts = {
        AccountKind.RECEIVABLE: split.off_the_debt_minor,
        AccountKind.WRITE_OFFS: split.off_the_loss_minor,
        AccountKind.STORE_CREDIT: split.to_store_credit_minor,
    }
    pairs = [post(event, sales, kind, part, currency) for kind, part in parts.items() if part]
    return [entry for pair in pairs for entry in pair]


async def violations(
    books: Any, *, with_orders: bool = True, limit: int = VIOLATIONS_SHOWN_MAX
) -> list[str]:
    """What is wrong in the ledger, in words; empty if nothing is.

    `books` is a pool or a connection; on a connection with a snapshot, all is asked of it.
    Without `with_orders`, charges are not compared with the orders' payments.
    """
    found: list[str] = []
    for query, values in {**LEDGER_CHECKS, **(ORDER_CHECKS if with_orders else {})}.items():
        rows = await books.fetch(_SQL[query], limit, *values, timeout=AUDIT_TIMEOUT_S)
        found += [row["violation"] for row in rows]
    return found


async def _in_time(work: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await work()

    try:
        return await reach(bounded)
    except Unavailable as error:
        raise Unavailable(f"ledger: {error}") from error


def _columns(charges: Collection[ChargeRequest]) -> tuple[list[Any], ...]:
    """Charges as `credit_sources` takes them."""
    return (
        [charge.transaction_id for charge in charges],
        [charge.kind for charge in charges],
        [_text(charge.payment_token) for charge in charges],
        [_text(charge.payer) for charge in charges],
        [charge.amount_minor for charge in charges],
        [charge.currency for charge in charges],
    )


def _text(text: str) -> str:
    """Text that Postgres can look for; what it cannot hold names nothing in the ledger."""
    return text if text.isprintable() else ""


def _state(row: Mapping[str, Any] | asyncpg.Record) -> ChargeState:
    names = ("status", "amount_minor", "currency", "decline_code", "refunded_minor")
    return ChargeState(**{name: row[name] for name in names})


def _in_order(
    charges: Sequence[ChargeRequest], rows: Sequence[asyncpg.Record]
) -> list[ChargeState]:
    states = {row["transaction_id"]: _state(row) for row in rows}
    return [
        # A charge that was never made holds nothing, and captures nothing.
        states.get(one.transaction_id) or ChargeState("voided", one.amount_minor, one.currency)
        for one in charges
    ]
