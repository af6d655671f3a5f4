"""A whole shop in one process: every app, the stock owners, and shoppers in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from redis.asyncio import Redis

from actors.recovery import Recovery
from actors.stock_client import LocalTransport
from actors.stock_owner import OwnerConfig, StockOwner
from domain.catalog import Product, Variant, Warehouse
from domain.ids import encode
from domain.owners import pool_names
from serve_apps import checkout_metrics, composition
from serve_apps.settings import Settings
from serve_apps.site_app import OPEN_KEY
from storage.audit import audit
from storage.embedded import EmbeddedPostgres, EmbeddedRedis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray Serve's own, of a newer pydantic
    from serve_apps.deployments import ROUTES

ORIGIN = "http://shop"
WAIT_MAX_S = 10.0
POLL_S = 0.002
REPORT_EVERY_S = 0.05
"""Figures come twenty times as often as in a real shop, so that no test waits for them."""

ADDRESS = {
    "name": "John Doe",
    "street": "123 Main St",
    "city": "San Francisco",
    "state": "CA",
    "zip": "94102",
    "country": "US",
}
WAREHOUSES = (
    Warehouse(code="EAST", name="East", country="US", lat=40.0, lon=-74.0),
    Warehouse(code="WEST", name="West", country="US", lat=37.0, lon=-122.0),
)


def _product(handle: str, name: str, category: str, *variants: Variant) -> Product:
    return Product(
        handle=handle,
        name=name,
        description=f"{name}, as good as it gets",
        category=category,
        seller="Good Goods",
        tags=("test",),
        variants=variants,
    )


CATALOG = (
    _product(
        "laptop",
        "Dell XPS 13 Laptop",
        "Electronics",
        Variant(sku="LAPTOP", price_minor=129_999, stock={"EAST": 500, "WEST": 500}),
    ),
    _product(
        "console",
        "Nova Console",
        "Electronics",
        Variant(sku="HOT", price_minor=19_900, stock={"EAST": 20}),
    ),
    _product(
        "vase", "Ming Vase", "Home", Variant(sku="VASE", price_minor=8_000, stock={"WEST": 1})
    ),
    _product(
        "tee",
        "Cotton Tee",
        "Apparel",
        Variant(sku="TEE-S", price_minor=1_999, attributes={"Size": "S"}, stock={"EAST": 50}),
        Variant(sku="TEE-M", price_minor=2_499, attributes={"Size": "M"}, stock={"EAST": 50}),
    ),
)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What `condition` gives once it is true; fails when that takes too long."""
    async with asyncio.timeout(WAIT_MAX_S):
        while True:
            if met := await condition():
                return met
            await asyncio.sleep(POLL_S)


def assert_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The answer is the problem of this kind (RFC 9457); gives its document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind}", problem
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


class ByPath(httpx.AsyncBaseTransport):
    """The front door: each request goes to the app with the longest fitting path."""

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        by_length = sorted(ROUTES.items(), key=lambda route: -len(route[1]))
        self._doors = [
            (path, httpx.ASGITransport(apps[name], raise_app_exceptions=False))
            for name, path in by_length
        ]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = request.url.path
        for path, door in self._doors:
            if path in ("/", asked) or asked.startswith(f"{path}/"):
                return await door.handle_async_request(request)
        raise AssertionError("the site answers every path")


