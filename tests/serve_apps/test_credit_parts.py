"""The ledger as a process of the shop uses it: in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from actors.charges import Charges, all_captured
from actors.coalescer import Overloaded
from domain.ledger import GATEWAY
from domain.orders import PaymentPart
from domain.payments import ChargeRequest
from domain.ports import NotReached, PaymentProvider
from serve_apps.credit_parts import BatchedLedger, gift_card_key, ledger_over
from serve_apps.settings import Settings
from storage.credit_ledger import violations
from tests.storage.credit import ANN, Desk, charge, refund


@pytest.mark.asyncio
async def test_charges_of_many_travel_together_and_each_gets_its_answer(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(pool)
    token, number = await desk.card(1_000)
    batches: list[int] = []
    original = desk.ledger.authorize_many

    async def counted(charges: Sequence[ChargeRequest]) -> Any:
        batches.append(len(charges))
        return await original(charges)

    monkeypatch.setattr(desk.ledger, "authorize_many", counted)
    ledger: PaymentProvider = BatchedLedger(desk.ledger)
    charges = [charge(f"c-{n}", 100 + n, card=token) for n in range(5)]
    states = await asyncio.gather(*(ledger.authorize(one) for one in charges))
    assert [state.amount_minor for state in states] == [100, 101, 102, 103, 104]
    assert batches == [5]
    assert (await ledger.capture(charges[0])).status == "captured"
    assert (await ledger.void(charges[1])).status == "voided"
    assert (await ledger.refund(charges[0], refund("r", 100))).status == "refunded"
    assert await ledger.lookup(charges[0]) == await desk.ledger.lookup(charges[0])
    assert await desk.on_card(number) == (1_000, 102 + 103 + 104)


@pytest.mark.asyncio
async def test_a_charge_that_is_not_for_the_ledger_spoils_no_batch(pool: asyncpg.Pool) -> None:
    ledger = ledger_over(pool)
    good = asyncio.create_task(ledger.authorize(charge("c-1", 1)))
    with pytest.raises(ValueError, match="not for the ledger"):
        await ledger.authorize(charge("c-2", 1, kind="card"))
    assert (await good).decline_code == "gift_card_unknown"


@pytest.mark.asyncio
async def test_a_full_queue_says_that_nothing_was_done(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise Overloaded("10000 requests wait already")

    ledger = ledger_over(pool)
    monkeypatch.setattr(ledger._authorizing, "submit", full)
    with pytest.raises(NotReached, match="ledger: 10000"):
        await ledger.authorize(charge("c-1", 1))


def _part(one: ChargeRequest) -> PaymentPart:
    return PaymentPart(payment_id=uuid4(), gateway=GATEWAY, charge=one)


@pytest.mark.asyncio
async def test_a_split_payment_is_held_whole_or_not_at_all(pool: asyncpg.Pool) -> None:
    desk = Desk(pool)
    token, number = await desk.card(1_000)
    await desk.credit(ANN, 500)
    charges = Charges({GATEWAY: ledger_over(pool)}, monotonic=time.monotonic)
    card = [_part(charge(f"card-{n}", 400, card=token)) for n in range(2)]
    rest = _part(charge("credit", 501, kind="store_credit"))
    outcome = await charges.hold([*card, rest])
    assert (outcome.status, outcome.decline_code) == ("failed", "insufficient_credit")
    await charges.undo([*card, rest])
    assert (await desk.on_card(number), await desk.account("store_credit")) == (
        (1_000, 0),
        (500, 0),
    )
    parts = [_part(charge(f"again-{n}", 400, card=token)) for n in range(2)]
    parts += [_part(charge("rest", 500, kind="store_credit"))]
    outcome = await charges.hold(parts)
    states = await charges.take(parts, outcome.states)
    assert all_captured(parts, states)
    assert (await desk.on_card(number), await desk.account("store_credit")) == ((200, 0), (0, 0))
    await charges.undo(parts)
    assert (await desk.on_card(number), await desk.account("store_credit")) == (
        (1_000, 0),
        (500, 0),
    )
    assert await violations(pool, with_orders=False) == []


def test_the_key_of_the_codes_is_the_shops_own(tmp_path: Path) -> None:
    one, other = Settings(home=tmp_path, secret="a"), Settings(home=tmp_path, secret="b")
    assert gift_card_key(one) == gift_card_key(one) != gift_card_key(other)
    assert gift_card_key(one) not in (one.signing_key(), one.stream_key())
