"""Failover: who gets a new charge, and that no charge is ever held at both providers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from actors.failover import OUTCOMES_MAX, Breaker, BreakerPolicy, Failover
from domain.payments import ChargeRequest, ChargeState
from domain.ports import NotReached, Unavailable

pytestmark = pytest.mark.asyncio
CHARGE = ChargeRequest("tx-1", 1_580, "USD", "card_1")
POLICY = BreakerPolicy(failures_min=3, failing_share=0.5, window_s=10.0, open_s=15.0, probe_s=30.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """Holds what it was asked to, if it can be asked; `trouble` decides for each call."""

    def __init__(self, name: str, trouble: Any = lambda: None) -> None:
        self.name = name
        self.trouble = trouble
        self.held: list[str] = []

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        await asyncio.sleep(0)
        match self.trouble():
            case "not_reached":
                raise NotReached(self.name)
            case "lost":
                raise Unavailable(self.name)
            case "held, and no answer":
                self.held.append(charge.transaction_id)
                await asyncio.sleep(0)
                raise Unavailable(self.name)
            case "fault":
                raise RuntimeError(self.name)
            case _:
                self.held.append(charge.transaction_id)
                return ChargeState("authorized", charge.amount_minor, charge.currency)


class Shop:
    """Two providers, and what is written down of each charge."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.one, self.two = Provider("one"), Provider("two")
        self.failover = Failover(self.one, self.two, monotonic=self.clock, policy=POLICY)  # type: ignore[arg-type]
        self.switched: list[str] = []
        self.written: dict[str, str] = {}

    async def on_switch(self, gateway: str) -> ChargeRequest | None:
        assert not self.two.held  # written down before the second one is asked
        self.switched.append(gateway)
        return CHARGE

    async def authorize(self, gateway: str = "one", *, first_try: bool = True, **more: Any) -> Any:
        charge = replace(CHARGE, **more)
        return await self.failover.authorize(charge, gateway, self.on_switch, first_try=first_try)

    def fail(self, times: int = 3, name: str = "one") -> None:
        for _ in range(times):
            self.failover.note(name, "unavailable")


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_all_is_well(shop: Shop) -> None:
    assert shop.failover.gateway_for_new() == "one"
    done = await shop.authorize()
    assert (done.gateway, done.state.status) == ("one", "authorized")
    assert shop.switched == []


async def test_who_was_never_reached_is_changed_for_the_other(shop: Shop) -> None:
    shop.one.trouble = lambda: "not_reached"
    done = await shop.authorize()
    assert (done.gateway, done.state.status) == ("two", "authorized")
    assert shop.switched == ["two"]
    assert (shop.one.held, shop.two.held) == ([], ["tx-1"])


@pytest.mark.parametrize("trouble", ["lost", "held, and no answer", "fault"])
async def test_an_unknown_outcome_stays_where_it_is(shop: Shop, trouble: str) -> None:
    shop.one.trouble = lambda: trouble
    with pytest.raises((Unavailable, RuntimeError)):
        await shop.authorize()
    assert (shop.switched, shop.two.held) == ([], [])


@pytest.mark.parametrize(
    "more",
    [{"kind": "bank_transfer"}, {"customer": "cus_1"}, {"first_try": False}],
    ids=["a kind that only one takes", "a saved card", "a repeat"],
)
async def test_what_must_not_change_over(shop: Shop, more: dict[str, Any]) -> None:
    shop.one.trouble = lambda: "not_reached"
    with pytest.raises(NotReached):
        await shop.authorize(**more)
    assert (shop.switched, shop.two.held) == ([], [])


async def test_a_charge_that_recovery_has_taken_over(shop: Shop) -> None:
    async def too_late(_gateway: str) -> None:
        return None

    shop.one.trouble = lambda: "not_reached"
    with pytest.raises(NotReached):
        await shop.failover.authorize(CHARGE, "one", too_late, first_try=True)
    assert shop.two.held == []


async def test_it_never_comes_back_from_the_other(shop: Shop) -> None:
    shop.one.trouble = shop.two.trouble = lambda: "not_reached"
    with pytest.raises(NotReached):
        await shop.authorize()
    assert shop.switched == ["two"]


async def test_from_the_second_to_the_first_that_was_not_asked(shop: Shop) -> None:
    shop.two.trouble = lambda: "not_reached"
    done = await shop.authorize("two")
    assert (done.gateway, shop.switched) == ("one", ["one"])


async def test_one_provider_alone() -> None:
    alone = Provider("one", lambda: "not_reached")
    failover = Failover(alone, None, monotonic=Clock(), policy=POLICY)  # type: ignore[arg-type]
    for _ in range(10):
        assert failover.gateway_for_new() == "one"
        with pytest.raises(NotReached):
            await failover.authorize(CHARGE, "one", Shop().on_switch, first_try=True)
    with pytest.raises(KeyError, match="configure it until"):
        failover.provider("two")


