"""The ledger as a payment provider, on Postgres."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.ledger import Account, AccountKind, capture, hold, release
from domain.payments import ChargeRequest, ChargeState
from domain.ports import RefundRefused, Unavailable
from storage import credit_ledger
from storage.credit_ledger import PostgresCreditLedger, violations
from storage.postgres import open_pool
from tests.actors.postgres import until_someone_waits_for_a_lock
from tests.storage.credit import ANN, BOB, Desk, charge, refund

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def desk(pool: asyncpg.Pool) -> AsyncIterator[Desk]:
    """A ledger that is audited after each test."""
    desk = Desk(pool)
    yield desk
    assert await violations(pool, with_orders=False) == []


async def test_a_card_is_held_taken_and_given_back(desk: Desk) -> None:
    token, number = await desk.card(1_000)
    ours = charge("c-1", 400, card=token)
    assert await desk.ledger.lookup(ours) is None
    for _ in range(2):
        assert await desk.ledger.authorize(ours) == ChargeState("authorized", 400, "USD")
    assert await desk.on_card(number) == (1_000, 400)
    for _ in range(2):
        assert await desk.ledger.capture(ours) == ChargeState("captured", 400, "USD")
    assert await desk.on_card(number) == (600, 0)
    assert (await desk.ledger.authorize(ours)).status == "captured"
    assert (await desk.ledger.void(ours)).status == "captured"
    part = ChargeState("captured", 400, "USD", refunded_minor=150)
    for _ in range(2):
        assert await desk.ledger.refund(ours, refund("r-1", 150)) == part
    assert await desk.on_card(number) == (750, 0)
    with pytest.raises(RefundRefused, match="has 250 USD"):
        await desk.ledger.refund(ours, refund("r-2", 251))
    whole = ChargeState("refunded", 400, "USD", refunded_minor=400)
    assert await desk.ledger.refund(ours, refund("r-3", 250)) == whole
    assert await desk.ledger.refund(ours, refund("r-1", 150)) == whole
    assert await desk.ledger.lookup(ours) == whole
    assert await desk.on_card(number) == (1_000, 0)
    assert await desk.books() == {"cash": 1_000, "gift_card": -1_000, "sales": 0}


async def test_a_void_holds_for_ever(desk: Desk) -> None:
    token, number = await desk.card(1_000)
    held, never = charge("held", 400, card=token), charge("never", 300, card=token)
    await desk.ledger.authorize(held)
    for one in (held, never):
        assert (await desk.ledger.void(one)).status == "voided"
        assert (await desk.ledger.authorize(one)).status == "voided"
        assert (await desk.ledger.capture(one)).status == "voided"
        with pytest.raises(RefundRefused):
            await desk.ledger.refund(one, refund("r", 1))
    assert await desk.on_card(number) == (1_000, 0)


async def test_what_was_never_made_cannot_be_taken(desk: Desk) -> None:
    token, _ = await desk.card(1_000)
    ours = charge("c", 1, card=token)
    assert (await desk.ledger.capture(ours)).status == "voided"
    assert await desk.ledger.lookup(ours) is None
    with pytest.raises(RefundRefused):
        await desk.ledger.refund(ours, refund("r", 1))


async def _declines(desk: Desk, one: ChargeRequest) -> str | None:
    foreseen = await desk.ledger.foresee([one])
    state = await desk.ledger.authorize(one)
    assert state.decline_code == foreseen
    assert state.status == ("declined" if state.decline_code else "authorized")
    assert await desk.ledger.authorize(one) == state
    return state.decline_code


async def test_why_a_card_declines(desk: Desk) -> None:
    token, number = await desk.card(1_000, expires_at=desk.now + timedelta(days=1))
    euros, _ = await desk.card(1_000, currency="EUR")
    for strange in ("f" * 64, "", "\0", "\ud800", "' OR true --", "x" * 100_000):
        name = f"c-{len(strange)}-{strange[:1]!a}"
        assert await _declines(desk, charge(name, 1, card=strange)) == "gift_card_unknown"
    assert await _declines(desk, charge("eur", 1, card=euros)) == "wrong_currency"
    assert await _declines(desk, charge("more", 1_001, card=token)) == "insufficient_credit"
    assert await _declines(desk, charge("all", 1_000, card=token)) is None
    assert await _declines(desk, charge("one", 1, card=token)) == "insufficient_credit"
    await desk.accounts.block_gift_card(number)
    assert await _declines(desk, charge("blocked", 0, card=token)) == "gift_card_unknown"
    await desk.accounts.block_gift_card(number, blocked=False)
    desk.now += timedelta(days=1)
    assert await _declines(desk, charge("late", 0, card=token)) == "gift_card_expired"
    # What was held before goes on: the buyer was told so.
    assert (await desk.ledger.capture(charge("all", 1_000, card=token))).status == "captured"


async def test_parts_that_are_too_much_together_are_foreseen_and_hold_nothing(desk: Desk) -> None:
    token, number = await desk.card(1_000)
    await desk.credit(ANN, 500)
    fits = [charge("a", 600, card=token), charge("b", 500, kind="store_credit")]
    assert await desk.ledger.foresee([*fits, charge("c", 400, card=token)]) is None
    assert await desk.ledger.foresee([*fits, charge("c", 401, card=token)]) == "insufficient_credit"
    unknown = charge("0", 1, card="f" * 64)
    assert await desk.ledger.foresee([*fits, unknown]) == "gift_card_unknown"
    assert await desk.ledger.foresee([]) is None
    assert await desk.on_card(number) == (1_000, 0)
    assert await desk.ledger.lookup(fits[0]) is None


async def test_why_store_credit_declines(desk: Desk) -> None:
    await desk.credit(ANN, 500, "EUR")
    ours = charge("c-0", 500, kind="store_credit")
    assert await _declines(desk, ours) == "wrong_currency"
    await desk.credit(ANN, 500)
    assert await _declines(desk, charge("c-1", 501, kind="store_credit")) == "insufficient_credit"
    assert await _declines(desk, charge("c-2", 500, kind="store_credit")) is None
    for stranger in (BOB, "", "\0"):
        theirs = charge(f"c-{stranger!a}", 1, kind="store_credit", payer=stranger)
        assert await _declines(desk, theirs) == "insufficient_credit"


async def test_why_an_invoice_declines(desk: Desk) -> None:
    assert await _declines(desk, charge("c-0", 1, kind="invoice")) == "invoice_not_approved"
    await desk.approve(ANN, 1_000)
    assert await _declines(desk, charge("c-1", 1_001, kind="invoice")) == "credit_limit_exceeded"
    euros = charge("c-2", 1, kind="invoice", currency="EUR")
    assert await _declines(desk, euros) == "wrong_currency"
    assert await _declines(desk, charge("c-3", 600, kind="invoice")) is None
    await desk.ledger.capture(charge("c-3", 600, kind="invoice"))
    assert await _declines(desk, charge("c-4", 401, kind="invoice")) == "credit_limit_exceeded"
    assert await _declines(desk, charge("c-5", 400, kind="invoice")) is None
    await desk.approve(ANN, 1_000, approved=False)
    assert await _declines(desk, charge("c-6", 1, kind="invoice")) == "invoice_not_approved"
    assert (await desk.ledger.capture(charge("c-5", 400, kind="invoice"))).status == "captured"
    assert await desk.account("invoice") == (1_000, 0)


async def test_an_invoice_is_issued_and_a_refund_lowers_it(desk: Desk) -> None:
    await desk.approve(ANN, 1_000)
    ours = charge("c-1", 600, kind="invoice")
    await desk.ledger.authorize(ours)
    await desk.ledger.capture(ours)
    [invoice] = await desk.accounts.invoices()
    assert (invoice["number"], invoice["open_minor"]) == (1, 600)
    assert invoice["due_on"] == desk.now.date() + timedelta(days=30)
    await desk.ledger.refund(ours, refund("r-1", 100))
    assert await desk.accounts.pay_invoice(1, "p-1", amount_minor=300, actor="test") == 200
    # 200 are still owed, 300 were paid: 250 back are 200 less debt and 50 of store credit.
    state = await desk.ledger.refund(ours, refund("r-2", 250))
    assert state == ChargeState("captured", 600, "USD", refunded_minor=350)
    assert await desk.account("invoice") == (0, 0)
    assert await desk.account("store_credit") == (50, 0)
    assert await desk.accounts.invoices() == []
    with pytest.raises(RefundRefused):
        await desk.ledger.refund(ours, refund("r-3", 251))
    assert (await desk.ledger.refund(ours, refund("r-4", 250))).status == "refunded"
    assert await desk.account("store_credit") == (300, 0)


async def test_a_refund_of_what_was_written_off_gives_nobody_money(desk: Desk) -> None:
    await desk.approve(ANN, 1_000)
    ours = charge("c-1", 600, kind="invoice")
    await desk.ledger.authorize(ours)
    await desk.ledger.capture(ours)
    assert await desk.accounts.write_off(1, actor="test", reason="gone") == 0
    assert (await desk.ledger.refund(ours, refund("r-1", 600))).status == "refunded"
    assert await desk.account("store_credit") == (0, 0)
    assert await desk.books() == {"receivable": 0, "sales": 0, "write_offs": 0}


async def test_two_parts_of_an_order_may_use_one_card(desk: Desk) -> None:
    token, number = await desk.card(1_000)
    parts = [charge("part-1", 600, card=token), charge("part-2", 600, card=token)]
    states = await desk.ledger.authorize_many([*parts, charge("part-3", 300, card=token)])
    # The one that does not fit is refused; what comes after it fits.
    codes = [state.decline_code for state in states]
    assert codes == [None, "insufficient_credit", None]
    await desk.ledger.capture_many([parts[0], charge("part-3", 300, card=token)])
    assert await desk.on_card(number) == (100, 0)


async def test_a_batch_may_name_a_charge_twice(desk: Desk) -> None:
    token, number = await desk.card(500)
    one, other = charge("c-1", 300, card=token), charge("c-2", 200, card=token)
    states = await desk.ledger.authorize_many([one, one, other])
    assert [state.status for state in states] == ["authorized"] * 3
    taken = await desk.ledger.capture_many([one, other, one])
    assert [(state.status, state.amount_minor) for state in taken] == [
        ("captured", 300),
        ("captured", 200),
        ("captured", 300),
    ]
    assert await desk.on_card(number) == (0, 0)


async def test_a_free_part_of_an_order_posts_nothing(desk: Desk) -> None:
    token, _ = await desk.card(500)
    ours = charge("c-1", 0, card=token)
    assert (await desk.ledger.authorize(ours)).status == "authorized"
    assert (await desk.ledger.capture(ours)).status == "captured"
    with pytest.raises(RefundRefused):
        await desk.ledger.refund(ours, refund("r", 1))


@pytest.mark.parametrize("amount", [0, -5])
async def test_a_refund_of_nothing_is_refused(desk: Desk, amount: int) -> None:
    token, _ = await desk.card(500)
    ours = charge("c-1", 100, card=token)
    await desk.ledger.authorize(ours)
    await desk.ledger.capture(ours)
    with pytest.raises(RefundRefused):
        await desk.ledger.refund(ours, refund("r", amount))


async def test_a_refund_id_gives_back_once_of_one_charge(desk: Desk) -> None:
    token, number = await desk.card(500)
    charges = [charge(f"c-{n}", 100, card=token) for n in range(2)]
    await desk.ledger.authorize_many(charges)
    await desk.ledger.capture_many(charges)
    outcomes = await asyncio.gather(
        *(desk.ledger.refund(one, refund("r", 60)) for one in charges for _ in range(4)),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, RefundRefused)]
    assert len(refused) == 4
    assert await desk.on_card(number) == (360, 0)


@pytest.mark.parametrize("kind", ["card", "wallet", "bank_transfer"])
async def test_other_ways_to_pay_are_not_for_the_ledger(desk: Desk, kind: Any) -> None:
    with pytest.raises(ValueError, match="not for the ledger"):
        await desk.ledger.authorize(charge("c-1", 100, kind=kind))
    with pytest.raises(ValueError, match="not for the ledger"):
        await desk.ledger.authorize(charge("c-1", -1))


async def test_the_audit_reads_every_charge(desk: Desk) -> None:
    token, _ = await desk.card(500)
    await desk.ledger.authorize(charge("c-1", 100, card=token))
    await desk.ledger.void(charge("c-2", 100, card=token))
    await desk.ledger.authorize(charge("c-3", 100, card=token))
    await desk.ledger.capture(charge("c-3", 100, card=token))
    await desk.ledger.refund(charge("c-3", 100, card=token), refund("r", 40))
    seen = {one.transaction_id: one async for one in desk.ledger.charges()}
    statuses = {name: (one.status, one.refunded_minor) for name, one in seen.items()}
    assert statuses == {"c-1": ("authorized", 0), "c-2": ("voided", 0), "c-3": ("captured", 40)}


async def test_a_ledger_that_cannot_be_reached_is_unavailable(
    desk: Desk, database_url: str
) -> None:
    pool = await open_pool(database_url, max_size=1)
    ledger = PostgresCreditLedger(pool, lambda: desk.now)
    await pool.close()
    ours = charge("c-1", 1)
    calls = (ledger.authorize(ours), ledger.capture(ours), ledger.void(ours), ledger.lookup(ours))
    for call in (*calls, ledger.refund(ours, refund("r", 1))):
        with pytest.raises(Unavailable):
            await call


CALLS: dict[str, tuple[Any, str, int]] = {
    "authorize": (lambda desk, ours: desk.ledger.authorize(ours), "authorized", 0),
    "capture": (lambda desk, ours: desk.ledger.capture(ours), "captured", 0),
    "void": (lambda desk, ours: desk.ledger.void(ours), "voided", 0),
    "refund": (lambda desk, ours: desk.ledger.refund(ours, refund("r", 60)), "captured", 60),
}


@pytest.mark.parametrize("name", list(CALLS))
async def test_a_call_that_dies_half_way_did_nothing_and_can_be_repeated(
    desk: Desk, name: str
) -> None:
    """Its server process is ended while it waits for the account, with the charge in hand."""
    token, number = await desk.card(500)
    ours = charge("c-1", 100, card=token)
    if name != "authorize":
        await desk.ledger.authorize(ours)
    if name == "refund":
        await desk.ledger.capture(ours)
    before = await desk.on_card(number)
    call, status, refunded = CALLS[name]
    async with desk.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM credit_accounts FOR NO KEY UPDATE")
        dying = asyncio.create_task(call(desk, ours))
        await until_someone_waits_for_a_lock(desk.pool)
        await desk.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with pytest.raises(Unavailable):
            await dying
        assert await desk.on_card(number) == before
        await transaction.rollback()
    for _ in range(2):
        state = await call(desk, ours)
        assert (state.status, state.refunded_minor) == (status, refunded)


async def test_a_call_that_takes_too_long_is_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = await desk.card(500)
    monkeypatch.setattr(credit_ledger, "CALL_TIMEOUT_S", 0.05)
    async with desk.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM credit_accounts FOR NO KEY UPDATE")
        with pytest.raises(Unavailable, match="TimeoutError"):
            await desk.ledger.authorize(charge("c-1", 100, card=token))


async def test_a_void_that_meets_the_charge_being_made_waits_for_it(desk: Desk) -> None:
    """Both end the same: nothing is held, whoever came first."""
    token, number = await desk.card(500)
    ours = charge("c-1", 100, card=token)
    async with desk.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await PostgresCreditLedger(connection, lambda: desk.now).authorize(ours)  # pyright: ignore
        voiding = asyncio.create_task(desk.ledger.void(ours))
        await until_someone_waits_for_a_lock(desk.pool)
        await transaction.commit()
    assert (await voiding).status == "voided"
    assert await desk.on_card(number) == (500, 0)


async def test_a_charge_that_meets_its_void_holds_nothing(desk: Desk) -> None:
    token, number = await desk.card(500)
    ours = charge("c-1", 100, card=token)
    async with desk.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await PostgresCreditLedger(connection, lambda: desk.now).void(ours)  # pyright: ignore
        making = asyncio.create_task(desk.ledger.authorize(ours))
        await until_someone_waits_for_a_lock(desk.pool)
        await transaction.commit()
    assert (await making).status == "voided"
    assert await desk.on_card(number) == (500, 0)


async def test_the_database_does_what_the_rules_say(desk: Desk) -> None:
    """A random walk of holds, captures, voids and refunds, against `domain.ledger` step by step."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await desk.credit(ANN, 2_000)
    await desk.approve(ANN, 2_000)
    rules = {
        "store_credit": Account(kind=AccountKind.STORE_CREDIT, currency="USD", balance_minor=2_000),
        "invoice": Account(kind=AccountKind.RECEIVABLE, currency="USD", limit_minor=2_000),
    }
    made: dict[str, tuple[ChargeRequest, str]] = {}
    for step in range(120):
        kind: Any = chance.choice(["store_credit", "invoice"])
        if step < 5 or chance.random() < 0.4:
            one = charge(f"c-{step}", chance.randint(1, 700), kind=kind)
            held = hold(rules[kind], one.amount_minor)
            state = await desk.ledger.authorize(one)
            assert state.decline_code == (held if isinstance(held, str) else None)
            if not isinstance(held, str):
                rules[kind] = held
            made[one.transaction_id] = one, state.status
        else:
            one, status = chance.choice(list(made.values()))
            call = chance.choice([desk.ledger.capture, desk.ledger.void])
            state = await call(one)
            if status == "authorized":
                moved = capture if state.status == "captured" else release
                rules[one.kind] = moved(rules[one.kind], one.amount_minor)
            else:
                assert state.status == status
            made[one.transaction_id] = one, state.status
        for way, account in rules.items():
            assert await desk.account(way) == (account.balance_minor, account.held_minor)


