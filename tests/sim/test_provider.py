"""What only the in-process simulated provider has; what every provider owes is in
tests/conformance/test_payment_providers.py."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from domain.payments import ChargeRequest, ProviderEvent, RefundRequest
from domain.ports import NotReached, Unavailable
from sim.provider import SimulatedProvider
from sim.provider_faults import FAULT_KINDS, FaultPlan, FaultRates, Latency
from sim.provider_pages import buyer_pages
from sim.provider_rules import CHALLENGED, DECLINES, STEPS, outcome_of
from tests.actors.postgres import until_someone_waits_for_a_lock

CHARGE = ChargeRequest("charge-1", 1_580, "USD", "card_1")
ALL_OF_IT = RefundRequest("refund-1", 1_580)


def transfer(transaction_id: str) -> ChargeRequest:
    return ChargeRequest(transaction_id, 1_580, "EUR", "bank_1", "bank_transfer")


@pytest.mark.asyncio
async def test_the_audit_reads_every_charge(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool, latency_s=0.001)
    await provider.authorize(CHARGE)
    await provider.capture(CHARGE)
    await provider.refund(CHARGE, RefundRequest("part", 80))
    await provider.void(ChargeRequest("charge-2", 500, "EUR", "card_1"))
    seen = {
        one.transaction_id: (one.status, one.amount_minor, one.currency, one.refunded_minor)
        async for one in provider.charges()
    }
    assert seen == {
        "charge-1": ("captured", 1_580, "USD", 80),
        "charge-2": ("voided", 500, "EUR", 0),
    }


# Another call of the same charge is under way: what it did before it commits, and then ours.
_RACES: dict[str, tuple[str, Any, str]] = {
    "authorize": ("INSERT", lambda p: p.authorize(CHARGE), "authorized"),
    "capture": ("captured", lambda p: p.capture(CHARGE), "captured"),
    "void": ("captured", lambda p: p.void(CHARGE), "captured"),
    "refund": ("captured", lambda p: p.refund(CHARGE, ALL_OF_IT), "refunded"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("race", list(_RACES))
async def test_a_call_that_had_to_wait_tells_what_the_other_one_did(
    pool: asyncpg.Pool, race: str
) -> None:
    """Whoever is told an old state fails an order whose money is taken (P7)."""
    provider = SimulatedProvider(pool)
    does, call, expected = _RACES[race]
    if race != "authorize":
        await provider.authorize(CHARGE)
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


@pytest.mark.asyncio
async def test_a_provider_that_cannot_be_reached_is_unavailable(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool)
    await pool.close()
    for call in (
        provider.authorize(CHARGE),
        provider.void(CHARGE),
        provider.lookup(CHARGE),
        provider.refund(CHARGE, ALL_OF_IT),
        provider.approve("charge-1"),
    ):
        with pytest.raises(Unavailable):
            await call


@pytest.mark.asyncio
async def test_more_than_the_queue_takes_was_not_reached(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = SimulatedProvider(pool)
    monkeypatch.setattr(provider._authorizing, "_queue_max", 0)
    with pytest.raises(NotReached, match="try again"):
        await provider.authorize(CHARGE)


@pytest.mark.asyncio
@pytest.mark.parametrize("amount", [0, -1])
async def test_an_amount_that_is_none_is_a_mistake_of_the_caller(
    pool: asyncpg.Pool, amount: int
) -> None:
    provider = SimulatedProvider(pool)
    with pytest.raises(ValueError, match="nothing to charge"):
        await provider.authorize(ChargeRequest("charge-1", amount, "USD", "card_1"))
    assert await provider.lookup(CHARGE) is None


@pytest.mark.asyncio
async def test_what_happens_by_itself_is_told_once(pool: asyncpg.Pool) -> None:
    events: list[ProviderEvent] = []
    provider = SimulatedProvider(pool, on_event=events.append)
    await provider.authorize(ChargeRequest("charge-1", 1_580, "USD", "card_3ds"))
    await provider.authorize(transfer("charge-2"))
    for _ in range(2):
        await provider.approve("charge-1")
        await provider.settle_transfer("charge-2")
    assert [(one.type, one.transaction_id) for one in events] == [
        ("payment_intent.amount_capturable_updated", "charge-1"),
        ("payment_intent.succeeded", "charge-2"),
    ]
    assert len({one.event_id for one in events}) == 2
    assert await provider.approve("charge-3") is None


@pytest.mark.asyncio
async def test_transfers_can_be_settled_by_age_refused_and_forgotten(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool)
    for n in range(3):
        await provider.authorize(transfer(f"charge-{n}"))
    failed = await provider.fail_transfer("charge-0")
    assert failed is not None
    assert (failed.status, failed.decline_code) == ("declined", "transfer_failed")
    expired = await provider.expire_transfer("charge-1")
    assert expired is not None
    assert (expired.status, expired.decline_code) == ("declined", "transfer_expired")
    now = datetime.now(UTC)
    assert await provider.settle_due(now - timedelta(hours=1)) == 0
    assert await provider.settle_due(now + timedelta(seconds=5)) == 1
    settled = await provider.lookup(transfer("charge-2"))
    assert settled is not None
    assert settled.status == "captured"


@pytest.mark.asyncio
async def test_a_saved_card_is_a_token_and_four_digits(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool)
    saved = [await provider.save_method("user-1", "pm_card_visa") for _ in range(2)]
    assert saved[0] == saved[1]
    assert saved[0] is not None
    assert (saved[0].token, saved[0].last_four) == ("pm_card_visa", "4242")
    assert await provider.save_method("user-1", "pm_nobody_knows") is None
    await provider.detach_method("user-1", "pm_card_visa")
    assert await provider.save_method("user-1", "pm_card_visa") == saved[0]


@pytest.mark.asyncio
async def test_many_faults_leave_consistent_books(pool: asyncpg.Pool) -> None:
    """Whoever repeats until there is an answer has each charge once, for its amount."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    plan = FaultPlan(FaultRates.spread(0.3), seed=seed)
    provider = SimulatedProvider(pool, faults=plan)

    async def until_answered(call: Any, *args: Any) -> Any:
        while True:
            try:
                return await call(*args)
            except Unavailable:
                await asyncio.sleep(0)

    async def buy(n: int) -> None:
        charge = ChargeRequest(f"charge-{n}", 100 + n, "USD", "card_1")
        assert (await until_answered(provider.authorize, charge)).status == "authorized"
        assert (await until_answered(provider.capture, charge)).status == "captured"
        state = await until_answered(provider.refund, charge, RefundRequest("one", 10))
        assert (state.status, state.refunded_minor) == ("captured", 10)

    await asyncio.gather(*[buy(n) for n in range(100)])
    taken = [one.amount_minor - one.refunded_minor async for one in provider.charges()]
    assert sorted(taken) == [90 + n for n in range(100)]
    assert sum(plan.met.values()) > 0


