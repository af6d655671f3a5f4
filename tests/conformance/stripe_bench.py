"""Stripe's gateway over HTTP, against the simulated provider's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from domain.payments import ProviderEvent
from sim.provider import SimulatedProvider
from sim.provider_process import ProviderOptions, serving
from storage.postgres import open_pool
from tests.conformance.providers import TOKENS, Bench, Stage, taken_by
from tests.sim.webhook_sink import webhook_sink

SECRET = "whsec_conformance"
TIMEOUT_S = 3.0
# Stripe's own names for what the in-process twin calls otherwise.
_TOKENS: Any = {
    **TOKENS,
    "wallet": ("wallet", "paypal"),
    "transfer": ("bank_transfer", "bank_transfer"),
    "slow_transfer": ("bank_transfer", "pm_usBankAccount_processing"),
}


async def stripe_over_http(stage: Stage) -> AsyncIterator[Bench]:
    """`gateways.stripe_gateway` as it talks to Stripe, but to the simulated provider."""
    from gateways.stripe_gateway import StripeGateway

    pool = await open_pool(stage.database_url, max_size=6)
    books = SimulatedProvider(pool)
    try:
        async with (
            webhook_sink() as (hooks_url, hooks),
            serving(pool, ProviderOptions(webhook_url=hooks_url, webhook_secret=SECRET)) as running,
        ):
            gateway = StripeGateway(
                "sk_test_conformance",
                SECRET,
                running.base_url,
                now=lambda: datetime.now(UTC),
                timeout_s=TIMEOUT_S,
            )

            def lever(step: str) -> Callable[[str], Any]:
                return lambda transaction_id: running.server.outside(transaction_id, step)

            async def next_event() -> ProviderEvent:
                headers, body = await hooks.get()
                return gateway.event(headers, body)

            yield Bench(
                provider=gateway,
                tokens=_TOKENS,
                approve=lever("approve"),
                deny=lever("deny"),
                settle=lever("settle"),
                fail_transfer=lever("fail_transfer"),
                faults=running.server.faults,
                calls={"authorize": "confirm", "void": "cancel"},
                next_event=next_event,
                taken=lambda transaction_id: taken_by(books, transaction_id),
            )
            await gateway.close()
    finally:
        await pool.close()
        await asyncio.sleep(0)
