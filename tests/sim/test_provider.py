"""One suite for the simulated provider on Postgres and its twin in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.payments import ChargeRequest, ChargeState
from domain.ports import PaymentProvider, Unavailable
from sim.provider import DECLINES, SimulatedProvider
from storage.postgres import open_pool
from tests.actors.memory import MemoryProvider
from tests.actors.postgres import until_someone_waits_for_a_lock

pytestmark = pytest.mark.asyncio
CHARGE = ChargeRequest("charge-1", 1_580, "USD", "card_1")


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A database of the test's own, or None where the twin is tested."""
    return None if request.param == "memory" else request.getfixturevalue("database_url")


@pytest_asyncio.fixture
async def provider(url: str | None) -> AsyncIterator[PaymentProvider]:
    """Each provider in turn."""
    if url is None:
        yield MemoryProvider()
        return
    pool = await open_pool(url, max_size=4)
    try:
        yield SimulatedProvider(pool)
    finally:
        await pool.close()


def _is(status: Any) -> ChargeState:
    return ChargeState(status, 1_580, "USD")


async def test_the_way_of_a_charge(provider: PaymentProvider) -> None:
    assert await provider.lookup("charge-1") is None
    for _ in range(2):  # every step may be repeated
        assert await provider.authorize(CHARGE) == _is("authorized")
    for _ in range(2):
        assert await provider.capture("charge-1") == _is("captured")
    assert await provider.authorize(CHARGE) == _is("captured")
    assert await provider.void("charge-1") == _is("captured")  # too late for that
    for _ in range(2):
        assert await provider.refund("charge-1") == _is("refunded")
    assert await provider.capture("charge-1") == _is("refunded")
    assert await provider.lookup("charge-1") == _is("refunded")


async def test_a_voided_hold_is_never_taken(provider: PaymentProvider) -> None:
    await provider.authorize(CHARGE)
    assert await provider.void("charge-1") == _is("voided")
    assert await provider.capture("charge-1") == _is("voided")
    assert await provider.refund("charge-1") == _is("voided")


async def test_a_void_before_the_charge_makes_it_impossible(provider: PaymentProvider) -> None:
    assert (await provider.void("charge-1")).status == "voided"
    assert (await provider.authorize(CHARGE)).status == "voided"
    assert (await provider.capture("charge-1")).status == "voided"


async def test_what_was_never_authorized_cannot_be_taken(provider: PaymentProvider) -> None:
    assert (await provider.capture("charge-1")).status != "captured"
    assert await provider.lookup("charge-1") is None


async def test_a_declined_card_stays_declined(provider: PaymentProvider) -> None:
    charge = ChargeRequest("charge-1", 1_580, "USD", "card_declined")
    expected = ChargeState("declined", 1_580, "USD", "card_declined")
    assert [await provider.authorize(charge) for _ in range(2)] == [expected] * 2
    assert (await provider.capture("charge-1")).status == "declined"
    assert (await provider.void("charge-1")).status == "declined"


async def test_many_at_once_each_get_their_own_answer(provider: PaymentProvider) -> None:
    tokens = ["card_1", *DECLINES] if isinstance(provider, SimulatedProvider) else ["card_1"]
    charges = [ChargeRequest(f"charge-{n}", n, "EUR", tokens[n % len(tokens)]) for n in range(50)]
    states = await asyncio.gather(*[provider.authorize(charge) for charge in charges])
    for charge, state in zip(charges, states, strict=True):
        code = DECLINES.get(charge.payment_token)
        expected: Any = "declined" if code else "authorized"
        assert state == ChargeState(expected, charge.amount_minor, "EUR", code)
    taken = await asyncio.gather(*[provider.capture(one.transaction_id) for one in charges])
    assert sum(state.status == "captured" for state in taken) == sum(
        state.status == "authorized" for state in states
    )


async def test_the_audit_reads_every_charge(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool, latency_s=0.001)
    await provider.authorize(CHARGE)
    await provider.void("charge-2")
    seen = {one.transaction_id: one.status async for one in provider.charges()}
    assert seen == {"charge-1": "authorized", "charge-2": "voided"}


# Another call of the same charge is under way: what it did before it commits, and then ours.
_RACES = {
    "authorize": ("INSERT", lambda p: p.authorize(CHARGE), "authorized"),
    "capture": ("captured", lambda p: p.capture("charge-1"), "captured"),
    "void": ("captured", lambda p: p.void("charge-1"), "captured"),
    "refund": ("refunded", lambda p: p.refund("charge-1"), "refunded"),
}


@pytest.mark.parametrize("race", list(_RACES))
async def test_a_call_that_had_to_wait_tells_what_the_other_one_did(
    pool: asyncpg.Pool, race: str
) -> None:
    """Whoever is told an old state fails an order whose money is taken (P7)."""
    provider = SimulatedProvider(pool)
    does, call, expected = _RACES[race]
    if race != "authorize":
        await provider.authorize(CHARGE)
    if race == "refund":
        await provider.capture("charge-1")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        if does == "INSERT":
            await connection.execute(
                "INSERT INTO simulated_provider.charges VALUES"
                " ('charge-1', 1580, 'USD', 'authorized')"
            )
        else:
            await connection.execute("UPDATE simulated_provider.charges SET status = $1", does)
        ours = asyncio.create_task(call(provider))
        await until_someone_waits_for_a_lock(pool)
        await transaction.commit()
    assert (await ours).status == expected


async def test_a_provider_that_cannot_be_reached_is_unavailable(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool)
    await pool.close()
    for call in (provider.authorize(CHARGE), provider.void("charge-1"), provider.lookup("x")):
        with pytest.raises(Unavailable):
            await call
