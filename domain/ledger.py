"""The shop's own ledger: gift cards, store credit and invoices, in double entry.

What a customer may spend here is a debt of the shop (gift card, store credit) or a debt of the
customer (receivable). Each event is a journal of entries whose amounts, debit positive and
credit negative, sum to zero in their currency. A hold posts nothing: it keeps an amount of an
account from being spent otherwise, until it is captured or dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from domain.payments import PaymentKind

GATEWAY = "ledger"
"""How `payments.gateway` calls the ledger."""


class AccountKind(StrEnum):
    """The first three have an account per card or customer, the others are the shop's own."""

    GIFT_CARD = "gift_card"
    STORE_CREDIT = "store_credit"
    RECEIVABLE = "receivable"
    CASH = "cash"
    SALES = "sales"
    PROMOTIONS = "promotions"
    WRITE_OFFS = "write_offs"


class LedgerEvent(StrEnum):
    """What is posted; of `credit_journals.event`."""

    GIFT_CARD_SOLD = "gift_card_sold"
    GIFT_CARD_GIVEN = "gift_card_given"
    STORE_CREDIT_GRANTED = "store_credit_granted"
    CAPTURED = "captured"
    INVOICE_ISSUED = "invoice_issued"
    REFUNDED = "refunded"
    INVOICE_PAID = "invoice_paid"
    WRITTEN_OFF = "written_off"


DeclineCode = Literal[
    "gift_card_unknown",  # or blocked: who guesses codes must not learn which exist
    "gift_card_expired",
    "insufficient_credit",
    "invoice_not_approved",
    "credit_limit_exceeded",
    "wrong_currency",
]

OF_CUSTOMERS = frozenset({AccountKind.GIFT_CARD, AccountKind.STORE_CREDIT, AccountKind.RECEIVABLE})

SIDES: Mapping[AccountKind, int] = {
    AccountKind.GIFT_CARD: -1,
    AccountKind.STORE_CREDIT: -1,
    AccountKind.RECEIVABLE: 1,
    AccountKind.CASH: 1,
    AccountKind.SALES: -1,
    AccountKind.PROMOTIONS: 1,
    AccountKind.WRITE_OFFS: 1,
}
"""1 where a debit raises the balance, -1 where a credit does."""

ACCOUNT_OF: Mapping[PaymentKind, AccountKind] = {
    "gift_card": AccountKind.GIFT_CARD,
    "store_credit": AccountKind.STORE_CREDIT,
    "invoice": AccountKind.RECEIVABLE,
}
"""The account that each way to pay spends from: the kinds that the ledger takes."""

POSTINGS: Mapping[LedgerEvent, frozenset[tuple[AccountKind, AccountKind]]] = {
    LedgerEvent.GIFT_CARD_SOLD: frozenset({(AccountKind.CASH, AccountKind.GIFT_CARD)}),
    LedgerEvent.GIFT_CARD_GIVEN: frozenset({(AccountKind.PROMOTIONS, AccountKind.GIFT_CARD)}),
    LedgerEvent.STORE_CREDIT_GRANTED: frozenset(
        {(AccountKind.PROMOTIONS, AccountKind.STORE_CREDIT)}
    ),
    LedgerEvent.CAPTURED: frozenset(
        {
            (AccountKind.GIFT_CARD, AccountKind.SALES),
            (AccountKind.STORE_CREDIT, AccountKind.SALES),
        }
    ),
    LedgerEvent.INVOICE_ISSUED: frozenset({(AccountKind.RECEIVABLE, AccountKind.SALES)}),
    LedgerEvent.REFUNDED: frozenset(
        {
            (AccountKind.SALES, AccountKind.GIFT_CARD),
            (AccountKind.SALES, AccountKind.STORE_CREDIT),
            (AccountKind.SALES, AccountKind.RECEIVABLE),
            (AccountKind.SALES, AccountKind.WRITE_OFFS),
        }
    ),
    LedgerEvent.INVOICE_PAID: frozenset({(AccountKind.CASH, AccountKind.RECEIVABLE)}),
    LedgerEvent.WRITTEN_OFF: frozenset({(AccountKind.WRITE_OFFS, AccountKind.RECEIVABLE)}),
}
"""Which account each event may debit, and which it credits for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a journal: minor units, debit positive and credit negative, never zero."""

    account: AccountKind
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A card's or customer's account: what is on it or owed, and what of it is held."""

    kind: AccountKind
    currency: str
    balance_minor: int = 0
    held_minor: int = 0
    limit_minor: int | None = None
    """Of a receivable: the most that may be owed."""

    @property
    def available_minor(self) -> int:
        """What may still be held or spent; below zero only if a rule of the ledger is broken."""
        if self.kind is AccountKind.RECEIVABLE:
            return (self.limit_minor or 0) - self.balance_minor - self.held_minor
        return self.balance_minor - self.held_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceParts:
    """An invoice's amount, by what has become of it; minor units."""

    amount_minor: int
    paid_minor: int = 0
    written_off_minor: int = 0
    credited_minor: int = 0

    @property
    def open_minor(self) -> int:
        """Still owed."""
        settled = self.paid_minor + self.written_off_minor + self.credited_minor
        return self.amount_minor - settled


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRefund:
    """Where a refund of an invoice goes; minor units."""

    off_the_debt_minor: int
    off_the_loss_minor: int
    to_store_credit_minor: int