@dataclass(kw_only=True)
class Shop:
    """A running shop; `client` talks to its front door, `pool` looks into its books."""

    client: httpx.AsyncClient
    apps: Mapping[str, FastAPI]
    parts: composition.Parts
    owners: dict[str, asyncio.Task[None]]
    transport: LocalTransport
    product_ids: dict[str, str] = field(default_factory=dict[str, str])
    """By handle."""
    variant_ids: dict[str, str] = field(default_factory=dict[str, str])
    """By SKU."""
    product_of: dict[str, str] = field(default_factory=dict[str, str])
    """product_id by SKU."""

    @property
    def pool(self) -> asyncpg.Pool:
        return self.parts.pool

    @property
    def redis(self) -> Redis:
        return self.parts.redis

    async def learn_ids(self) -> None:
        rows = await self.pool.fetch(
            "SELECT p.handle, p.product_id, v.sku, v.variant_id"
            " FROM products p JOIN product_variants v USING (product_id)"
        )
        for row in rows:
            product_id = encode("prod", row["product_id"])
            self.product_ids[row["handle"]] = product_id
            self.product_of[row["sku"]] = product_id
            self.variant_ids[row["sku"]] = encode("var", row["variant_id"])

    async def shopper(self, sku: str | None = None, quantity: int = 1) -> Shopper:
        """A new guest, with `quantity` of `sku` in the cart; with an emptied cart without."""
        shopper = Shopper(self)
        await shopper.add(sku or "LAPTOP", quantity)
        if sku is None:
            await shopper.call("DELETE", f"cart/items/{self.variant_ids['LAPTOP']}")
        return shopper

    async def stock(self, sku: str) -> tuple[int, int]:
        """(available, reserved or allocated) over all warehouses."""
        row = await self.pool.fetchrow(
            "SELECT sum(i.quantity)::int AS available, sum(i.reserved)::int AS reserved"
            " FROM stock_now i JOIN product_variants v USING (variant_id) WHERE v.sku = $1",
            sku,
        )
        assert row is not None
        return row["available"], row["reserved"]

    async def books(self) -> dict[str, int]:
        """Everything that buying leaves behind, counted."""
        row = await self.pool.fetchrow(
            "SELECT (SELECT count(*) FROM orders) AS orders,"
            " (SELECT count(*) FROM inventory_reservations) AS reservations,"
            " (SELECT sum(reserved) FROM stock_now)::int AS reserved,"
            " (SELECT sum(quantity) FROM stock_now)::int AS available,"
            " (SELECT count(*) FROM payments) AS payments,"
            " (SELECT count(*) FROM simulated_provider.charges) AS charges,"
            " (SELECT count(*) FROM outbox) AS events"
        )
        assert row is not None
        carts = [key async for key in self.redis.scan_iter("cart:*")]
        return {**dict(row), "carts": len(carts)}

    @property
    def recovery(self) -> Recovery:
        """What the caretaker of a shop on Ray would run every second or so."""
        stock = self.parts.stock_client(self.transport)
        return self.parts.checkout(stock).recovery(self.parts.journal)

    async def broken_promises(self) -> dict[str, tuple[str, ...]]:
        """What the audit finds, an hour later and without any grace."""
        report = await audit(
            self.pool,
            self.parts.providers,
            bus=None,
            grace_s=0,
            now=datetime.now(UTC) + timedelta(hours=1),
        )
        wrong = {v.promise.id: v.violations for v in report.verdicts if not v.ok}
        wrong.pop("P9", None)  # no relay runs here
        return wrong

    async def stop_owner(self, name: str) -> None:
        """End one owner's loop."""
        # Again and again: a Redis command that ends just then swallows a cancellation.
        while not self.owners[name].done():
            self.owners[name].cancel()
            await asyncio.wait([self.owners[name]], timeout=0.1)


