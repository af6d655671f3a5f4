"""The rules of the double-entry ledger, and any sequence of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.ledger import (
    ACCOUNT_OF,
    OF_CUSTOMERS,
    POSTINGS,
    SIDES,
    Account,
    AccountKind,
    Entry,
    InvoiceParts,
    LedgerEvent,
    capture,
    gift_card_refusal,
    hold,
    is_balanced,
    post,
    posted,
    refund_of_invoice,
    release,
)

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
amounts = st.integers(min_value=1, max_value=10_000)
postings = st.sampled_from(
    [(event, *pair) for event, pairs in POSTINGS.items() for pair in sorted(pairs)]
)


@given(st.lists(st.tuples(postings, amounts, st.sampled_from(["USD", "JPY"]))))
def test_whatever_is_posted_sums_to_zero(
    journals: list[tuple[tuple[LedgerEvent, AccountKind, AccountKind], int, str]],
) -> None:
    entries: list[Entry] = []
    for (event, debit, credit), amount, currency in journals:
        pair = post(event, debit, credit, amount, currency)
        assert is_balanced(pair)
        entries += pair
    assert is_balanced(entries)
    assert not is_balanced(
        [*entries, Entry(account=AccountKind.CASH, amount_minor=1, currency="USD")]
    )


def test_two_currencies_do_not_make_up_for_each_other() -> None:
    one, other = post(LedgerEvent.CAPTURED, AccountKind.GIFT_CARD, AccountKind.SALES, 5, "USD")
    assert not is_balanced([one, replace(other, currency="EUR")])
    with pytest.raises(ValueError, match="cannot be posted"):
        posted(Account(kind=AccountKind.GIFT_CARD, currency="EUR"), [one])


@pytest.mark.parametrize("amount", [0, -1])
def test_only_a_positive_amount_is_posted(amount: int) -> None:
    with pytest.raises(ValueError, match="positive amount"):
        post(LedgerEvent.INVOICE_PAID, AccountKind.CASH, AccountKind.RECEIVABLE, amount, "USD")


def test_an_event_posts_what_it_may_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="does not post"):
        post(LedgerEvent.CAPTURED, AccountKind.CASH, AccountKind.SALES, 1, "USD")
    assert set(POSTINGS) == set(LedgerEvent)
    assert set(ACCOUNT_OF.values()) == OF_CUSTOMERS
    assert set(SIDES) == set(AccountKind)


@pytest.mark.parametrize(
    ("card", "refusal"),
    [
        ({}, None),
        ({"blocked": True, "expires_at": NOW, "card_currency": "EUR"}, "gift_card_unknown"),
        ({"expires_at": NOW, "card_currency": "EUR"}, "gift_card_expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
        ({"card_currency": "EUR"}, "wrong_currency"),
    ],
)
def test_why_a_card_is_refused(card: dict[str, object], refusal: str | None) -> None:
    values = {"blocked": False, "expires_at": None, "card_currency": "USD"} | card
    assert gift_card_refusal(**values, currency="USD", now=NOW) == refusal  # pyright: ignore


def test_a_refund_of_an_invoice_gives_money_back_only_where_money_came_in() -> None:
    invoice = InvoiceParts(amount_minor=100, paid_minor=50, written_off_minor=20)
    split = refund_of_invoice(invoice, 60)
    assert split.off_the_debt_minor == 30
    assert split.off_the_loss_minor == 20
    assert split.to_store_credit_minor == 10


@given(st.data())
def test_refunds_of_an_invoice_never_give_more_than_was_paid(data: st.DataObject) -> None:
    amount = data.draw(amounts)
    paid = data.draw(st.integers(0, amount))
    lost = data.draw(st.integers(0, amount - paid))
    invoice = InvoiceParts(amount_minor=amount, paid_minor=paid, written_off_minor=lost)
    left, given_out = amount, 0
    for last in (False, False, False, True):
        if not left:
            break
        part = left if last else data.draw(st.integers(1, left))
        split = refund_of_invoice(invoice, part)
        moved = (split.off_the_debt_minor, split.off_the_loss_minor, split.to_store_credit_minor)
        assert sum(moved) == part
        assert min(moved) >= 0
        given_out += split.to_store_credit_minor
        invoice = replace(
            invoice,
            written_off_minor=invoice.written_off_minor - split.off_the_loss_minor,
            credited_minor=invoice.credited_minor + sum(moved[:2]),
        )
        left -= part
    assert given_out == paid
    assert (invoice.open_minor, invoice.written_off_minor) == (0, 0)


class LedgerMachine(RuleBasedStateMachine):
    """A card and a customer on invoice; holds, captures, refunds and payments in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = {
            "gift_card": Account(kind=AccountKind.GIFT_CARD, currency="USD"),
            "invoice": Account(kind=AccountKind.RECEIVABLE, currency="USD", limit_minor=5_000),
        }
        self.books: list[Entry] = []
        self.held: list[tuple[str, int]] = []
        self.taken: list[tuple[str, int]] = []

    def _post(self, way: str, event: LedgerEvent, debit: AccountKind, credit: AccountKind, n: int):
        entries = post(event, debit, credit, n, "USD")
        self.books += entries
        self.accounts[way] = posted(self.accounts[way], entries)

    @rule(amount=amounts)
    def issue(self, amount: int) -> None:
        self._post(
            "gift_card", LedgerEvent.GIFT_CARD_SOLD, AccountKind.CASH, AccountKind.GIFT_CARD, amount
        )

    @rule(way=st.sampled_from(["gift_card", "invoice"]), amount=amounts)
    def authorize(self, way: str, amount: int) -> None:
        account = self.accounts[way]
        after = hold(account, amount)
        if isinstance(after, str):
            assert amount > account.available_minor
        else:
            assert after.available_minor == account.available_minor - amount
            self.accounts[way] = after
            self.held.append((way, amount))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def capture(self, data: st.DataObject) -> None:
        way, amount = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        before = self.accounts[way]
        self.accounts[way] = capture(before, amount)
        assert self.accounts[way].available_minor == before.available_minor
        invoice = way == "invoice"
        event = LedgerEvent.INVOICE_ISSUED if invoice else LedgerEvent.CAPTURED
        self.books += post(event, before.kind, AccountKind.SALES, amount, "USD")
        self.taken.append((way, amount))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        way, amount = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.accounts[way] = release(self.accounts[way], amount)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        way, amount = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        kind = self.accounts[way].kind
        if self.accounts[way].balance_minor >= amount or way == "gift_card":
            self._post(way, LedgerEvent.REFUNDED, AccountKind.SALES, kind, amount)

    @precondition(lambda self: self.accounts["invoice"].balance_minor)
    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        amount = data.draw(st.integers(1, self.accounts["invoice"].balance_minor))
        self._post(
            "invoice", LedgerEvent.INVOICE_PAID, AccountKind.CASH, AccountKind.RECEIVABLE, amount
        )

    @invariant()
    def books_and_accounts_agree(self) -> None:
        assert is_balanced(self.books)
        sums: Counter[AccountKind] = Counter()
        for entry in self.books:
            sums[entry.account] += SIDES[entry.account] * entry.amount_minor
        for way, account in self.accounts.items():
            assert account.balance_minor == sums[account.kind] >= 0
            assert account.held_minor == sum(n for w, n in self.held if w == way)
            assert account.available_minor >= 0


TestLedger = LedgerMachine.TestCase
