"""Webhooks of the simulated provider: signed, repeated, late, doubled, out of order, lost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import stripe

from sim.provider_process import ProviderOptions, serving
from sim.stripe_webhooks import WebhookFaults
from tests.sim.webhook_sink import Hook, webhook_sink

pytestmark = pytest.mark.asyncio
SECRET = "whsec_test"
WAIT_S = 20.0
CHARGES = 12


async def hooks_of(
    pool: asyncpg.Pool, faults: WebhookFaults, *, refuses: int = 0, charges: int = CHARGES
) -> AsyncIterator[Hook]:
    """What arrives when some intents are created."""
    async with webhook_sink(refuses=refuses) as (url, arrived):
        options = ProviderOptions(
            webhook_url=url,
            webhook_secret=SECRET,
            webhook_faults=faults,
            webhook_backoff_s=0.05,
        )
        async with serving(pool, options) as running:
            headers = {"authorization": "Bearer sk_test_1"}
            async with httpx.AsyncClient(base_url=running.base_url, headers=headers) as client:
                for n in range(charges):
                    form = {"amount": "100", "currency": "usd"}
                    form["metadata[transaction_id]"] = f"charge-{n}"
                    assert (await client.post("/v1/payment_intents", data=form)).is_success
            while True:
                async with asyncio.timeout(WAIT_S):
                    hook = await arrived.get()
                yield hook


async def first(hooks: AsyncIterator[Hook], count: int) -> list[Hook]:
    found: list[Hook] = []
    async for hook in hooks:
        found.append(hook)
        if len(found) == count:
            break
    await hooks.aclose()  # pyright: ignore[reportAttributeAccessIssue]
    return found


def ids(hooks: list[Hook]) -> list[str]:
    return [orjson.loads(body)["id"] for _, body in hooks]


def charges(hooks: list[Hook]) -> list[int]:
    said = [orjson.loads(body)["data"]["object"]["metadata"] for _, body in hooks]
    return [int(one["transaction_id"].removeprefix("charge-")) for one in said]


async def test_webhooks_are_signed_as_stripe_signs_them(pool: asyncpg.Pool) -> None:
    ((headers, body),) = await first(hooks_of(pool, WebhookFaults(), charges=1), 1)
    event: Any = stripe.Webhook.construct_event(body, headers["stripe-signature"], SECRET)
    assert event["type"] == "payment_intent.created"
    moment = headers["stripe-signature"].split(",")[0].removeprefix("t=")
    signed = hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    assert f"v1={signed.hexdigest()}" in headers["stripe-signature"]


async def test_without_faults_each_comes_once(pool: asyncpg.Pool) -> None:
    found = await first(hooks_of(pool, WebhookFaults()), CHARGES)
    assert sorted(charges(found)) == list(range(CHARGES))
    while await pool.fetchval(
        "SELECT count(*) FROM simulated_provider.events WHERE delivered_at IS NULL"
    ):
        pass
    assert len(set(ids(found))) == CHARGES


async def test_what_is_refused_or_lost_comes_again(pool: asyncpg.Pool) -> None:
    found = await first(hooks_of(pool, WebhookFaults(lost=0.5, seed=1), refuses=5), CHARGES)
    assert sorted(charges(found)) == list(range(CHARGES))


async def test_doubled_ones_carry_the_same_id(pool: asyncpg.Pool) -> None:
    found = await first(hooks_of(pool, WebhookFaults(doubled=1.0)), 2 * CHARGES)
    assert sorted(charges(found)) == sorted([*range(CHARGES)] * 2)
    assert len(set(ids(found))) == CHARGES


async def test_swapped_and_late_ones_come_out_of_order(pool: asyncpg.Pool) -> None:
    faults = WebhookFaults(swapped=0.4, late=0.2, late_s=0.4, swapped_s=0.2, seed=5)
    found = await first(hooks_of(pool, faults, charges=30), 30)
    order = charges(found)
    assert sorted(order) == list(range(30))
    assert order != sorted(order)


async def test_chances_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        WebhookFaults(late=2.0)
