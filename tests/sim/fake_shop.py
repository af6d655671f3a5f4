"""A tiny shop over real HTTP in this process, in the API's shapes, that misbehaves on request."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

HOT = "prod_hot"
HOT_VARIANT = "var_hot"


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer; with `hang_up` the connection is closed instead, before or after doing the work."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    close_after: bool = False
    raw: bytes | None = None


Fault = Callable[[Heard, Reply], Reply]
"""Sees a request and the honest reply (the work is done by then); returns what is sent."""


def problem(status: int, kind: str, **extra: object) -> Reply:
    """A refusal as problem+json."""
    headers = {"Content-Type": "application/problem+json"}
    if "retry_after" in extra:
        headers["Retry-After"] = str(extra["retry_after"])
    document = {"type": f"/problems/{kind}", "title": kind, "status": status, "detail": kind}
    return Reply(status=status, body=orjson.dumps(document | extra), headers=headers)


class FakeShop:
    """Serves on a free port while entered as an async context manager.

    `before` are queued faults that replace the work of the next matching request; `after` are
    queued faults that spoil its answer once the work is done. Both map a path prefix to a queue.
    """

    def __init__(self, *, hot_stock: int = 10, products: int = 12) -> None:
        self.stock = {HOT_VARIANT: hot_stock}
        self.products = {HOT: "Turbo Blender"}
        for number in range(products):
            self.products[f"prod_{number}"] = f"Quiet Kettle {number}"
            self.stock[f"var_{number}"] = 1_000_000
        self.heard: list[Heard] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.sold: Counter[str] = Counter()
        self.connections = 0
        self.before: dict[str, deque[Reply]] = {}
        self.after: dict[str, deque[Reply]] = {}
        self.gate: asyncio.Event | None = None
        """While set to an event, every answer waits for it."""
        self._carts: dict[str, dict[str, int]] = {}
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> FakeShop:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def heard_at(self, path: str) -> list[Heard]:
        """Requests whose path starts so, in order."""
        return [heard for heard in self.heard if heard.path.startswith(path)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self._talk(reader, writer, self.connections)
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while True:
            heard = await _read(reader, connection)
            self.heard.append(heard)
            reply = self._planned(self.before, heard) or self._work(heard)
            reply = self._planned(self.after, heard) or reply
            if self.gate is not None:
                await self.gate.wait()
            if reply.hang_up:
                return
            writer.write(reply.raw if reply.raw is not None else _encode(reply))
            await writer.drain()
            if reply.close_after:
                return

    @staticmethod
    def _planned(faults: dict[str, deque[Reply]], heard: Heard) -> Reply | None:
        for prefix, queue in faults.items():
            if heard.path.startswith(prefix) and queue:
                return queue.popleft()
        return None

    def _work(self, heard: Heard) -> Reply:
        path = urlsplit(heard.path).path
        if path == "/api/v1/products/search":
            return _json(self._search(heard.path))
        if path.startswith("/api/v1/products/"):
            product_id = path.rpartition("/")[2]
            if product_id not in self.products:
                return problem(404, "not_found")
            return _json(self._page(product_id))
        if path == "/api/v1/cart/items":
            return self._add(heard)
        if path == "/api/v1/orders/checkout":
            return self._checkout(heard)
        return problem(404, "not_found")

    def _search(self, target: str) -> dict[str, object]:
        asked = parse_qs(urlsplit(target).query)
        words = asked.get("q", [""])[0].lower()
        found = [pid for pid, name in self.products.items() if words in name.lower()]
        return {
            "results": [
                {"product_id": pid, "name": self.products[pid], "in_stock": True} for pid in found
            ],
            "total_results": len(found),
            "facets": {"categories": [{"name": "Kitchen", "count": len(found)}]},
        }

    def _page(self, product_id: str) -> dict[str, object]:
        variant_id = product_id.replace("prod_", "var_")
        variant = {"variant_id": variant_id, "available": self.stock[variant_id]}
        return {
            "product_id": product_id,
            "name": self.products[product_id],
            "available": self.stock[variant_id],
            "variants": [variant],
        }

    def _add(self, heard: Heard) -> Reply:
        asked = orjson.loads(heard.body)
        token = heard.headers.get("authorization", "").removeprefix("Bearer ")
        fresh = not token
        if fresh:
            token = f"token_{next(self._numbers)}"
            self._carts[token] = {}
        lines = self._carts[token]
        variant_id = asked["variant_id"]
        lines[variant_id] = lines.get(variant_id, 0) + asked["quantity"]
        cart: dict[str, object] = {
            "cart_id": f"cart_{token}",
            "items": [
                {"product_id": vid.replace("var_", "prod_"), "variant_id": vid, "quantity": units}
                for vid, units in lines.items()
            ],
        }
        if fresh:
            cart["token"] = token
        return _json(cart)

    def _checkout(self, heard: Heard) -> Reply:
        key = heard.headers.get("idempotency-key")
        if key is None:
            return problem(400, "idempotency_key_missing")
        if key in self.orders:
            return Reply(
                status=201,
                body=orjson.dumps(self.orders[key]),
                headers={"Content-Type": "application/json", "Idempotent-Replayed": "true"},
            )
        asked = orjson.loads(heard.body)
        if asked["payment_method"]["card_id"] == "card_declined":
            return problem(402, "payment_declined", decline_code="card_declined")
        lines = self._carts[heard.headers["authorization"].removeprefix("Bearer ")]
        short = [vid for vid, units in lines.items() if self.stock[vid] < units]
        if short:
            return problem(409, "out_of_stock", sku=short[0], available=self.stock[short[0]])
        for variant_id, units in lines.items():
            self.stock[variant_id] -= units
            self.sold[variant_id] += units
        self.orders[key] = {"order_id": f"order_{next(self._numbers)}", "status": "confirmed"}
        return Reply(status=201, body=orjson.dumps(self.orders[key]))


async def _read(reader: asyncio.StreamReader, connection: int) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Heard(method=method, path=path, headers=headers, body=body, connection=connection)


def _json(document: object) -> Reply:
    return Reply(body=orjson.dumps(document), headers={"Content-Type": "application/json"})


def _encode(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(reply.body)}"]
    lines += (f"{name}: {value}" for name, value in reply.headers.items())
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + reply.body
