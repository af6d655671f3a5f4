"""The composition root: the one place that knows which part stands behind which port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import asyncpg
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.routing import Router

from actors.caretaker import Caretaker
from actors.directory import Directory
from actors.method_removal import MethodRemoval
from actors.outbox_relay import OutboxRelay
from actors.ray_runtime import ray_transport
from actors.routing import Routing
from actors.stock_client import OwnerTransport, StockClient, StockClientConfig
from actors.stock_in import StockIn
from actors.stock_owner import OwnerClocks, OwnerConfig, StockOwner
from domain.owners import Homes, pool_names
from domain.placement import PlacementPolicy, Placements
from domain.ports import OwnerHost
from gateways.redis_streams import RedisStreamsBus
from serve_apps.cart_app import CartService, add_cart_routes
from serve_apps.catalog_app import add_catalog_routes
from serve_apps.catalog_service import CatalogService
from serve_apps.checkout_app import add_checkout_routes
from serve_apps.checkout_metrics import report_for_ever
from serve_apps.checkout_parts import CheckoutParts, new_id
from serve_apps.checkout_services import open_services
from serve_apps.credit_app import CreditService, add_credit_routes
from serve_apps.credit_parts import credit_accounts, gift_card_key, utc_now
from serve_apps.fraud_app import build_fraud_app
from serve_apps.http import HotApp, new_app
from serve_apps.identity import Identities
from serve_apps.live_app import add_live_routes
from serve_apps.live_feed import LiveConfig, LiveFeed
from serve_apps.log_output import keep_values_out_of_tracebacks
from serve_apps.method_app import add_method_routes
from serve_apps.operators import Operators
from serve_apps.overview import Overview
from serve_apps.payment_providers import PaymentProviders
from serve_apps.quote_app import add_quote_routes
from serve_apps.refund_app import add_refund_routes
from serve_apps.refund_parts import refund_service, refunds_over
from serve_apps.resume_app import add_resume_route
from serve_apps.review_app import add_review_routes
from serve_apps.review_parts import review_service
from serve_apps.settings import Settings
from serve_apps.shelf import Shelf
from serve_apps.site_app import SiteService, add_site_routes
from serve_apps.stock_app import StockService, add_stock_routes
from serve_apps.webhook_app import add_webhook_routes
from sim.provider import PAGES_URL
from sim.provider_pages import buyer_pages
from storage.availability import AvailabilityBoard, AvailabilityReader, StockNumbers
from storage.availability_stream import ChangeStream
from storage.carts import CartRepository
from storage.catalog import CatalogRepository
from storage.fraud_files import load_scoring
from storage.metrics_board import RedisMetricsBoard, RedisMetricsReader
from storage.operator_revocations import OperatorRevocations
from storage.orders import PostgresOrderBook
from storage.payment_methods import PaymentMethods
from storage.placements import PostgresPlacements
from storage.postgres import open_pool
from storage.promotions import PostgresPromotions
from storage.redis import open_redis
from storage.search_index import SearchIndex
from storage.stock_in import PostgresStockIn
from storage.stock_journal import PostgresStockJournal
from storage.stock_views import StockViews

POOL_MAX = 6  # connections of one process; its batches are few
_YOUNG_MAX = 10_000  # new objects until the owner's collector looks at them: about a millisecond
REPLICA = f"{socket.gethostname()}-{os.getpid()}"
_BESIDE_ENDS_WITHIN_S = 5.0


class Parts:
    """What one process of the shop shares: connections, and what is built on them."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, redis: Redis) -> None:
        self.settings = settings
        self.pool = pool
        self.redis = redis
        self.catalog = CatalogRepository(pool)
        self.carts = CartRepository(redis)
        self.ring = settings.data_key_ring()
        self.orders = PostgresOrderBook(pool, self.ring)
        self.journal = PostgresStockJournal(pool)
        self.placements = PostgresPlacements(pool)
        self.stock_in = PostgresStockIn(pool, new_id)
        self.availability = AvailabilityBoard(redis)
        self.metrics = RedisMetricsBoard(redis)
        self.identities = Identities(settings.signing_key())
        self.operators = Operators(self.identities, OperatorRevocations(pool))
        self._spacing_s = settings.batch_spacing_ms / 1_000
        self.providers = PaymentProviders(settings, pool, self.orders.note_event)
        self.promotions = PostgresPromotions(pool)
        self.bus = RedisStreamsBus(redis)

    async def close(self) -> None:
        """Give the connections back."""
        await self.providers.close()
        await self.redis.aclose()
        await self.pool.close()

    def stock_client(self, transport: OwnerTransport | None = None) -> StockClient:
        """A client of the owners' pool."""
        routing = Routing(pool_names(self.settings.stock_owners))
        transport = transport or ray_transport(self.settings.stream_key())
        config = StockClientConfig(batch_spacing_s=self._spacing_s)
        return StockClient(transport, routing, monotonic=time.monotonic, config=config)

    def checkout(self, stock: StockClient) -> CheckoutParts:
        """The checkout over these parts."""
        return CheckoutParts(
            self.settings,
            orders=self.orders,
            providers=self.providers,
            promotions=self.promotions,
            stock=stock,
        )