async def test_many_at_once_never_spend_more_than_there_is(desk: Desk, database_url: str) -> None:
    """Twelve connections, each with its own mix of the same three cards, credit and invoice."""
    cards = [await desk.card(1_000) for _ in range(3)]
    await desk.credit(ANN, 1_000)
    await desk.approve(ANN, 1_000)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wide = await open_pool(database_url, min_size=12, max_size=12)
    ledger = PostgresCreditLedger(wide, lambda: desk.now)

    def some(worker: int) -> list[ChargeRequest]:
        ways: list[dict[str, Any]] = [{"card": token} for token, _ in cards]
        ways += [{"kind": "store_credit"}, {"kind": "invoice"}]
        return [
            charge(f"w{worker}-{chance.random()}", chance.randint(1, 200), **chance.choice(ways))
            for _ in range(8)
        ]

    async def work(worker: int) -> int:
        spent = 0
        for _ in range(4):
            charges = some(worker)
            await ledger.authorize_many(charges)
            await ledger.void_many(charges[:2])
            # Again, all of it, as after an answer that was lost.
            taken, _ = await asyncio.gather(
                ledger.capture_many(charges), ledger.capture_many(charges[::-1])
            )
            for one, state in zip(charges, taken, strict=True):
                back = state.amount_minor // 2
                if state.status == "captured" and back:
                    again = [refund(f"r-{one.transaction_id}", back)] * 2
                    await asyncio.gather(*(ledger.refund(one, same) for same in again))
                    spent -= back
            spent += sum(one.amount_minor for one in taken if one.status == "captured")
        return spent

    try:
        spent = sum(await asyncio.gather(*(work(worker) for worker in range(12))))
    finally:
        await wide.close()
    balances = [await desk.on_card(number) for _, number in cards]
    credit, owed = await desk.account("store_credit"), await desk.account("invoice")
    assert {held for _, held in (*balances, credit, owed)} == {0}
    left = sum(balance for balance, _ in balances) + credit[0] + 1_000 - owed[0]
    assert spent == 5_000 - left > 0