async def test_a_provider_that_is_down_gets_no_new_charges(shop: Shop) -> None:
    shop.fail(2)
    assert shop.failover.gateway_for_new() == "one"
    shop.fail(1)
    assert shop.failover.state("one") == "open"
    assert shop.failover.gateway_for_new() == "two"
    assert shop.failover.gateway_for_new("bank_transfer") == "one"  # the other does not take it
    shop.fail(3, "two")
    assert shop.failover.gateway_for_new() == "one"  # both are down: then the usual one


async def test_one_probe_after_a_while(shop: Shop) -> None:
    shop.fail()
    shop.clock.now += POLICY.open_s - 0.1
    assert shop.failover.gateway_for_new() == "two"
    shop.clock.now += 0.2
    assert [shop.failover.gateway_for_new() for _ in range(3)] == ["one", "two", "two"]
    shop.failover.note("one", "not_reached")
    assert shop.failover.gateway_for_new() == "two"
    shop.clock.now += POLICY.open_s + 0.1
    assert shop.failover.gateway_for_new() == "one"
    shop.failover.note("one", "answered")
    assert [shop.failover.gateway_for_new() for _ in range(3)] == ["one"] * 3
    shop.fail(2)
    assert shop.failover.gateway_for_new() == "one"  # what was before it was open is forgotten


async def test_a_probe_that_is_lost_is_followed_by_another(shop: Shop) -> None:
    shop.fail()
    shop.clock.now += POLICY.open_s
    assert shop.failover.gateway_for_new() == "one"
    shop.clock.now += POLICY.probe_s - 1
    assert shop.failover.gateway_for_new() == "two"
    shop.clock.now += 2
    assert shop.failover.gateway_for_new() == "one"


async def test_late_answers_of_calls_from_before_do_not_close_it(shop: Shop) -> None:
    shop.fail()
    shop.failover.note("one", "answered")
    assert shop.failover.state("one") == "open"


async def test_a_few_failures_among_many_answers_are_no_outage(shop: Shop) -> None:
    for n in range(1_000):
        shop.failover.note("one", "unavailable" if n % 20 == 0 else "answered")
        shop.clock.now += 0.001
    assert shop.failover.state("one") == "closed"


async def test_what_is_long_ago_does_not_count() -> None:
    clock = Clock()
    breaker = Breaker(POLICY, clock)
    for _ in range(20):
        breaker.note(failed=True)
        clock.now += POLICY.window_s / 2 + 0.1
    assert breaker.state == "closed"


async def test_the_memory_of_outcomes_is_bounded() -> None:
    breaker = Breaker(POLICY, Clock())
    for _ in range(3 * OUTCOMES_MAX):
        breaker.note(failed=False)
    assert len(breaker._outcomes) == OUTCOMES_MAX


async def _rush(seed: int, *, honest: bool) -> Shop:
    """Many checkouts at once, each repeated once, providers that come and go, and a recovery that
    takes charges over at any moment. Not `honest`: repeats are said to be first tries."""
    rng = random.Random(seed)
    shop = Shop()
    troubles = ["not_reached", "lost", "held, and no answer", "fault", None, None]
    shop.one.trouble = shop.two.trouble = lambda: rng.choice(troubles)
    taken_over: set[str] = set()

    async def checkout(number: int) -> None:
        charge = replace(CHARGE, transaction_id=f"tx-{number}")
        id_ = charge.transaction_id
        shop.written[id_] = shop.failover.gateway_for_new()

        async def on_switch(gateway: str) -> ChargeRequest | None:
            await asyncio.sleep(0)
            if id_ in taken_over:
                return None
            shop.written[id_] = gateway
            return charge

        for first_try in (True, not honest):
            shop.clock.now += rng.random()
            try:
                done = await shop.failover.authorize(
                    charge, shop.written[id_], on_switch, first_try=first_try
                )
            except (Unavailable, RuntimeError):
                if rng.random() < 0.3:
                    taken_over.add(id_)
            else:
                assert done.gateway == shop.written[id_]
                return

    await asyncio.gather(*[checkout(number) for number in range(200)])
    return shop


@pytest.mark.parametrize("seed", range(30))
async def test_no_charge_is_ever_held_at_both(seed: int) -> None:
    shop = await _rush(seed, honest=True)
    assert shop.one.held
    assert shop.two.held
    assert not set(shop.one.held) & set(shop.two.held)
    for provider in (shop.one, shop.two):
        assert {shop.written[id_] for id_ in provider.held} == {provider.name}


async def test_a_charge_held_at_both_would_be_seen() -> None:
    """Repeats that change over are what the rule forbids."""
    shops = [await _rush(seed, honest=False) for seed in range(10)]
    assert any(set(shop.one.held) & set(shop.two.held) for shop in shops)