async def connect(settings: Settings, application: str, *, by_key: bool = False) -> Parts:
    """Connections for as long as the process lives, or until `close`."""
    keep_values_out_of_tracebacks()
    calm_the_collector()
    pool = await open_pool(
        settings.database_url,
        max_size=POOL_MAX,
        application=f"doorbuster {application}",
        by_key=by_key,
    )
    return Parts(settings, pool, open_redis(settings.redis_url))


@contextlib.asynccontextmanager
async def open_parts(
    settings: Settings, application: str, *, by_key: bool = False
) -> AsyncIterator[Parts]:
    """Connections for the length of a `with`."""
    parts = await connect(settings, application, by_key=by_key)
    try:
        yield parts
    finally:
        await parts.close()


def calm_the_collector() -> None:
    """Garbage collection seldom: what was imported stays, and requests leave few cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def keep_collections_short() -> None:
    """For an owner's process: what survives one collection is not looked at again.

    Its holds are many, live long and form no cycles; walking them all stopped the world for
    100 ms and more. They are freed all the same when nothing refers to them any more.
    """
    gc.set_threshold(_YOUNG_MAX)
    gc.callbacks.append(lambda phase, _: gc.freeze() if phase == "stop" else None)


def owner_over(parts: Parts, name: str, config: OwnerConfig | None = None) -> StockOwner:
    """A stock owner over these parts."""
    return StockOwner(
        name,
        journal=parts.journal,
        board=parts.availability,
        metrics=parts.metrics,
        clocks=OwnerClocks(time.time, time.monotonic),
        homes=Homes(pool_names(parts.settings.stock_owners)),
        node=socket.gethostname(),
        pid=os.getpid(),
        config=config,
    )


async def build_owner(name: str) -> StockOwner:
    """A stock owner for the process it is called in."""
    parts = await connect(Settings(), name, by_key=True)
    keep_collections_short()
    return owner_over(parts, name)


def build_directory(parts: Parts, stock: StockClient, host: OwnerHost) -> Directory:
    """The directory of owners over these parts."""
    settings = parts.settings
    policy = PlacementPolicy(
        promote_per_s=settings.promote_per_s,
        demote_per_s=settings.demote_per_s,
        cool_for_s=settings.cool_for_s,
        dedicated_max=settings.dedicated_owners_max,
    )
    return Directory(
        host=host,
        stock=stock,
        book=parts.placements,
        reclaim=parts.journal,
        metrics=RedisMetricsReader(parts.metrics),
        placements=Placements(policy),
        pool=pool_names(settings.stock_owners),
        monotonic=time.monotonic,
    )


async def build_caretaker(host: OwnerHost) -> Caretaker:
    """The caretaker for the process it is called in."""
    parts = await connect(Settings(), "caretaker", by_key=True)
    stock = parts.stock_client()
    return Caretaker(
        recovery=parts.checkout(stock).recovery(parts.journal),
        leases=parts.orders,
        holder=socket.gethostname(),  # its successor on this node need not wait for the lease
        relay=OutboxRelay(parts.orders, parts.bus),
        directory=build_directory(parts, stock, host),
        stock_in=StockIn(parts.stock_in, stock),
        metrics=parts.metrics,
        refunds=refunds_over(parts.pool, parts.providers.by_name),
        method_removal=MethodRemoval(
            book=PaymentMethods(parts.pool, new_id), vaults=parts.providers.vaults, now=utc_now
        ),
    )


@contextlib.asynccontextmanager
async def _reporting(parts: Parts, app_name: str) -> AsyncIterator[None]:
    """The replica shows on the dashboard that it is there."""
    started = time.time()

    def figures() -> dict[str, Any]:
        about = {"app": app_name, "replica": REPLICA, "node": socket.gethostname()}
        return {**about, "pid": os.getpid(), "uptime_s": round(time.time() - started, 1)}

    await parts.metrics.publish("replicas", f"{app_name}-{REPLICA}", figures())
    async with _beside(
        report_for_ever(parts.metrics, "replicas", f"{app_name}-{REPLICA}", figures)
    ):
        yield


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on meanwhile, and has ended before what it works with is closed."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=_BESIDE_ENDS_WITHIN_S)


@contextlib.asynccontextmanager
async def _shelf(parts: Parts) -> AsyncIterator[Shelf]:
    shelf = Shelf(parts.catalog)
    await shelf.start()
    try:
        yield shelf
    finally:
        await shelf.stop()


def catalog_app(settings: Settings | None = None) -> HotApp:
    """Search and product pages."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts(settings or Settings(), "catalog") as parts:
            service = CatalogService(parts.catalog, SearchIndex(), parts.availability)
            await service.start()
            app.state.catalog = service
            async with _reporting(parts, "catalog"):
                yield
            await service.stop()

    app = new_app("Catalog", lifespan=lifespan)
    add_catalog_routes(app, lambda request: request.app.state.catalog)
    return app


