"""The real ways of a provider's word: in process, and Stripe's webhooks over HTTP, unreliable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from actors.checkout import Waiting
from domain.orders import OrderDraft
from domain.payments import ProviderEvent
from gateways.stripe_gateway import StripeGateway
from gateways.stripe_webhooks import TOLERANCE_S
from sim.provider import SimulatedProvider
from sim.provider_process import ProviderOptions, serving
from sim.stripe_server import StripeServer
from sim.stripe_webhooks import WebhookFaults
from storage.orders import PostgresOrderBook
from tests.actors.drafts import draft, part, transaction_of
from tests.actors.memory import Clock
from tests.actors.shops import an_order
from tests.serve_apps.conftest import assert_problem, until
from tests.serve_apps.hooks import UNITS, Counter, postgres_counter
from tests.sim.webhook_sink import Hook, webhook_sink
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
SECRET = "whsec_of_the_test"
# What the buyer or the bank does, with which means of payment, and what becomes of the order.
STORIES = {
    "approved": ("card", "pm_card_threeDSecure2Required", "approve", "confirmed"),
    "denied": ("card", "pm_card_threeDSecure2Required", "deny", "failed"),
    "transferred": ("bank_transfer", "bank_transfer", "settle", "confirmed"),
    "not transferred": ("bank_transfer", "bank_transfer", "fail_transfer", "failed"),
    "wallet": ("wallet", "paypal", "approve", "confirmed"),
}


async def _waiting(counter: Counter, story: str) -> OrderDraft:
    kind, token, _, _ = STORIES[story]
    template, demands = an_order([(1, [counter.pair])])
    order = draft(template.lines)
    charge: dict[str, Any] = {"kind": kind, "return_url": "http://shop.example/back"}
    charged = part(order.order_id, order.total_minor, token, name="charge_of", **charge)
    order = draft(
        template.lines,
        order_id=order.order_id,
        idempotency_key=story,
        parts=(charged,),
    )
    assert isinstance(await counter.parts.checkout.run(order, demands), Waiting)
    return order


async def test_what_the_provider_in_process_tells_settles_the_order(pool: asyncpg.Pool) -> None:
    book, told = PostgresOrderBook(pool, a_ring()), list[ProviderEvent]()
    provider = SimulatedProvider(pool, on_event=told.append)
    levers: dict[str, Any] = {
        "approve": provider.approve,
        "deny": provider.deny,
        "settle": provider.settle_transfer,
        "fail_transfer": provider.fail_transfer,
    }
    async with postgres_counter(pool, provider) as counter:
        orders = {story: await _waiting(counter, story) for story in STORIES}
        assert await counter.parts.recovery.settle_waiting() == 0
        for story, order in orders.items():
            await levers[STORIES[story][2]](transaction_of(order))
        for event in (*told, *told):
            await book.note_event("simulated", event)
        assert await counter.parts.recovery.settle_waiting() == len(STORIES)
        for story, order in orders.items():
            assert await counter.status(order) == STORIES[story][3], story
        assert await counter.left() == UNITS - 3


@dataclass(frozen=True)
class Apart:
    """Stripe's gateway, and the server that it talks to."""

    gateway: StripeGateway
    server: StripeServer
    hooks: asyncio.Queue[Hook]
    """The webhooks that the server sends."""
    clock: Clock
    """The gateway's."""

    async def webhook(self) -> tuple[bytes, dict[str, str]]:
        """The next one: body and headers."""
        headers, body = await self.hooks.get()
        return body, {"stripe-signature": headers["stripe-signature"]}


@pytest_asyncio.fixture
async def apart(pool: asyncpg.Pool) -> AsyncIterator[Apart]:
    """A provider that tells unreliably."""
    clock = Clock(time.time())
    faults = WebhookFaults(
        doubled=0.5, swapped=0.4, late=0.3, lost=0.3, late_s=0.3, swapped_s=0.1, seed=4
    )
    async with webhook_sink() as (url, hooks):
        options = ProviderOptions(
            webhook_url=url, webhook_secret=SECRET, webhook_faults=faults, webhook_backoff_s=0.05
        )
        async with serving(pool, options) as running:
            gateway = StripeGateway(
                "sk_test_1", SECRET, running.base_url, now=clock.utc, timeout_s=5.0
            )
            yield Apart(gateway, running.server, hooks, clock)
            await gateway.close()


async def test_stripes_webhooks_settle_orders_however_they_come(
    pool: asyncpg.Pool, apart: Apart
) -> None:
    async with postgres_counter(pool, apart.gateway, apart.gateway) as counter:
        orders = {story: await _waiting(counter, story) for story in STORIES}
        taken: list[dict[str, bool]] = []

        async def pass_on() -> None:
            while True:
                answer = await counter.send(*await apart.webhook())
                assert answer.status_code == 200, answer.text
                taken.append(answer.json())

        passing = asyncio.create_task(pass_on())
        for story, order in orders.items():
            assert await apart.server.outside(transaction_of(order), STORIES[story][2]) is not None

        async def all_settled() -> bool:
            if passing.done():
                passing.result()
            return all(
                [await counter.status(order) != "awaiting_payment" for order in orders.values()]
            )

        await until(all_settled)  # by webhooks alone: nobody runs recovery here
        passing.cancel()
        for story, order in orders.items():
            assert await counter.status(order) == STORIES[story][3], story
        assert await counter.left() == UNITS - 3
        assert any(one["handled"] for one in taken)


async def test_what_was_signed_long_ago_or_altered_is_forged(
    pool: asyncpg.Pool, apart: Apart
) -> None:
    async with postgres_counter(pool, apart.gateway, apart.gateway) as counter:
        order = await _waiting(counter, "approved")
        body, headers = await apart.webhook()
        assert_problem(await counter.send(body + b" ", headers), 400, "webhook_forged")
        apart.clock.advance(TOLERANCE_S + 10)  # replayed: genuine, and too old to be believed
        assert_problem(await counter.send(body, headers), 400, "webhook_forged")
        apart.clock.advance(-TOLERANCE_S - 10)
        assert (await counter.send(body, headers)).status_code == 200
        assert await counter.status(order) == "awaiting_payment"
