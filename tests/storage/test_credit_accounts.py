"""The ledger's operators: cards, grants, terms, invoices; and what guards it from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.money import MoneyError
from storage.credit_ledger import LEDGER_CHECKS, violations
from storage.stock_in import NotPossibleError
from tests.storage.books import ORDER, uid, write_books
from tests.storage.credit import ANN, BOB, Desk, charge, refund

pytestmark = pytest.mark.asyncio
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def desk(pool: asyncpg.Pool) -> AsyncIterator[Desk]:
    yield Desk(pool)


async def _sound(desk: Desk) -> None:
    assert await violations(desk.pool, with_orders=False) == []


async def test_cards_are_sold_or_given(desk: Desk) -> None:
    token, number = await desk.card(1_000)
    await desk.card(300, origin="given", expires_at=desk.now + HOUR)
    assert await desk.books() == {"cash": 1_000, "promotions": 300, "gift_card": -1_300}
    card = await desk.accounts.gift_card(code_hash=token)
    assert card == await desk.accounts.gift_card(number=number)
    assert card is not None
    assert (card.amount_minor, card.last_four, card.origin) == (1_000, "BCDF", "sold")
    assert await desk.accounts.gift_card(code_hash="f" * 64) is None
    await _sound(desk)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"amount_minor": 0}, NotPossibleError),
        ({"amount_minor": -1}, NotPossibleError),
        ({"amount_minor": 10**12 + 1}, NotPossibleError),
        ({"currency": "XXX"}, MoneyError),
    ],
)
async def test_a_card_of_nothing_is_not_issued(
    desk: Desk, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await desk.card(**{"amount_minor": 5, **changes})
    with pytest.raises(NotPossibleError, match="is over"):
        await desk.card(5, expires_at=desk.now)
    assert await desk.pool.fetchval("SELECT count(*) FROM credit_accounts") == 0


async def test_a_card_that_is_not_there_cannot_be_blocked(desk: Desk) -> None:
    with pytest.raises(NotPossibleError, match="no gift card 7"):
        await desk.accounts.block_gift_card(7)


async def test_a_grant_is_given_once(desk: Desk) -> None:
    grants = [desk.accounts.grant("g-1", ANN, 500, "USD", actor="test") for _ in range(6)]
    assert set(await asyncio.gather(*grants)) == {500}
    assert await desk.accounts.grant("g-2", ANN, 20, "USD", actor="test") == 520
    assert await desk.books() == {"promotions": 520, "store_credit": -520}
    await _sound(desk)


async def _invoiced(desk: Desk, *amounts: int) -> None:
    await desk.approve(ANN, sum(amounts))
    charges = [charge(f"c-{n}", amount, kind="invoice") for n, amount in enumerate(amounts)]
    await desk.ledger.authorize_many(charges)
    await desk.ledger.capture_many(charges)


async def test_an_invoice_is_paid_in_parts_and_never_twice(desk: Desk) -> None:
    await _invoiced(desk, 600, 400)
    pay = desk.accounts.pay_invoice
    for _ in range(2):
        assert await pay(1, "p-1", amount_minor=250, actor="test") == 350
    with pytest.raises(NotPossibleError, match=r"3\.50 USD of invoice 1 are open"):
        await pay(1, "p-2", amount_minor=351, actor="test")
    assert await pay(1, "p-3", actor="test") == 0
    with pytest.raises(NotPossibleError, match="0 USD"):
        await pay(1, "p-4", actor="test")
    with pytest.raises(NotPossibleError, match="no invoice 3"):
        await pay(3, "p-5", actor="test")
    assert await desk.account("invoice") == (400, 0)
    await _sound(desk)


async def test_of_many_who_pay_an_invoice_at_once_one_does(desk: Desk) -> None:
    await _invoiced(desk, 600)
    pays = [desk.accounts.pay_invoice(1, f"p-{n}", actor="test") for n in range(6)]
    outcomes = await asyncio.gather(*pays, return_exceptions=True)
    assert sorted(isinstance(one, NotPossibleError) for one in outcomes) == [False] + [True] * 5
    assert await desk.books() == {"cash": 600, "receivable": 0, "sales": -600}


async def test_invoices_are_found_by_what_became_of_them(desk: Desk) -> None:
    await _invoiced(desk, 600, 400)
    await desk.approve(BOB, 100, net_days=5)
    theirs = charge("c-bob", 100, kind="invoice", payer=BOB)
    await desk.ledger.authorize(theirs)
    await desk.ledger.capture(theirs)

    async def numbers(status: Any, **of: Any) -> list[int]:
        return [one["number"] for one in await desk.accounts.invoices(status, **of)]

    await desk.accounts.pay_invoice(1, "p-1", actor="test")
    assert await numbers("open") == [3, 2]
    assert await numbers("open", customer=ANN) == [2]
    assert await numbers("settled") == [1]
    assert await numbers("all") == [3, 1, 2]
    desk.now += timedelta(days=5)
    assert await numbers("overdue") == []  # the day it is due is still in time
    desk.now += timedelta(days=1)
    assert await numbers("overdue") == [3]


async def test_invoice_numbers_have_no_gaps_when_many_are_issued_at_once(desk: Desk) -> None:
    await desk.approve(ANN, 10_000)
    await desk.approve(BOB, 10_000)
    charges = [charge(f"c-{n}", 10, kind="invoice", payer=(ANN, BOB)[n % 2]) for n in range(40)]
    await desk.ledger.authorize_many(charges)
    await asyncio.gather(
        *(desk.ledger.capture_many(charges[at : at + 5]) for at in range(0, 40, 5))
    )
    numbers = [one["number"] for one in await desk.accounts.invoices()]
    assert sorted(numbers) == list(range(1, 41))
    await _sound(desk)


async def test_a_limit_is_not_set_below_what_is_owed(desk: Desk) -> None:
    await _invoiced(desk, 600)
    with pytest.raises(NotPossibleError, match=r"owes more than 5\.99 USD"):
        await desk.approve(ANN, 599)
    await desk.approve(ANN, 600, approved=False)
    with pytest.raises(NotPossibleError, match="a limit is"):
        await desk.approve(ANN, -1)


async def test_a_customer_sees_what_is_there(desk: Desk) -> None:
    await desk.credit(ANN, 500)
    await desk.credit(ANN, 700, "JPY")
    await _invoiced(desk, 600)
    await desk.ledger.authorize(charge("c", 100, kind="store_credit"))
    shown = await desk.accounts.of_customer(ANN)
    assert [tuple(row) for row in shown.store_credit] == [("JPY", 700, 0), ("USD", 500, 100)]
    [terms] = shown.terms
    assert (terms["limit_minor"], terms["balance_minor"], terms["approved"]) == (600, 600, True)
    assert [row["open_minor"] for row in shown.invoices] == [600]
    nothing = await desk.accounts.of_customer(BOB)
    assert (nothing.store_credit, nothing.terms, nothing.invoices) == ([], [], [])


async def test_attempts_are_counted_by_customer_and_window(desk: Desk) -> None:
    count = desk.accounts.count_attempt
    assert [await count(ANN, HOUR) for _ in range(2)] == [(1, HOUR), (2, HOUR)]
    desk.now += HOUR / 2
    assert await count(BOB, HOUR) == (1, HOUR)
    assert await count(ANN, HOUR) == (3, HOUR / 2)
    desk.now += HOUR / 2
    assert await count(ANN, HOUR) == (1, HOUR)
    desk.now += HOUR
    await count(ANN, HOUR)
    customers = await desk.pool.fetch("SELECT customer FROM credit_code_attempts")
    assert [row["customer"] for row in customers] == [ANN]  # what is over is forgotten


# -- what the database itself refuses, and what the audit finds when it did not ------------------

_ENTRIES = "INSERT INTO credit_entries (journal_id, line, account_kind, account_id, amount_minor, currency)"
REFUSED = {
    "one side only": f"{_ENTRIES} SELECT max(journal_id), 3, 'cash', NULL, 5, 'USD'"
    " FROM credit_journals",
    "two currencies": f"{_ENTRIES} SELECT max(journal_id), n, 'cash', NULL, 5 * (7 - 2 * n),"
    " CASE n WHEN 3 THEN 'USD' ELSE 'EUR' END FROM credit_journals, generate_series(3, 4) n GROUP BY n",
    "another's currency": f"{_ENTRIES} SELECT max(journal_id), 3, 'gift_card',"
    " (SELECT min(account_id) FROM gift_cards), 5, 'EUR' FROM credit_journals",
    "an entry changed": "UPDATE credit_entries SET amount_minor = amount_minor * 2",
    "entries deleted": "DELETE FROM credit_entries",
    "entries emptied": "TRUNCATE credit_entries",
    "a journal changed": "UPDATE credit_journals SET event = 'captured'",
    "a card below zero": "UPDATE credit_accounts SET balance_minor = -1 WHERE kind = 'gift_card'",
    "more held than there is": "UPDATE credit_accounts SET held_minor = balance_minor + 1"
    " WHERE kind = 'gift_card'",
    "more owed than the limit": "UPDATE credit_accounts SET limit_minor = balance_minor - 1"
    " WHERE kind = 'receivable'",
    "more refunded than taken": "UPDATE credit_charges SET refunded_minor = amount_minor + 1,"
    " status = 'captured'",
    "an invoice overpaid": "UPDATE credit_invoices SET paid_minor = amount_minor + 1",
}


async def _small_world(desk: Desk) -> None:
    token, _ = await desk.card(1_000)
    ours = charge("taken", 400, card=token)
    await desk.ledger.authorize_many([ours, charge("held", 100, card=token)])
    await desk.ledger.capture(ours)
    await desk.ledger.refund(ours, refund("r-1", 50))
    await _invoiced(desk, 600)


@pytest.mark.parametrize("attempt", list(REFUSED))
async def test_the_database_keeps_the_ledger_by_itself(desk: Desk, attempt: str) -> None:
    await _small_world(desk)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await desk.pool.execute(REFUSED[attempt])
    await _sound(desk)


# Each breaks one thing behind the guards' back.
BROKEN = {
    "audit_journals": f"{_ENTRIES} SELECT max(journal_id), 3, 'cash', NULL, 5, 'USD'"
    " FROM credit_journals",
    "audit_postings": "UPDATE credit_entries SET account_kind = 'cash'"
    " WHERE account_kind = 'promotions' OR account_kind = 'sales'",
    "audit_balances": "UPDATE credit_accounts SET balance_minor = balance_minor + 1"
    " WHERE kind = 'gift_card'",
    "audit_holds": "UPDATE credit_accounts SET held_minor = held_minor - 1 WHERE held_minor > 0",
    "audit_bounds": "ALTER TABLE credit_accounts DROP CONSTRAINT credit_never_below_zero;"
    "UPDATE credit_accounts SET held_minor = -1",
    "audit_guards": "ALTER TABLE credit_accounts DROP CONSTRAINT credit_never_overspent",
    "audit_captures": "UPDATE credit_charges SET status = 'captured', refunded_minor = 0"
    " WHERE status = 'authorized'",
    "audit_refunds": "UPDATE credit_charges SET refunded_minor = 51 WHERE refunded_minor = 50",
    "audit_invoices": "UPDATE credit_invoices SET paid_minor = 1",
    "audit_invoice_numbers": "UPDATE credit_invoice_numbers SET last = last + 1",
}


@pytest.mark.parametrize("check", list(LEDGER_CHECKS))
async def test_the_audit_finds_what_is_broken(desk: Desk, check: str) -> None:
    await _small_world(desk)
    await _sound(desk)
    async with desk.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(BROKEN[check])
    found = await violations(desk.pool, with_orders=False)
    assert found, check
    marks = {
        "audit_journals": "sum to zero",
        "audit_postings": "which it may not",
        "audit_balances": "its entries come to",
        "audit_holds": "its open charges hold",
        "audit_bounds": "overspent",
        "audit_guards": "credit_never_overspent of the ledger is missing",
        "audit_captures": "the ledger has",
        "audit_refunds": "its refunds come to",
        "audit_invoices": "the open invoices come to",
        "audit_invoice_numbers": "the last number given is",
    }
    assert any(marks[check] in one for one in found), found


async def test_the_ledger_is_compared_with_the_orders(desk: Desk) -> None:
    await write_books(desk.pool)
    order = ORDER["first"]
    token, _ = await desk.card(order.total_minor)
    ours = charge("charge-of-first", order.total_minor, card=token)
    await desk.pool.execute(
        "UPDATE payments SET gateway = 'ledger', transaction_id = $2 WHERE order_id = $1",
        uid("first"),
        ours.transaction_id,
    )
    [found] = await violations(desk.pool)
    assert "the ledger says nothing" in found
    await desk.ledger.authorize(ours)
    [found] = await violations(desk.pool)
    assert "the ledger says authorized" in found
    await desk.ledger.capture(ours)
    assert await violations(desk.pool) == []
    await desk.pool.execute("UPDATE payments SET amount_minor = 1 WHERE gateway = 'ledger'")
    [found] = await violations(desk.pool)
    assert f"took {order.total_minor} USD, its payment says 1 USD" in found
