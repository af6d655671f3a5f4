"""What the simulated provider tells by itself is kept, as long as there is room for it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from domain.payments import ProviderEvent
from serve_apps.payment_providers import KEEPING_MAX, PaymentProviders
from serve_apps.settings import Settings

pytestmark = pytest.mark.asyncio


async def test_events_beyond_the_bound_are_dropped_and_later_ones_kept(pool: asyncpg.Pool) -> None:
    kept: list[str] = []
    database_is_back, all_kept = asyncio.Event(), asyncio.Event()

    async def keep(gateway: str, event: ProviderEvent) -> None:
        await database_is_back.wait()
        kept.append(f"{gateway}:{event.event_id}")
        if len(kept) >= KEEPING_MAX:
            all_kept.set()

    providers = PaymentProviders(Settings(), pool, keep)

    def tell(name: str) -> None:
        providers._keep(ProviderEvent(name, "payment_intent.succeeded", name))

    for number in range(KEEPING_MAX + 44):
        tell(f"evt_{number}")
    assert providers.events_dropped_total == 44
    database_is_back.set()
    await all_kept.wait()
    assert kept == [f"simulated:evt_{number}" for number in range(KEEPING_MAX)]
    while providers._keeping:
        await asyncio.wait(providers._keeping)
    tell("evt_later")
    await asyncio.wait(providers._keeping)
    assert kept[-1] == "simulated:evt_later"
    assert providers.events_dropped_total == 44
    await providers.close()
