"""The Stripe gateway, and a Stripe that says what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gateways.stripe_gateway import StripeGateway
from tests.gateways.stripe_script import NOW, TIMEOUT_S, Stripe


@pytest_asyncio.fixture
async def stripe() -> AsyncIterator[Stripe]:
    server = Stripe()
    async with server.serving():
        yield server


@pytest_asyncio.fixture
async def gateway(stripe: Stripe) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway("sk_test_1", base_url=stripe.url, now=lambda: NOW, timeout_s=TIMEOUT_S)
    yield gateway
    await gateway.close()
