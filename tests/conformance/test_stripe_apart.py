"""Two processes with one charge at Stripe: a checkout that takes it, a recovery that voids it.

They share nothing but the charge's id and Stripe's memory of keys, which also keeps faults.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import Unavailable
from gateways.stripe_gateway import StripeGateway
from sim.provider_faults import FaultRates
from sim.provider_process import ProviderOptions, serving

pytestmark = pytest.mark.asyncio
TRIES_MAX = 60
TROUBLE = FaultRates(
    of={
        "error_before": 0.05,
        "error_after": 0.05,
        "kept_error": 0.05,
        "in_flight": 0.05,
        "rate_limited": 0.05,
        "refused": 0.05,
    }
)


async def until_answered(call: Any) -> Any:
    for _ in range(TRIES_MAX):
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(0)
    raise AssertionError("no certain answer in all these tries")


def gateway(url: str) -> StripeGateway:
    return StripeGateway("sk_test_apart", base_url=url, now=lambda: datetime.now(UTC))


@pytest.mark.parametrize("seed", range(4))
async def test_a_checkout_and_a_recovery_agree_on_one_end(pool: asyncpg.Pool, seed: int) -> None:
    rng = random.Random(seed)
    options = ProviderOptions(rates=TROUBLE, seed=seed)
    async with serving(pool, options) as running:
        checkout, recovery = gateway(running.base_url), gateway(running.base_url)

        async def take(charge: ChargeRequest) -> ChargeState:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            state = await until_answered(lambda: checkout.authorize(charge))
            if state.status != "authorized":
                return state
            return await until_answered(lambda: checkout.capture(charge))

        async def drop(charge: ChargeRequest) -> ChargeState:
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
            return await until_answered(lambda: recovery.void(charge))

        for number in range(15):
            token = rng.choice(["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined"])
            charge = ChargeRequest(f"tx-{seed}-{number}", 1_580, "USD", token)
            taken, dropped = await asyncio.gather(take(charge), drop(charge))
            end = await until_answered(lambda charge=charge: recovery.lookup(charge))
            ends = {taken.status, dropped.status, end.status if end else "voided"}
            # To money, a declined and a voided charge are the same.
            assert len(ends) == 1 or ends <= {"declined", "voided"}, (seed, number, ends)
        assert running.server.faults.met["kept_error"]
        assert running.server.faults.met["error_after"]
        await checkout.close()
        await recovery.close()


@pytest.mark.parametrize("seed", range(2))
async def test_refunds_by_two_processes_give_each_part_once(pool: asyncpg.Pool, seed: int) -> None:
    options = ProviderOptions(rates=TROUBLE, seed=seed)
    async with serving(pool, options) as running:
        one, two = gateway(running.base_url), gateway(running.base_url)
        for number in range(4):
            charge = ChargeRequest(f"tx-{seed}-{number}", 1_580, "USD", "pm_card_visa")
            await until_answered(lambda charge=charge: one.authorize(charge))
            await until_answered(lambda charge=charge: one.capture(charge))
            parts = [RefundRequest(f"refund-{seed}-{number}-{n}", 100 + n) for n in range(4)]
            await asyncio.gather(
                *[
                    until_answered(lambda by=by, part=part, charge=charge: by.refund(charge, part))
                    for part in parts
                    for by in (one, two)
                ]
            )
            end = await until_answered(lambda charge=charge: two.lookup(charge))
            assert end.refunded_minor == sum(part.amount_minor for part in parts)
        await one.close()
        await two.close()