def cart_app(settings: Settings | None = None) -> HotApp:
    """Carts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts(settings or Settings(), "cart") as parts, _shelf(parts) as shelf:
            app.state.carts = CartService(parts.carts, shelf, parts.identities)
            async with _reporting(parts, "cart"):
                yield

    app = new_app("Cart", lifespan=lifespan)
    add_cart_routes(app)
    return app


def checkout_app(
    settings: Settings | None = None, transport: OwnerTransport | None = None
) -> HotApp:
    """Checkout and orders."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = settings or Settings()
        async with (
            open_parts(own, "checkout", by_key=True) as parts,
            _shelf(parts) as shelf,
            open_services(parts, shelf, transport) as services,
        ):
            service = app.state.checkout = services.checkout
            app.state.quotes = services.quotes
            app.state.webhooks = services.webhooks
            app.state.resuming = services.resuming
            app.state.methods = services.methods
            app.state.refunds = refund_service(parts.pool, parts.providers.by_name, parts.operators)
            figures = report_for_ever(
                parts.metrics,
                "checkout",
                REPLICA,
                lambda: {**service.metrics.take(), "in_flight": service.in_flight},
            )
            async with _reporting(parts, "checkout"), _beside(figures):
                yield

    app = new_app("Checkout and orders", lifespan=lifespan)
    add_checkout_routes(app)
    add_resume_route(app, lambda request: request.app.state.resuming)
    add_webhook_routes(app, lambda request: request.app.state.webhooks)
    add_method_routes(app, lambda request: request.app.state.methods)
    add_refund_routes(app, lambda request: request.app.state.refunds)
    add_quote_routes(app, lambda request: request.app.state.quotes)
    return app


def fraud_app(settings: Settings | None = None, transport: OwnerTransport | None = None) -> HotApp:
    """Fraud scoring, and the queue of orders that somebody has to look at."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = settings or Settings()
        app.state.scoring = load_scoring(own.fraud_policy, own.fraud_model)
        async with open_parts(own, "fraud", by_key=True) as parts, _reporting(parts, "fraud"):
            app.state.reviews = review_service(
                parts.checkout(parts.stock_client(transport)),
                pool=parts.pool,
                orders=parts.orders,
                operators=parts.operators,
            )
            yield
            await app.state.reviews.drain()

    app = build_fraud_app()
    app.router.lifespan_context = lifespan
    add_review_routes(app, lambda request: request.app.state.reviews)
    return app


@contextlib.asynccontextmanager
async def _live_feed(parts: Parts) -> AsyncIterator[LiveFeed]:
    numbers = StockNumbers(lambda pairs: parts.catalog.availability(inventory_ids=pairs))
    async with _shelf(parts) as shelf:
        feed = LiveFeed(
            changes=ChangeStream(parts.redis),
            availability=AvailabilityReader(parts.availability, numbers),
            shelf=shelf,
            monotonic=time.monotonic,
            config=LiveConfig(subscribers_max=parts.settings.live_subscribers_max),
        )
        async with feed.running():
            yield feed


def site_app(settings: Settings | None = None) -> HotApp:
    """Pages, pictures, live availability, health, the API's description, the operators' figures."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = settings or Settings()
        async with open_parts(own, "site") as parts:
            # Pictures only: products are read when asked for, nothing is indexed here.
            app.state.catalog = CatalogService(parts.catalog, SearchIndex(), parts.availability)
            owners = pool_names(own.stock_owners)
            views = StockViews(parts.pool, Homes(owners))
            overview = Overview(parts.pool, parts.metrics, parts.orders, views, owners)
            app.state.site = SiteService(parts.pool, parts.redis, parts.metrics, overview, owners)
            figures = RedisMetricsReader(parts.metrics)
            app.state.stock = StockService(views, parts.placements, figures, owners)
            app.state.credit = CreditService(
                credit_accounts(parts.pool), parts.identities, gift_card_key(own), utc_now
            )
            app.state.takes_cards = parts.providers.first.name
            if parts.providers.stripe is None:
                pages = Router(routes=buyer_pages(parts.providers.simulated))
                app.mount(PAGES_URL, pages)
            async with _live_feed(parts) as app.state.live, _reporting(parts, "site"):
                yield

    app = new_app("Doorbuster", lifespan=lifespan)
    described = (catalog_app(), cart_app(), checkout_app(), fraud_app())
    add_catalog_routes(app, lambda request: request.app.state.catalog)
    add_live_routes(app, lambda connection: connection.app.state.live)
    add_stock_routes(app)
    add_credit_routes(app, lambda request: request.app.state.credit)
    add_site_routes(app, described)
    return app
