"""What operators do to the ledger's accounts, and what customers see of theirs.

Issue and block gift cards, grant store credit, approve customers for invoices, settle these.
What is posted is said in `domain.ledger`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg

from domain.ledger import AccountKind, LedgerEvent, post
from domain.money import AMOUNT_MINOR_MAX, amount_text, scale_of
from storage.credit_journal import Journal, lock_accounts, open_account, post_journal
from storage.sql import load
from storage.stock_in import NotPossibleError
from storage.stock_journal import reach

_SQL = load("credit_accounts")
INVOICES_SHOWN_MAX = 1_000
_FORGOTTEN_AT_ONCE = 100  # windows that are over, removed with each attempt

Origin = Literal["sold", "given"]
InvoiceStatus = Literal["open", "overdue", "settled", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GiftCard:
    """A card as it stands; amounts in minor units, times aware UTC."""

    account_id: int
    last_four: str
    amount_minor: int
    balance_minor: int
    held_minor: int
    currency: str
    origin: Origin
    issued_at: datetime
    expires_at: datetime | None
    blocked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditOfCustomer:
    """What a customer has and owes: rows of store credit, terms and open invoices, in minor units."""

    store_credit: Sequence[Mapping[str, Any]]
    terms: Sequence[Mapping[str, Any]]
    invoices: Sequence[Mapping[str, Any]]


class CreditAccounts:
    """The ledger's accounts on Postgres. `now` gives the time, aware UTC.

    Every method raises Unavailable; NotPossibleError for what cannot be done as things are;
    MoneyError for a currency that is not sold in.
    """

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now

    # -- gift cards -----------------------------------------------------------------------------

    async def issue_gift_card(
        self,
        *,
        code_hash: str,
        last_four: str,
        amount_minor: int,
        currency: str,
        origin: Origin,
        actor: str,
        reason: str = "",
        expires_at: datetime | None = None,
    ) -> int:
        """A new card, sold for cash or given away; its number. The code itself stays outside."""
        _check_amount(amount_minor, currency)
        sold = origin == "sold"
        event = LedgerEvent.GIFT_CARD_SOLD if sold else LedgerEvent.GIFT_CARD_GIVEN
        debit = AccountKind.CASH if sold else AccountKind.PROMOTIONS
        card = AccountKind.GIFT_CARD
        now = self._now()
        if expires_at is not None and expires_at <= now:
            raise NotPossibleError(f"a card cannot expire at {expires_at}, which is over")

        async def work(connection: Any) -> int:
            account_id = await connection.fetchval(_SQL["add_card_account"], currency)
            values = (code_hash, last_four, amount_minor, origin, expires_at, now)
            await connection.execute(_SQL["add_gift_card"], account_id, *values)
            entries = post(event, debit, card, amount_minor, currency)
            journal = Journal(
                event=event, reference=str(account_id), at=now, actor=actor, reason=reason
            )
            await post_journal(connection, journal, entries, {card: account_id})
            return account_id

        return await self._in_transaction(work)

    async def gift_card(
        self, *, code_hash: str | None = None, number: int | None = None
    ) -> GiftCard | None:
        """A card by the hash of its code or by its number; None if there is none."""
        row = await reach(lambda: self._pool.fetchrow(_SQL["gift_card"], code_hash, number))
        return None if row is None else GiftCard(**dict(row))

    async def block_gift_card(self, number: int, *, blocked: bool = True) -> None:
        """No new charge from this card, or again. Charges under way are held and go on."""
        now = self._now()

        async def work(connection: Any) -> None:
            await lock_accounts(connection, [number])
            found = await connection.fetchval(_SQL["block_gift_card"], number, blocked, now)
            if found is None:
                raise NotPossibleError(f"there is no gift card {number}")

        await self._in_transaction(work)

    # -- store credit ---------------------------------------------------------------------------

    async def grant(
        self,
        grant_id: str,
        customer: str,
        amount_minor: int,
        currency: str,
        *,
        actor: str,
        reason: str = "",
    ) -> int:
        """Give a customer store credit; what there is of it now. The same id again gives nothing."""
        _check_amount(amount_minor, currency)
        event, credit = LedgerEvent.STORE_CREDIT_GRANTED, AccountKind.STORE_CREDIT
        journal = Journal(
            event=event, reference=grant_id, at=self._now(), actor=actor, reason=reason
        )
        entries = post(event, AccountKind.PROMOTIONS, credit, amount_minor, currency)

        async def work(connection: Any) -> int:
            account_id = await open_account(connection, credit, customer, currency)
            await lock_accounts(connection, [account_id])
            await post_journal(connection, journal, entries, {credit: account_id})
            return await connection.fetchval(_SQL["balance"], account_id)

        return await self._in_transaction(work)

    # -- invoices -------------------------------------------------------------------------------

    async def set_terms(
        self,
        customer: str,
        *,
        limit_minor: int,
        currency: str,
        net_days: int,
        approved: bool,
        actor: str,
    ) -> None:
        """Whether a customer may pay on invoice, up to which debt, and due after how many days."""
        scale_of(currency)
        if not 0 <= limit_minor <= AMOUNT_MINOR_MAX:
            raise NotPossibleError(f"a limit is 0 to {AMOUNT_MINOR_MAX} minor units")
        now = self._now()

        async def work(connection: Any) -> None:
            account_id = await open_account(
                connection, AccountKind.RECEIVABLE, customer, currency, limit_minor=limit_minor
            )
            await lock_accounts(connection, [account_id])
            await connection.execute(_SQL["set_limit"], account_id, limit_minor)
            await connection.execute(_SQL["set_terms"], account_id, approved, net_days, actor, now)

        try:
            await self._in_transaction(work)
        except asyncpg.CheckViolationError as error:
            if getattr(error, "constraint_name", None) != "credit_never_overspent":
                raise
            raise NotPossibleError(
                f"{customer} owes more than {amount_text(limit_minor, currency)}; keep the limit"
                " and withdraw the approval, or wait until invoices are paid"
            ) from None

    async def invoices(
        self, status: InvoiceStatus = "open", *, customer: str | None = None
    ) -> list[Mapping[str, Any]]:
        """Invoices, soonest due first, at most INVOICES_SHOWN_MAX."""
        today = self._now().date()
        values = (customer, status, today, INVOICES_SHOWN_MAX)
        rows = await reach(lambda: self._pool.fetch(_SQL["invoices"], *values))
        return [dict(row) for row in rows]

    async def currency_of_invoice(self, number: int) -> str:
        """What an invoice is in."""
        found = await reach(lambda: self._pool.fetchval(_SQL["currency_of_invoice"], number))
        if found is None:
            raise NotPossibleError(f"there is no invoice {number}")
        return found

    async def pay_invoice(
        self,
        number: int,
        payment_id: str,
        *,
        amount_minor: int | None = None,
        actor: str,
        reason: str = "",
    ) -> int:
        """Money has come in for an invoice, all of it unless said; what is still open of it.

        The same id again changes nothing.
        """
        journal = Journal(
            event=LedgerEvent.INVOICE_PAID,
            reference=payment_id,
            at=self._now(),
            actor=actor,
            reason=reason,
        )
        return await self._settle(number, journal, AccountKind.CASH, amount_minor)

    async def write_off(self, number: int, *, actor: str, reason: str) -> int:
        """What is open of an invoice will never be paid; 0."""
        journal = Journal(
            event=LedgerEvent.WRITTEN_OFF,
            reference=f"invoice-{number}",
            at=self._now(),
            actor=actor,
            reason=reason,
        )
        return await self._settle(number, journal, AccountKind.WRITE_OFFS, None)

    async def _settle(
        self, number: int, journal: Journal, debit: AccountKind, amount_minor: int | None
    ) -> int:
        receivable = AccountKind.RECEIVABLE

        async def work(connection: Any) -> int:
            account_id = await connection.fetchval(_SQL["account_of_invoice"], number)
            if account_id is None:
                raise NotPossibleError(f"there is no invoice {number}")
            await lock_accounts(connection, [account_id])
            row = await connection.fetchrow(_SQL["invoice_to_settle"], number)
            amount = row["open_minor"] if amount_minor is None else amount_minor
            if await connection.fetchval(_SQL["was_posted"], journal.event, journal.reference):
                return row["open_minor"]
            if not 0 < amount <= row["open_minor"]:
                currency = row["currency"]
                still, asked = (amount_text(one, currency) for one in (row["open_minor"], amount))
                raise NotPossibleError(f"{still} of invoice {number} are open, not {asked}")
            entries = post(journal.event, debit, receivable, amount, row["currency"])
            await post_journal(connection, journal, entries, {receivable: account_id})
            paid = (amount, 0) if debit is AccountKind.CASH else (0, amount)
            await connection.execute(_SQL["settle_invoice"], number, *paid)
            return row["open_minor"] - amount

        return await self._in_transaction(work)

    # -- customers ------------------------------------------------------------------------------

    async def of_customer(self, customer: str) -> CreditOfCustomer:
        """What a customer has, may owe, and has to pay."""
        credit = await reach(lambda: self._pool.fetch(_SQL["store_credit_of"], customer))
        terms = await reach(lambda: self._pool.fetch(_SQL["terms_of"], customer))
        invoices = await self.invoices("open", customer=customer)
        return CreditOfCustomer(store_credit=credit, terms=terms, invoices=invoices)

    async def count_attempt(self, customer: str, window: timedelta) -> tuple[int, timedelta]:
        """One more code tried by this customer: which one of the window, and until it is over."""
        now = self._now()
        over = now - window

        async def work(connection: Any) -> Mapping[str, Any]:
            row = await connection.fetchrow(_SQL["count_attempt"], customer, now, over)
            await connection.execute(_SQL["forget_attempts"], over, _FORGOTTEN_AT_ONCE)
            return row

        row = await self._in_transaction(work)
        return row["attempts"], row["window_start"] + window - now

    async def _in_transaction(self, work: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            async with self._pool.acquire() as connection, connection.transaction():
                return await work(connection)

        return await reach(run)


def _check_amount(amount_minor: int, currency: str) -> None:
    scale_of(currency)
    if not 0 < amount_minor <= AMOUNT_MINOR_MAX:
        raise NotPossibleError(f"an amount is 1 to {AMOUNT_MINOR_MAX} minor units")
