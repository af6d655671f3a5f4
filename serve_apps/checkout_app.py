"""Checkout and orders over HTTP. The saga itself is `actors.checkout`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from actors.checkout import (
    Checkout,
    CheckoutResult,
    Confirmed,
    KnownKey,
    Refused,
    TryAgain,
    Waiting,
)
from actors.coalescer import Coalescer, Overloaded
from domain import ids
from domain.orders import OrderDraft, RecordedOrder
from domain.ports import OrderBook, Unavailable
from serve_apps.checkout_metrics import CheckoutMetrics
from serve_apps.checkout_request import CheckoutRequest
from serve_apps.drafting import Asked, Drafting
from serve_apps.http import (
    HotApp,
    Problem,
    add_hot_route,
    busy_problem,
    json_response,
    problem_answers,
    problem_response,
    read_body,
)
from serve_apps.idempotency_header import IDEMPOTENCY_KEY_LENGTH_MAX, idempotency_key
from serve_apps.identity import Identities
from serve_apps.order_answers import (
    CheckoutAnswer,
    OrderAnswer,
    WaitingAnswer,
    confirmed_view,
    failure_problem,
    order_view,
    waiting_view,
)
from storage.carts import CartRepository
from storage.refunds import PostgresRefunds

DRAIN_TIMEOUT_S = 10.0
REPLAYED = {"Idempotent-Replayed": "true"}


class CheckoutService:
    """Validates, prices and drafts; hands over to the saga; words the answer."""

    def __init__(
        self,
        *,
        saga: Checkout,
        drafting: Drafting,
        carts: CartRepository,
        orders: OrderBook,
        refunds: PostgresRefunds,
        identities: Identities,
        metrics: CheckoutMetrics,
        in_flight_max: int,
        batch_spacing_s: float = 0.0,
    ) -> None:
        self._saga = saga
        self._drafting = drafting
        self._orders = orders
        self._refunds = refunds
        self.identities = identities
        self.metrics = metrics
        self._in_flight_max = in_flight_max
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
            asked = Asked(user_id=user_id, key=key, request_hash=request_hash, body=body)
            draft, demands = await self._drafting.draft(asked)
        except Problem:
            # A repeat finds its cart emptied by the first try; the first answer still holds.
            known = await self._orders.by_key(user_id, key)
            if known is not None:
                return _replay(known, request_hash)
            raise
        result = await self._saga.run(draft, demands)
        if isinstance(result, Confirmed | Waiting):
            bought = [(line.variant_id, line.quantity) for line in draft.lines]
            taking = self._taking.submit((user_id, draft.cart_id, bought))
            taking.add_done_callback(_ignore_failure)  # the order stands, whatever the cart says
        return _answer(result, draft, request_hash)

    async def order(self, user_id: UUID, text: str) -> dict[str, Any]:
        """One order of this customer, as the buyer sees it."""
        try:
            order_id = ids.decode("order", text)
        except ValueError:
            raise _no_order(text) from None
        order = await self._orders.find(order_id, user_id)
        if order is None:
            raise _no_order(text)
        return order_view(order, await self._refunds.of_order(order_id))


def _no_order(text: str) -> Problem:
    return Problem("not_found", f"there is no order {text[:80]} of yours")


def _ignore_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _answer(result: CheckoutResult, draft: OrderDraft, request_hash: bytes) -> Response:
    if isinstance(result, Confirmed):
        return json_response(confirmed_view(draft), status=201)
    if isinstance(result, Waiting):
        return json_response(waiting_view(draft, result), status=202)
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
    elif order.waits_until is not None:
        response = json_response(waiting_view(order, order), status=202)
    else:
        response = json_response(confirmed_view(order), status=201)
    response.headers.update(REPLAYED)
    return response


def add_checkout_routes(app: HotApp) -> None:
    """Checkout's routes, over the CheckoutService at `app.state.checkout`."""

    def service(request: Request) -> CheckoutService:
        return request.app.state.checkout

    async def checkout(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        key = idempotency_key(request, of="order")
        body = await read_body(request, CheckoutRequest)
        return await own.checkout(user_id, key, body)

    add_hot_route(
        app,
        "POST",
        "/api/v1/orders/checkout",
        checkout,
        summary="Check out",
        body=CheckoutRequest,
        answers={201: CheckoutAnswer, 202: WaitingAnswer},
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
            "idempotency_keys_differ",
            "unauthorized",
            "payment_declined",
            "not_found",
            "out_of_stock",
            "cart_empty",
            "coupon_used_up",
            "total_changed",
            "idempotency_key_in_flight",
            "checkout_interrupted",
            "hold_expired",
            "payment_expired",
            "too_large",
            "unsupported_media_type",
            "validation",
            "idempotency_key_reused",
            "limit_exceeded",
            "coupon_refused",
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