def test_the_same_seed_meets_the_same_faults_in_any_order() -> None:
    calls = [("capture", f"charge-{n}") for n in range(200)] * 2
    rates, latency = FaultRates.spread(0.2), Latency(fixed_s=0.1, jitter_s=0.05)

    def met(seed: int, order: list[int]) -> list[Any]:
        plan = FaultPlan(rates, seed=seed, latency=latency)
        found = {(*calls[n], n): plan.meet(*calls[n]) for n in order}
        return sorted((key[1], trouble.latency_s, trouble.fault) for key, trouble in found.items())

    there, back = list(range(200)), list(range(199, -1, -1))
    assert met(7, there) == met(7, back)
    assert met(7, there) != met(8, there)


def test_the_rates_are_kept() -> None:
    plan = FaultPlan(FaultRates(of={"error_after": 0.1, "silent_before": 0.05}), seed=3)
    for n in range(10_000):
        plan.meet("authorize", f"charge-{n}")
    assert 850 < plan.met["error_after"] < 1_150
    assert 400 < plan.met["silent_before"] < 600
    assert sum(plan.met.values()) == plan.met["error_after"] + plan.met["silent_before"]


def test_latency_has_a_median_and_spikes() -> None:
    plan = FaultPlan(latency=Latency(fixed_s=0.1, jitter_s=0.05, spike_rate=0.02, spike_s=3.0))
    drawn = sorted(plan.meet("capture", str(n)).latency_s for n in range(5_000))
    assert drawn[0] > 0.1
    assert 0.145 < drawn[2_500] < 0.155
    assert 50 < sum(one > 3.0 for one in drawn) < 150


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FaultRates(of={"sunspots": 0.1}),  # pyright: ignore[reportArgumentType]
        lambda: FaultRates(of={"refused": -0.1}),
        lambda: FaultRates(of={"refused": 0.7, "in_flight": 0.7}),
        lambda: FaultRates(of={"silent_after": math.nan}),
        lambda: FaultRates.spread(math.nan),
        lambda: Latency(fixed_s=math.nan),
        lambda: Latency(jitter_s=math.inf),
        lambda: Latency(fixed_s=-1.0),
        lambda: Latency(spike_rate=1.5),
    ],
)
def test_chances_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"rate|fault"):
        wrong()


def test_every_test_card_comes_to_what_it_says() -> None:
    assert FaultRates.spread(0.05).of.keys() < set(FAULT_KINDS)
    for token, code in DECLINES.items():
        assert outcome_of(token, "card").decline_code == code
    for token in CHALLENGED:
        assert outcome_of(token, "card").status == "requires_action"
    assert outcome_of("card_anything", "card").status == "authorized"
    assert outcome_of("anything", "card").decline_code == "unknown_payment_method"
    assert outcome_of("credit", "store_credit").decline_code == "unknown_payment_method"
    assert all(rule.to not in rule.before for rule in STEPS.values())


@pytest.mark.asyncio
async def test_the_buyers_page_over_the_twin(pool: asyncpg.Pool) -> None:
    provider = SimulatedProvider(pool, pages_url="/provider")
    charge = ChargeRequest("charge-1", 1_580, "EUR", "any", "wallet", return_url="http://shop/<b>")
    state = await provider.authorize(charge)
    assert state.next_action is not None
    assert state.next_action.url == "/provider/charge-1"
    app = Starlette(routes=[Mount("/provider", routes=buyer_pages(provider))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        page = await client.get("/provider/charge-1")
        assert "Pay <strong>15.80 EUR</strong>?" in page.text
        assert "color-scheme:light dark" in page.text
        answer = await client.post("/provider/charge-1/approve")
        assert answer.status_code == 303
        assert answer.headers["location"].endswith("redirect_status=succeeded")
        assert "authorized" in (await client.get("/provider/charge-1")).text
        await provider.authorize(transfer("charge-2"))
        page = await client.get("/provider/charge-2")
        assert "DE89370400440532013000" in page.text
        assert "<dt>Amount</dt>" in page.text
        yen = ChargeRequest("charge-3", 1_234_567, "JPY", "any", "wallet", return_url="http://shop")
        await provider.authorize(yen)
        assert "1,234,567 JPY" in (await client.get("/provider/charge-3")).text
        await pool.close()
        assert (await client.get("/provider/charge-1")).status_code == 503
