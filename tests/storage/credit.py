"""A ledger in a test's own database: cards, credit, approved customers, and a clock to set."""

from __future__ import annotations

import itertools
from typing import Any

import asyncpg

from domain.gift_cards import code_hash
from domain.ledger import ACCOUNT_OF
from domain.payments import ChargeRequest, PaymentKind, RefundRequest
from storage.credit_accounts import CreditAccounts
from storage.credit_ledger import PostgresCreditLedger
from tests.storage.books import NOW

ANN = "0190a000-0000-7000-8000-000000000001"
BOB = "0190a000-0000-7000-8000-000000000002"
_numbers = itertools.count(1)


class Desk:
    """The ledger with both its sides, and shorthands for what tests ask of it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.now = NOW
        self.ledger = PostgresCreditLedger(pool, lambda: self.now)
        self.accounts = CreditAccounts(pool, lambda: self.now)

    async def card(self, amount_minor: int, **changes: Any) -> tuple[str, int]:
        """A fresh card: the token of its code, and its number."""
        number = next(_numbers)
        token = code_hash(b"key", letters(number)) or ""
        values: dict[str, Any] = {"currency": "USD", "origin": "sold", "actor": "test"} | changes
        card = await self.accounts.issue_gift_card(
            code_hash=token, last_four="BCDF", amount_minor=amount_minor, **values
        )
        return token, card

    async def credit(self, customer: str, amount_minor: int, currency: str = "USD") -> int:
        """Store credit for a customer."""
        return await self.accounts.grant(
            f"grant-{next(_numbers)}", customer, amount_minor, currency, actor="test"
        )

    async def approve(self, customer: str, limit_minor: int, **changes: Any) -> None:
        """Let a customer pay on invoice."""
        values: dict[str, Any] = {"currency": "USD", "net_days": 30, "approved": True} | changes
        await self.accounts.set_terms(customer, limit_minor=limit_minor, actor="test", **values)

    async def account(self, kind: PaymentKind, customer: str = ANN) -> tuple[int, int]:
        """(balance, held) of a customer's account."""
        row = await self.pool.fetchrow(
            "SELECT balance_minor, held_minor FROM credit_accounts"
            " WHERE kind = $1 AND customer = $2 AND currency = 'USD'",
            ACCOUNT_OF[kind],
            customer,
        )
        return (0, 0) if row is None else (row["balance_minor"], row["held_minor"])

    async def on_card(self, number: int) -> tuple[int, int]:
        """(balance, held) of a card."""
        card = await self.accounts.gift_card(number=number)
        assert card is not None
        return card.balance_minor, card.held_minor

    async def books(self) -> dict[str, int]:
        """The sum of all entries of each kind of account, in dollars' cents."""
        rows = await self.pool.fetch(
            "SELECT account_kind, sum(amount_minor)::bigint AS amount FROM credit_entries"
            " WHERE currency = 'USD' GROUP BY account_kind"
        )
        return {row["account_kind"]: row["amount"] for row in rows}


def letters(number: int) -> str:
    """The code of a number."""
    digits = "BCDFGHJKLMNPQRSTVWXZ"
    code = ""
    for _ in range(24):
        number, digit = divmod(number, len(digits))
        code += digits[digit]
    return code


def charge(
    name: str,
    amount_minor: int,
    *,
    card: str = "",
    kind: PaymentKind = "gift_card",
    payer: str = ANN,
    currency: str = "USD",
) -> ChargeRequest:
    """A charge of this name."""
    return ChargeRequest(
        transaction_id=name,
        amount_minor=amount_minor,
        currency=currency,
        payment_token=card,
        kind=kind,
        payer=payer,
    )


def refund(name: str, amount_minor: int) -> RefundRequest:
    """A refund of this name."""
    return RefundRequest(refund_id=name, amount_minor=amount_minor)