class Shopper:
    """One guest: a token and what it is good for."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.token = ""
        self.cart_id = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {**self.headers, **arguments.pop("headers", {})}
        return await self.shop.client.request(
            method, f"/api/v1/{path}", headers=headers, **arguments
        )

    async def add(self, sku: str, quantity: int = 1) -> dict[str, Any]:
        body = {
            "product_id": self.shop.product_of[sku],
            "variant_id": self.shop.variant_ids[sku],
            "quantity": quantity,
        }
        answer = await self.call("POST", "cart/items", json=body)
        assert answer.status_code == 200, answer.text
        cart = answer.json()
        self.token = cart.get("token", self.token)
        self.cart_id = cart["cart_id"]
        return cart

    async def cart(self) -> dict[str, Any]:
        answer = await self.call("GET", "cart")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def quantities(self) -> dict[str, int]:
        """Units in the cart by SKU."""
        return {item["sku"]: item["quantity"] for item in (await self.cart())["items"]}

    def order_body(self, *, card: str = "card_xyz789", **changes: Any) -> dict[str, Any]:
        return {
            "cart_id": self.cart_id,
            "shipping_address": ADDRESS,
            "payment_method": {"type": "card", "card_id": card},
            "shipping_method": "standard",
            **changes,
        }

    async def checkout(
        self, *, key: str | None = None, card: str = "card_xyz789", **changes: Any
    ) -> httpx.Response:
        return await self.call(
            "POST",
            "orders/checkout",
            json=self.order_body(card=card, **changes),
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
        )

    async def order(self, order_id: str) -> dict[str, Any]:
        answer = await self.call("GET", f"orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()


def _new_owners(parts: composition.Parts) -> dict[str, StockOwner]:
    config = OwnerConfig(publish_every_s=0.01, report_every_s=REPORT_EVERY_S)
    names = pool_names(parts.settings.stock_owners)
    return {name: composition.owner_over(parts, name, config) for name in names}


@contextlib.asynccontextmanager
async def open_shop(database_url: str, redis_url: str, **changes: Any) -> AsyncIterator[Shop]:
    """A shop on this database, with Redis emptied; `changes` to its settings are not checked."""
    settings = Settings(
        database_url=database_url, redis_url=redis_url, secret="of the tests", stock_owners=2
    ).model_copy(update=changes)
    async with contextlib.AsyncExitStack() as stack:
        parts = await stack.enter_async_context(composition.open_parts(settings, "tests"))
        await parts.redis.flushdb()
        await parts.catalog.add_warehouses(WAREHOUSES)
        await parts.catalog.import_products(CATALOG)
        owners = _new_owners(parts)
        running = {name: asyncio.create_task(owner.run()) for name, owner in owners.items()}
        transport = LocalTransport({**owners})
        apps = {
            "catalog": composition.catalog_app(settings),
            "cart": composition.cart_app(settings),
            "checkout": composition.checkout_app(settings, transport),
            "fraud": composition.fraud_app(settings, transport),
            "site": composition.site_app(settings),
        }
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=ByPath(apps), base_url=ORIGIN)
        )
        await parts.redis.set(OPEN_KEY, "1")
        shop = Shop(client=client, apps=apps, parts=parts, owners=running, transport=transport)
        await shop.learn_ids()
        try:
            yield shop
        finally:
            for name in running:
                await shop.stop_owner(name)


@pytest.fixture(scope="session", autouse=True)
def _frequent_reports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkout_metrics, "REPORT_EVERY_S", REPORT_EVERY_S)
        yield


OpenShop = Callable[..., contextlib.AbstractAsyncContextManager[Shop]]


@pytest.fixture
def shop_with(database_url: str, redis_url: str) -> OpenShop:
    """Opens a shop with other settings: `async with shop_with(reservation_ttl_s=0.05) as shop`."""
    return lambda **changes: open_shop(database_url, redis_url, **changes)


@pytest_asyncio.fixture
async def shop(shop_with: OpenShop) -> AsyncIterator[Shop]:
    """A shop of this test's own."""
    async with shop_with() as opened:
        yield opened


_standing_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_shop(
    servers: tuple[EmbeddedPostgres, EmbeddedRedis], template_database: str
) -> AsyncIterator[Shop]:
    """One shop for all tests of a module; they leave it as they found it, or do not mind.

    Such tests run in the module's event loop: `pytest.mark.asyncio(loop_scope="module")`.
    """
    postgres, redis = servers
    name = f"standing_shop_{next(_standing_numbers)}"
    admin = await asyncpg.connect(postgres.url("postgres"))
    try:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
        async with open_shop(postgres.url(name), redis.url) as opened:
            yield opened
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()
