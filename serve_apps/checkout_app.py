"""Checkout and orders over HTTP. The saga itself is `actors.checkout`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import uuid_utils
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import Response

from actors.checkout import (
    Checkout,
    CheckoutResult,
    Confirmed,
    Demand,
    KnownKey,
    Refused,
    TryAgain,
)
from actors.coalescer import Coalescer, Overloaded
from domain import ids, pricing, shipping
from domain.cart import Refusal
from domain.catalog import ListedProduct, ListedVariant
from domain.orders import OrderDraft, OrderLine, PaymentPart, RecordedOrder
from domain.payments import ChargeRequest
from domain.places import LAT_MAX, LON_MAX, Coordinates, Site, site_of
from domain.ports import OrderBook, Unavailable
from domain.warehouse_choice import Source, haul
from serve_apps.checkout_metrics import CheckoutMetrics
from serve_apps.http import (
    HotApp,
    Problem,
    RequestModel,
    ShortText,
    add_hot_route,
    busy_problem,
    field_problem,
    json_response,
    problem_answers,
    problem_response,
    read_body,
)
from serve_apps.identity import Identities
from serve_apps.order_answers import (
    CheckoutAnswer,
    OrderAnswer,
    confirmed_view,
    failure_problem,
    order_view,
)
from serve_apps.shelf import Listed, Shelf
from storage.carts import Cart, CartRepository

IDEMPOTENCY_KEY_LENGTH_MAX = 255
DRAIN_TIMEOUT_S = 10.0
REPLAYED = {"Idempotent-Replayed": "true"}
# Left out of what is hashed: the hash of an address without them is what it always was (P6).
_UNSAID: Any = Field(default=None, exclude_if=lambda degrees: degrees is None)
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Address(RequestModel):
    """Where to send it. `country` is ISO 3166-1 alpha-2; `state` where the country has them."""

    name: ShortText
    street: ShortText
    city: ShortText
    state: ShortText | None = None
    zip: ShortText
    country: Country


class ShippingAddress(Address):
    """Where to send it; `lat` and `lon` in degrees say it exactly, both or neither."""

    lat: Annotated[float, Field(ge=-LAT_MAX, le=LAT_MAX)] | None = _UNSAID
    lon: Annotated[float, Field(ge=-LON_MAX, le=LON_MAX)] | None = _UNSAID

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("send both lat and lon, or neither")
        return self

    @property
    def site(self) -> Site:
        """Where that is, as far as it is known."""
        if self.lat is not None and self.lon is not None:
            return Site(self.country, Coordinates(self.lat, self.lon))
        return site_of(self.country, self.state)


class PaymentMethod(RequestModel):
    """What pays: a token of the payment provider, never a card number."""

    type: Literal["card"]
    card_id: Annotated[str, StringConstraints(pattern=r"^card_[A-Za-z0-9_]{1,100}$")]


class CheckoutRequest(RequestModel):
    """A cart to turn into an order."""

    cart_id: ShortText
    shipping_address: ShippingAddress
    payment_method: PaymentMethod
    shipping_method: Literal["standard", "express"] = "standard"
    billing_address: Address | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cart_id": "cart_01k0a5xq2ne0tbq4m7w3f8z1rc",
                    "shipping_address": {
                        "name": "John Doe",
                        "street": "123 Main St",
                        "city": "San Francisco",
                        "state": "CA",
                        "zip": "94102",
                        "country": "US",
                    },
                    "payment_method": {"type": "card", "card_id": "card_xyz789"},
                    "shipping_method": "standard",
                }
            ]
        }
    )


class CheckoutService:
    """Validates, prices and drafts; hands over to the saga; words the answer."""

    def __init__(
        self,
        *,
        saga: Checkout,
        carts: CartRepository,
        shelf: Shelf,
        orders: OrderBook,
        identities: Identities,
        metrics: CheckoutMetrics,
        gateway: str,
        in_flight_max: int,
        batch_spacing_s: float = 0.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._saga = saga
        self._shelf = shelf
        self._orders = orders
        self.identities = identities
        self.metrics = metrics
        self._gateway = gateway
        self._in_flight_max = in_flight_max
        self._now = now
        self._loading: Coalescer[UUID, Cart] = Coalescer(carts.load, spacing_s=batch_spacing_s)
        self._taking: Coalescer[Any, None] = Coalescer(carts.take, spacing_s=batch_spacing_s)
        self._running: set[asyncio.Task[Response]] = set()

    async def checkout(self, user_id: UUID, key: str, body: CheckoutRequest) -> Response:
        """The whole checkout, in a task of its own: it ends well even if the shopper hangs up."""
        if len(self._running) >= self._in_flight_max:
            self.metrics.rejected += 1
            raise Problem("busy", "too many checkouts at once; nothing was reserved")
        task = asyncio.create_task(self._timed(user_id, key, body))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Let what is under way come to its end, for DRAIN_TIMEOUT_S; recovery does the rest."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_TIMEOUT_S)

    @property
    def in_flight(self) -> int:
        """Checkouts under way."""
        return len(self._running)

    async def _timed(self, user_id: UUID, key: str, body: CheckoutRequest) -> Response:
        started = time.perf_counter()
        try:
            response = await self._checkout(user_id, key, body)
        except Problem as problem:
            response = problem_response(problem)
        except (Unavailable, Overloaded):
            response = problem_response(
                Problem("busy", "a part of the shop did not answer in time")
            )
        elapsed_ms = (time.perf_counter() - started) * 1_000
        self.metrics.record(elapsed_ms, confirmed=response.status_code == 201)
        return response

    async def _checkout(self, user_id: UUID, key: str, body: CheckoutRequest) -> Response:
        request_hash = hashlib.sha256(body.model_dump_json().encode()).digest()
        try:
            draft, demands = await self._draft(user_id, key, request_hash, body)
        except Problem:
            # A repeat finds its cart emptied by the first try; the first answer still holds.
            known = await self._orders.by_key(user_id, key)
            if known is not None:
                return _replay(known, request_hash)
            raise
        result = await self._saga.run(draft, demands)
        if isinstance(result, Confirmed):
            bought = [(line.variant_id, line.quantity) for line in draft.lines]
            taking = self._taking.submit((user_id, draft.cart_id, bought))
            taking.add_done_callback(_ignore_failure)  # the order stands, whatever the cart says
        return _answer(result, draft, request_hash)

    async def _draft(
        self, user_id: UUID, key: str, request_hash: bytes, body: CheckoutRequest
    ) -> tuple[OrderDraft, list[Demand]]:
        cart = await self._loading.submit(user_id)
        cart_id = _own_cart(cart, body.cart_id)
        listed = await self._listed([variant_id for variant_id, _ in cart.lines])
        lines = [_line(*listed[variant_id], quantity) for variant_id, quantity in cart.lines]
        destination = body.shipping_address.site
        demands = [
            self._demand(*listed[variant_id], quantity, destination)
            for variant_id, quantity in cart.lines
        ]
        currency = listed[lines[0].variant_id][0].currency
        quote = pricing.quote(
            [(line.unit_price_minor, line.quantity) for line in lines],
            currency=currency,
            country=body.shipping_address.country,
            state=body.shipping_address.state,
            shipping_method=body.shipping_method,
        )
        if isinstance(quote, Refusal):
            raise field_problem("cart_id", quote.detail)
        order_id = _new_id()
        charge = ChargeRequest(
            ids.encode("charge", order_id),
            quote.total_minor,
            quote.currency,
            body.payment_method.card_id,
            payer=str(user_id),
        )
        draft = OrderDraft(
            order_id=order_id,
            user_id=user_id,
            cart_id=cart_id,
            idempotency_key=key,
            request_hash=request_hash,
            lines=tuple(lines),
            subtotal_minor=quote.subtotal_minor,
            tax_minor=quote.tax_minor,
            shipping_minor=quote.shipping_minor,
            discount_minor=quote.discount_minor,
            total_minor=quote.total_minor,
            currency=quote.currency,
            payment_method=body.payment_method.type,
            parts=(PaymentPart(payment_id=_new_id(), gateway=self._gateway, charge=charge),),
            shipping_method=body.shipping_method,
            # Coordinates are no part of the address: they chose the warehouses.
            shipping_address=body.shipping_address.model_dump(
                exclude_none=True, exclude={"lat", "lon"}
            ),
            billing_address=(
                body.billing_address.model_dump(exclude_none=True) if body.billing_address else None
            ),
            estimated_delivery=shipping.estimated_delivery(
                self._now().date(), body.shipping_method
            ),
        )
        return draft, demands

    async def _listed(self, variant_ids: list[UUID]) -> dict[UUID, Listed]:
        listed = await self._shelf.variants(variant_ids)
        for variant_id in variant_ids:
            if variant_id not in listed:
                name = ids.encode("var", variant_id)
                raise field_problem("cart_id", f"{name} is not sold any more; remove it first")
        if any(not variant.pairs for _, variant in listed.values()):
            raise Problem("out_of_stock", "an item of the cart is not kept in any warehouse")
        if len({product.currency for product, _ in listed.values()}) > 1:
            raise field_problem("cart_id", "the items have different currencies; order them apart")
        return listed

    def _demand(
        self, product: ListedProduct, variant: ListedVariant, quantity: int, destination: Site
    ) -> Demand:
        sources = tuple(
            Source(
                pair.inventory_id.bytes,
                pair.warehouse_id.bytes,
                haul(self._shelf.warehouse(pair.warehouse_id), destination),
            )
            for pair in variant.pairs
        )
        return Demand(variant.sku, ids.encode("prod", product.product_id), quantity, sources)

    async def order(self, user_id: UUID, text: str) -> dict[str, Any]:
        """One order of this customer, as the buyer sees it."""
        try:
            order_id = ids.decode("order", text)
        except ValueError:
            raise _no_order(text) from None
        order = await self._orders.find(order_id, user_id)
        if order is None:
            raise _no_order(text)
        return order_view(order)


def _line(product: ListedProduct, variant: ListedVariant, quantity: int) -> OrderLine:
    return OrderLine(
        product_id=product.product_id,
        variant_id=variant.variant_id,
        sku=variant.sku,
        name=product.name,
        quantity=quantity,
        unit_price_minor=variant.price_minor,
    )


def _own_cart(cart: Cart, text: str) -> UUID:
    try:
        cart_id = ids.decode("cart", text)
    except ValueError:
        cart_id = None
    if cart.cart_id is None or cart.cart_id != cart_id:
        raise Problem("not_found", f"there is no cart {text[:80]} of yours; add an item first")
    if not cart.lines:
        raise Problem("cart_empty", "there is nothing in the cart; add an item first")
    return cart.cart_id


def _new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


def _no_order(text: str) -> Problem:
    return Problem("not_found", f"there is no order {text[:80]} of yours")


def _ignore_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _answer(result: CheckoutResult, draft: OrderDraft, request_hash: bytes) -> Response:
    if isinstance(result, Confirmed):
        return json_response(confirmed_view(draft), status=201)
    if isinstance(result, KnownKey):
        return _replay(result.order, request_hash)
    if isinstance(result, Refused):
        return problem_response(failure_problem(result.failure))
    assert isinstance(result, TryAgain)
    return problem_response(busy_problem(result.detail, result.retry_after_ms))


def _replay(order: RecordedOrder, request_hash: bytes) -> Response:
    """The first answer again, if this is the same request (P6)."""
    if order.request_hash != request_hash:
        raise Problem(
            "idempotency_key_reused",
            "this Idempotency-Key came with another body before; use a new key for a new order",
        )
    if order.status == "pending":
        raise Problem(
            "idempotency_key_in_flight",
            "the first request with this key is not answered yet; ask again shortly",
            headers={"Retry-After": "1"},
            retry_after=1,
        )
    if order.failure is not None:
        response = problem_response(failure_problem(order.failure))
    else:
        response = json_response(confirmed_view(order), status=201)
    response.headers.update(REPLAYED)
    return response


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "").strip()
    if not key:
        raise Problem(
            "idempotency_key_missing", "send an Idempotency-Key, a fresh UUID for each new order"
        )
    if len(key) > IDEMPOTENCY_KEY_LENGTH_MAX or not key.isprintable():
        raise field_problem(
            "Idempotency-Key", f"must be at most {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters"
        )
    return key


def add_checkout_routes(app: HotApp) -> None:
    """Checkout's routes, over the CheckoutService at `app.state.checkout`."""

    def service(request: Request) -> CheckoutService:
        return request.app.state.checkout

    async def checkout(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        key = _idempotency_key(request)
        body = await read_body(request, CheckoutRequest)
        return await own.checkout(user_id, key, body)

    add_hot_route(
        app,
        "POST",
        "/api/v1/orders/checkout",
        checkout,
        summary="Check out",
        body=CheckoutRequest,
        answers={201: CheckoutAnswer},
        parameters=(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "maxLength": IDEMPOTENCY_KEY_LENGTH_MAX},
                "description": "names this intent; a repeat gets the first answer again",
            },
        ),
        problems=(
            "idempotency_key_missing",
            "unauthorized",
            "payment_declined",
            "not_found",
            "out_of_stock",
            "cart_empty",
            "idempotency_key_in_flight",
            "checkout_interrupted",
            "hold_expired",
            "too_large",
            "unsupported_media_type",
            "validation",
            "idempotency_key_reused",
            "limit_exceeded",
            "busy",
        ),
    )

    @app.get(
        "/api/v1/orders/{order_id}",
        summary="Track an order",
        response_model=OrderAnswer,
        responses=problem_answers("unauthorized", "not_found", "busy"),
    )
    async def track(request: Request, order_id: str) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        try:
            return json_response(await own.order(user_id, order_id))
        except Unavailable:
            raise Problem("busy", "orders cannot be read right now; try again shortly") from None

    del track
