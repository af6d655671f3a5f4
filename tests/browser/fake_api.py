"""A small stand-in for the shop's HTTP API: the pages' tests run against it without a shop.

Answers have the API's exact shapes and remember carts, orders and stock. A test holds the `FakeShop`
and arranges what happens next: `answer_next` queues problems for a path. To look at the pages by
hand: `python -m tests.browser.fake_api 8080`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import math
import sys
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from domain.ids import encode
from domain.owners import is_dedicated
from domain.pictures import draw_product
from serve_apps.pages import add_pages
from tests.browser.fake_catalog import products, search
from tests.browser.fake_checkout import PROVIDER_PAGE, Refusal, Till
from tests.browser.fake_reviews import FakeReviews, add_review_answers

_STARTED = time.monotonic()
POLL_S = 0.01
RETRY_MS = 50
"""After so long a browser takes up a connection that was cut."""


class FakeShop:
    """The state behind the answers."""

    def __init__(self) -> None:
        self.products = products()
        self.reviews = FakeReviews()
        self.carts: dict[str, Counter[str]] = {}
        self.till = Till()
        self.by_key: dict[str, tuple[Any, tuple[int, dict[str, Any]]]] = {}
        self.seen_keys: list[str] = []
        self.refusals: defaultdict[str, deque[Refusal]] = defaultdict(deque)
        self.overview_asked = 0
        self.epochs = dict.fromkeys((f"pool-{n}" for n in range(6)), 3)
        self.dead: set[str] = set()
        self.stopped: set[str] = set()
        self.dedicated: dict[str, list[dict[str, str]]] = {}
        """The pairs of owners of their own; an owner is in `epochs`, too."""
        self.is_down = False
        self.is_idle = False
        """Whether nobody checks out, so that there are no times."""
        self.takes_cards = "simulated"
        """The payment provider, as the shop's page is told."""
        self.listeners = 0
        self.listened = 0
        self.listened_to: list[list[str]] = []
        """The product_ids of each connection so far."""
        self.resumed: list[str] = []
        """The last event ids that connections were resumed from."""
        self.cuts = 0
        """Raised by a test to cut all connections."""
        self._told_by: dict[str, dict[str, int]] = {}
        self._numbers = itertools.count(1)

    def answer_next(self, path: str, refusal: Refusal, *, times: int = 1) -> None:
        """Refuse the next requests whose path ends in `path`."""
        self.refusals[path].extend([refusal] * times)

    def find(self, product_id: str) -> dict[str, Any] | None:
        return next((p for p in self.products if p["product_id"] == product_id), None)

    def variant(self, variant_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        return next(
            (p, v) for p in self.products for v in p["variants"] if v["variant_id"] == variant_id
        )

    async def live(self, found: list[dict[str, Any]], after: str) -> AsyncIterator[str]:
        """Server-sent events with the products' numbers, whenever a test has changed one."""
        self.listeners += 1
        self.listened += 1
        self.listened_to.append([product["product_id"] for product in found])
        if after:
            self.resumed.append(after)
        told, cuts = dict(self._told_by.get(after, {})), self.cuts
        try:
            yield f"retry: {RETRY_MS}\n\n"
            while not self.is_down and self.cuts == cuts:
                for event in self._news(found, told):
                    yield event
                await asyncio.sleep(POLL_S)
        finally:
            self.listeners -= 1

    def _news(self, found: list[dict[str, Any]], told: dict[str, int]) -> list[str]:
        """What changed since `told`, which is brought up to date."""
        fresh = [
            {"product_id": p["product_id"], "variant_id": v["variant_id"], "available": units}
            for p in found
            for v in p["variants"]
            if told.get(v["variant_id"]) != (units := v["available"])
        ]
        is_first = not told
        told.update({one["variant_id"]: one["available"] for one in fresh})
        if not fresh:
            return []
        event_id = f"{next(self._numbers)}-0"
        self._told_by[event_id] = dict(told)
        if is_first:
            return [_event("snapshot", event_id, {"availability": fresh})]
        return [_event("availability", event_id, one) for one in fresh]

    def new_guest(self) -> str:
        token = f"guest-token-{next(self._numbers)}"
        self.carts[token] = Counter()
        return token

    def cart(self, token: str) -> dict[str, Any]:
        items = []
        for variant_id, quantity in self.carts[token].items():
            product, variant = self.variant(variant_id)
            items.append(
                {
                    "product_id": product["product_id"],
                    "variant_id": variant_id,
                    "sku": variant["sku"],
                    "name": product["name"],
                    "quantity": quantity,
                    "price": variant["price"],
                    "subtotal": round(quantity * variant["price"], 2),
                }
            )
        return {
            "cart_id": encode("cart", uuid.uuid5(uuid.NAMESPACE_OID, token)),
            "items": items,
            "total": round(sum(item["subtotal"] for item in items), 2),
            "currency": "USD",
            "item_count": sum(item["quantity"] for item in items),
        }

    @property
    def orders(self) -> dict[str, dict[str, Any]]:
        return self.till.orders

    def place(self, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | Refusal:
        """Check out: what a refusal says, or the status and the order."""
        cart = self.cart(token)
        if not cart["items"]:
            return Refusal(kind="cart_empty", status=409)
        for item in cart["items"]:
            product, variant = self.variant(item["variant_id"])
            if variant["available"] < item["quantity"]:
                short = {"product_id": product["product_id"], "sku": variant["sku"]}
                short |= {"requested": item["quantity"], "available": variant["available"]}
                return Refusal(kind="out_of_stock", status=409, extra=short)
        quote = self.till.quote(cart, body)
        if isinstance(quote, Refusal):
            return quote
        if refusal := self.till.refusal(quote, body):
            return refusal
        for item in cart["items"]:
            self.variant(item["variant_id"])[1]["available"] -= item["quantity"]
        self.carts[token].clear()
        return self.till.record(cart, quote, body)

    def _tell_state(self, owner: dict[str, Any]) -> None:
        name = owner["name"]
        if name in self.stopped:
            for figure in owner.keys() - set(_ABOUT):
                del owner[figure]
        state = "not_alive" if name in self.dead else "alive"
        owner["state"] = "stopped" if name in self.stopped else state
        owner["alive"] = owner["state"] == "alive"
        owner["dedicated_pairs"] = self.dedicated.get(name, [])

    def overview(self) -> dict[str, Any]:
        self.overview_asked += 1
        t = self.overview_asked
        up = round(time.monotonic() - _STARTED, 1) + 4000
        owners = [
            _owner(n, name, epoch, t, up) for n, (name, epoch) in enumerate(self.epochs.items())
        ]
        for owner in owners:
            self._tell_state(owner)
        return {
            "time": datetime.now(UTC).isoformat(),
            "owners": owners,
            "hot_pairs": [
                _hot_pair(n, p, t) for n, p in enumerate(self.products[:9]) if p["variants"]
            ],
            "checkout": {
                "orders_per_s": 1480 + 220 * math.sin(t / 7),
                "confirmed_per_s": 1180 + 200 * math.sin(t / 7),
                "rejected_per_s": 300 + 60 * math.sin(t / 4),
                "p50_ms": None if self.is_idle else 34 + 4 * math.sin(t / 5),
                "p99_ms": None
                if self.is_idle
                else 92 + 25 * math.sin(t / 9) + 12 * math.sin(t / 2),
                "in_flight": 61,
                "confirmed_total": 48_210 + 1_180 * t,
                "rejected_total": 9_034 + 300 * t,
            },
            "replicas": [
                {
                    "app": app,
                    "replica": f"{app}#{tail}",
                    "node": "node-1",
                    "pid": pid,
                    "uptime_s": up,
                }
                for app, tail, pid in (
                    ("checkout", "k3xq", 4121),
                    ("checkout", "p9ab", 4122),
                    ("catalog", "w1ze", 4130),
                    ("fraud", "m7cd", 4138),
                )
            ],
            "outbox": {"pending": 17 + t % 9},
            "recovery": {"pending_orders": 2, "finished_total": 31, "unwound_total": 8},
        }


_ABOUT = ("name", "kind", "node", "pid", "epoch", "dedicated_pairs")


def _event(kind: str, event_id: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\nid: {event_id}\ndata: {json.dumps(data)}\n\n"


def _owner(n: int, name: str, epoch: int, t: int, up: float) -> dict[str, Any]:
    rate = 900 / (n + 1) + 40 * math.sin(t / 3 + n)
    return {
        "name": name,
        "kind": "dedicated" if is_dedicated(name) else "pool",
        "node": f"node-{n % 2 + 1}",
        "pid": 4200 + 7 * n,
        "epoch": epoch,
        "dedicated_pairs": [],
        "uptime_s": up,
        "pairs": 667 - 11 * n,
        "open_reservations": 120 - 15 * n,
        "queue": (t * (n + 3)) % 17,
        "turns_per_s": 210 - 20 * n,
        "turn_size": round(rate / (210 - 20 * n), 1),
        "commit_ms_p50": 1.4 + 0.1 * n,
        "commit_ms_p99": 4.9 + 0.6 * n,
        "reservations_per_s": rate,
    }


def _hot_pair(n: int, product: dict[str, Any], t: int) -> dict[str, Any]:
    left = max(0, 500 - 55 * n - (12 * t if n == 0 else t // 2))
    return {
        "inventory_id": str(uuid.UUID(int=n + 900)),
        "sku": product["variants"][0]["sku"],
        "product_id": product["product_id"],
        "name": product["name"],
        "warehouse": ("ATL-1", "RNO-2", "CMH-1")[n % 3],
        "available": left if n != 6 else 0,
        "reserved": 40 - 4 * n,
        "requests_per_s": 800 / (n + 1) ** 1.3,
    }


def build_app(shop: FakeShop) -> FastAPI:
    """The pages, and the fake answers behind them."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_pages(app, takes_cards=lambda _: shop.takes_cards)
    unauthorized = Refusal(kind="unauthorized", status=401)
    not_found = Refusal(kind="not_found", status=404)

    def token_of(request: Request) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return token if token in shop.carts else None

    @app.middleware("http")
    async def refuse_as_arranged(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if shop.is_down and request.url.path.startswith("/api/"):
            return Response("upstream gone", 502, media_type="text/plain")
        for path, waiting in shop.refusals.items():
            if waiting and request.url.path.endswith(path):
                refusal = waiting.popleft()
                if path == "/checkout":
                    shop.seen_keys.append(request.headers["idempotency-key"])
                if refusal.after_work:
                    await call_next(request)
                return refusal.response()
        return await call_next(request)

    @app.get("/api/v1/products/search")
    async def _(request: Request) -> dict[str, Any]:
        return search(shop.products, dict(request.query_params))

    @app.get("/api/v1/products/{product_id}")
    async def _(product_id: str) -> Any:
        product = shop.find(product_id)
        if product is None:
            return not_found.response()
        available = sum(v["available"] for v in product["variants"])
        return {**product, "in_stock": available > 0, "available": available}

    @app.get("/api/v1/live")
    async def _(request: Request) -> Response:
        asked = request.query_params.getlist("product_id")
        found = [product for product in shop.products if product["product_id"] in asked]
        if not found:
            return not_found.response()
        after = request.headers.get("last-event-id", "")
        return StreamingResponse(shop.live(found, after), media_type="text/event-stream")

    @app.get("/media/{name}")
    async def _(name: str) -> Response:
        product = shop.find(name.removesuffix(".svg"))
        if product is None:
            return not_found.response()
        seed = hashlib.sha256(name.encode()).hexdigest()
        drawing = draw_product(product["name"], product["category"], seed)
        return Response(
            drawing, media_type="image/svg+xml", headers={"Cache-Control": "max-age=60"}
        )

    @app.post("/api/v1/cart/items")
    async def _(request: Request) -> Any:
        if "authorization" in request.headers and token_of(request) is None:
            return unauthorized.response()
        body = await request.json()
        known = token_of(request)
        token = known or shop.new_guest()
        shop.carts[token][body["variant_id"]] += body["quantity"]
        return shop.cart(token) | ({} if known else {"token": token})

    @app.get("/api/v1/cart")
    async def _(request: Request) -> Any:
        token = token_of(request)
        return shop.cart(token) if token else unauthorized.response()

    @app.patch("/api/v1/cart/items/{variant_id}")
    async def _(request: Request, variant_id: str) -> Any:
        token = token_of(request)
        if token is None:
            return unauthorized.response()
        shop.carts[token][variant_id] = (await request.json())["quantity"]
        return shop.cart(token)

    @app.delete("/api/v1/cart/items/{variant_id}")
    async def _(request: Request, variant_id: str) -> Any:
        token = token_of(request)
        if token is None:
            return unauthorized.response()
        del shop.carts[token][variant_id]
        return shop.cart(token)

    @app.post("/api/v1/orders/checkout")
    async def _(request: Request) -> Any:
        token, key = token_of(request), request.headers["idempotency-key"]
        shop.seen_keys.append(key)
        if token is None:
            return unauthorized.response()
        body = await request.json()
        if key in shop.by_key:
            first_body, first = shop.by_key[key]
            if first_body != body:
                return Refusal(kind="idempotency_key_reused", status=422).response()
            return JSONResponse(first[1], first[0], headers={"Idempotent-Replayed": "true"})
        placed = shop.place(token, body)
        if isinstance(placed, Refusal):
            return placed.response()
        shop.by_key[key] = (body, placed)
        return JSONResponse(placed[1], placed[0])

    @app.get("/api/v1/orders/payment-methods")
    async def _(request: Request) -> Any:
        return {"methods": shop.till.methods} if token_of(request) else unauthorized.response()

    @app.get("/api/v1/orders/{order_id}")
    async def _(request: Request, order_id: str) -> Any:
        if token_of(request) is None:
            return unauthorized.response()
        if not shop.till.has_resume:  # then it is found by and by
            shop.till.settle(order_id)
        order = shop.orders.get(order_id)
        return order or not_found.response()

    add_paying(app, shop, token_of)

    @app.get("/api/v1/ops/overview")
    async def _() -> dict[str, Any]:
        return shop.overview()

    add_review_answers(app, shop.reviews)
    return app


def add_paying(app: FastAPI, shop: FakeShop, token_of: Callable[[Request], str | None]) -> None:
    """Quotes, credit, and the way to the provider's page and back."""
    till = shop.till

    def told(answer: dict[str, Any] | Refusal) -> Any:
        return answer.response() if isinstance(answer, Refusal) else answer

    @app.post("/api/v1/orders/quote")
    async def _(request: Request) -> Any:
        token = token_of(request)
        if token is None:
            return Refusal(kind="unauthorized", status=401).response()
        return told(till.quote(shop.cart(token), await request.json()))

    @app.post("/api/v1/orders/{order_id}/resume")
    async def _(order_id: str) -> Any:
        if not till.has_resume:
            return Refusal(kind="not_found", status=404).response()
        till.resumed += 1
        till.settle(order_id)
        return shop.orders.get(order_id) or Refusal(kind="not_found", status=404).response()

    @app.get("/api/v1/credit")
    async def _() -> Any:
        return till.credit()

    @app.post("/api/v1/gift-cards/balance")
    async def _(request: Request) -> Any:
        return told(till.balance((await request.json())["code"]))

    @app.get("/simulated-provider/{order_id}")
    async def _(request: Request) -> Response:
        return HTMLResponse(PROVIDER_PAGE.format(path=request.url.path))

    @app.post("/simulated-provider/{order_id}/{what}")
    async def _(order_id: str, what: str) -> Response:
        return RedirectResponse(till.agree(order_id, is_agreed=what == "approve"), 303)


if __name__ == "__main__":
    uvicorn.run(build_app(FakeShop()), port=int(sys.argv[1]), log_level="warning", ws="none")