def post(
    event: LedgerEvent, debit: AccountKind, credit: AccountKind, amount_minor: int, currency: str
) -> tuple[Entry, Entry]:
    """The two entries of an event; ValueError if it does not post so, or not a positive amount."""
    if (debit, credit) not in POSTINGS[event] or amount_minor <= 0:
        raise ValueError(
            f"{event} does not post {amount_minor} {currency} from {debit} to {credit};"
            " see POSTINGS and give a positive amount"
        )
    return (
        Entry(account=debit, amount_minor=amount_minor, currency=currency),
        Entry(account=credit, amount_minor=-amount_minor, currency=currency),
    )


def is_balanced(entries: Iterable[Entry]) -> bool:
    """True if the entries sum to zero in every currency."""
    sums: Counter[str] = Counter()
    for entry in entries:
        sums[entry.currency] += entry.amount_minor
    return not any(sums.values())


def posted(account: Account, entries: Iterable[Entry]) -> Account:
    """The account after the entries that are of its kind; ValueError for another currency."""
    balance = account.balance_minor
    for entry in entries:
        if entry.account is not account.kind:
            continue
        if entry.currency != account.currency:
            raise ValueError(
                f"{entry.currency} cannot be posted to an account in {account.currency}"
            )
        balance += SIDES[account.kind] * entry.amount_minor
    return replace(account, balance_minor=balance)


def hold(account: Account, amount_minor: int) -> Account | DeclineCode:
    """The account with this much more held, or why not."""
    if amount_minor > account.available_minor:
        receivable = account.kind is AccountKind.RECEIVABLE
        return "credit_limit_exceeded" if receivable else "insufficient_credit"
    return replace(account, held_minor=account.held_minor + amount_minor)


def release(account: Account, amount_minor: int) -> Account:
    """The account with this much less held."""
    return replace(account, held_minor=account.held_minor - amount_minor)


def capture(account: Account, amount_minor: int) -> Account:
    """The account after a hold was taken: no longer held, but spent or owed."""
    event = (
        LedgerEvent.INVOICE_ISSUED
        if account.kind is AccountKind.RECEIVABLE
        else LedgerEvent.CAPTURED
    )
    free = release(account, amount_minor)
    if not amount_minor:
        return free
    entries = post(event, account.kind, AccountKind.SALES, amount_minor, account.currency)
    return posted(free, entries)


def gift_card_refusal(
    *, blocked: bool, expires_at: datetime | None, card_currency: str, currency: str, now: datetime
) -> DeclineCode | None:
    """Why a card that exists may not be spent at all; None if it may, as far as it goes."""
    if blocked:
        return "gift_card_unknown"
    if expires_at is not None and expires_at <= now:
        return "gift_card_expired"
    return None if card_currency == currency else "wrong_currency"


def refund_of_invoice(invoice: InvoiceParts, amount_minor: int) -> InvoiceRefund:
    """Split a refund: first the open debt, then what was written off, then what was paid.

    Money goes back only where money came in. What was paid becomes store credit: the shop knows
    no account of the customer's to send it to. The caller has checked that the charge still has
    this much.
    """
    open_part = min(amount_minor, invoice.open_minor)
    lost_part = min(amount_minor - open_part, invoice.written_off_minor)
    return InvoiceRefund(
        off_the_debt_minor=open_part,
        off_the_loss_minor=lost_part,
        to_store_credit_minor=amount_minor - open_part - lost_part,
    )
