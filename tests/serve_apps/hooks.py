"""A counter where providers tell of charges and buyers come back, over a shop without Ray.

Over memory, or over Postgres with the real order book and stock journal; the provider is a twin
whose buyers and banks are the test.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx
import orjson

from actors.checkout import Waiting
from actors.stock_client import LocalTransport
from domain.orders import OrderDraft
from domain.payments import ChargeRequest, ChargeState, ForgedEvent, ProviderEvent
from domain.ports import WebhookSource
from serve_apps.http import new_app
from serve_apps.identity import Identities
from serve_apps.prompt_settling import PromptSettling, PromptSettlingConfig
from serve_apps.resume_app import ResumeService, add_resume_route
from serve_apps.webhook_app import WebhookService, add_webhook_routes
from storage.orders import PostgresOrderBook
from storage.stock_journal import PostgresStockJournal
from tests.actors.drafts import transaction_of
from tests.actors.memory import Clock, MemoryBus, MemoryProvider
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, now_of
from tests.actors.shops import MemoryShop, Shop, an_order
from tests.storage.keys import a_ring

SECRET = b"between us"
UNITS = 5


class Source:
    """WebhookSource: JSON, signed with SECRET."""

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        if headers.get("x-signature") != signature(body):
            raise ForgedEvent("the webhook's signature is missing or wrong")
        told = orjson.loads(body)
        if not isinstance(told, dict) or not isinstance(told.get("id"), str):
            raise ValueError("no id")
        return ProviderEvent(told["id"], told.get("type", "hint"), told.get("charge"))


def signature(body: bytes) -> str:
    """What the Source expects."""
    return hashlib.sha256(SECRET + body).hexdigest()


class TellingProvider(MemoryProvider):
    """Calls `meanwhile` before it answers `authorize`, and `look` before it looks up."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.look: Callable[[], Awaitable[Any]] | None = None

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        state = await super().authorize(charge)
        if self.meanwhile is not None:
            await self.meanwhile()
        return state

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        if self.look is not None:
            await self.look()
        return await super().lookup(charge)

    def becomes(self, transaction_id: str, status: Any, code: str | None = None) -> None:
        """What the buyer, or a bank, has done."""
        state = replace(self.books[transaction_id], status=status, decline_code=code)
        self.books[transaction_id] = replace(state, next_action=None)


@dataclass(kw_only=True)
class Counter:
    """The app and what is behind it."""

    clock: Clock
    orders: Any
    provider: Any
    parts: Shop
    pair: bytes
    left: Callable[[], Awaitable[int]]
    identities: Identities
    settling: PromptSettling
    service: WebhookService
    client: httpx.AsyncClient

    async def waiting_order(self, **changes: Any) -> OrderDraft:
        """An order whose buyer has something to do elsewhere."""
        order, demands = an_order(
            [(2, [self.pair])],
            payment_token="card_3ds",
            idempotency_key=str(uuid.uuid4()),
            **changes,
        )
        assert isinstance(await self.parts.checkout.run(order, demands), Waiting)
        return order

    async def tell(
        self, event_id: str, charge: str | None, *, gateway: str = "twin", forged: bool = False
    ) -> httpx.Response:
        """A webhook."""
        body = orjson.dumps({"id": event_id, "charge": charge})
        headers = {"X-Signature": "wrong" if forged else signature(body)}
        return await self.send(body, headers, gateway)

    async def send(
        self, body: bytes, headers: Mapping[str, str], gateway: str = "twin"
    ) -> httpx.Response:
        """A webhook's request as it stands."""
        return await self.client.post(
            f"/api/v1/orders/webhooks/{gateway}", content=body, headers=headers
        )

    async def resume(self, order_id: str, user_id: uuid.UUID) -> httpx.Response:
        """The buyer is back."""
        headers = {"Authorization": f"Bearer {self.identities.issue(user_id)}"}
        return await self.client.post(f"/api/v1/orders/{order_id}/resume", headers=headers)

    async def status(self, order: OrderDraft) -> str:
        """How the order stands."""
        found = await self.orders.open_by_id(order.order_id)
        assert found is not None
        return found.status

    def charge(self, order: OrderDraft) -> str:
        """How its charge stands at the provider."""
        return self.provider.books[transaction_of(order)].status


@contextlib.asynccontextmanager
async def _serving(
    shop: Shop,
    config: PromptSettlingConfig | None,
    source: WebhookSource | None = None,
    **about: Any,
) -> AsyncIterator[Counter]:
    clock, orders = about["clock"], about["orders"]
    identities = Identities(b"tokens")
    settling = PromptSettling(shop.settlement.settle, config)
    sources = {"twin": source or Source()}
    service = WebhookService(sources, events=orders, orders=orders, settling=settling)
    resume = ResumeService(
        orders=orders, settling=settling, identities=identities, monotonic=clock.unix
    )
    app = new_app("Hooks")
    add_webhook_routes(app, lambda request: service)
    add_resume_route(app, lambda request: resume)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield Counter(
            parts=shop,
            identities=identities,
            settling=settling,
            service=service,
            client=client,
            **about,
        )


@contextlib.asynccontextmanager
async def memory_counter(
    config: PromptSettlingConfig | None = None, monotonic: Callable[[], float] | None = None
) -> AsyncIterator[Counter]:
    """All in memory; `monotonic` is the clock that says when to stop trying again."""
    world = MemoryShop()
    provider = TellingProvider()
    pair = world.pair(UNITS)
    shop = world.wire(provider=provider, monotonic=monotonic)

    async def left() -> int:
        return world.left(pair)

    async with (
        running(world.owner),
        _serving(
            shop,
            config,
            clock=world.clock,
            orders=world.orders,
            provider=provider,
            pair=pair,
            left=left,
        ) as counter,
    ):
        yield counter


@contextlib.asynccontextmanager
async def postgres_counter(
    pool: asyncpg.Pool, provider: Any = None, source: WebhookSource | None = None
) -> AsyncIterator[Counter]:
    """Orders, webhooks and stock in Postgres; the twins unless another provider is given."""
    clock, provider = Clock(time.time()), provider or TellingProvider()
    journal, orders = PostgresStockJournal(pool), PostgresOrderBook(pool, a_ring())
    owner = an_owner(journal, clock=clock)
    pair = await add_pair(pool, UNITS)
    shop = Shop(
        clock=clock,
        transport=LocalTransport({"pool-0": owner}),
        orders=orders,
        provider=provider,
        sweep=journal,
        bus=MemoryBus(),
    )

    async def left() -> int:
        return (await now_of(pool, pair))[0]

    async with (
        running(owner),
        _serving(
            shop,
            None,
            source,
            clock=clock,
            orders=orders,
            provider=provider,
            pair=pair,
            left=left,
        ) as counter,
    ):
        yield counter
