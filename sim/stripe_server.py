"""The simulated provider behind HTTP, in Stripe's words: what a gateway for Stripe talks to.

An ASGI application over the books of `sim.stripe_books`. It answers the part of the API that a
checkout needs, and goes wrong by plan (`sim.provider_faults`). `/pay/…` are the pages that buyers
are sent to, `/simulator/…` are levers for tests: what a buyer or a bank would do.
docs/payments-simulator.md describes all of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from actors.coalescer import Coalescer, Overloaded
from domain.ports import Unavailable
from sim import provider_books as books
from sim.provider_faults import SILENT, FaultKind, FaultPlan
from sim.provider_pages import buyer_pages
from sim.provider_rules import STEPS
from sim.stripe_books import PAGE_MAX, Reply, StripeBooks
from sim.stripe_objects import (
    API_VERSION,
    Form,
    Intent,
    StripeRefusal,
    charge_object,
    intent_object,
    parse_form,
)
from sim.stripe_steps import Request, expanded, intent_named, missing

BATCH_MAX = 128
BATCHES_IN_FLIGHT_MAX = 2
ANOTHER_FROM = 16
QUEUE_MAX = 5_000
BODY_BYTES_MAX = 64 * 1024
HANG_S = 120.0
"""How long a silent fault keeps a connection: longer than any client should wait."""
KEY_LENGTH_MAX = 255

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_INTENT_STEP = re.compile(r"/v1/payment_intents/([^/]+)/(confirm|capture|cancel)")
_METHOD_STEP = re.compile(r"/v1/payment_methods/([^/]+)/(attach|detach)")
_ONE = re.compile(r"/v1/(payment_intents|charges|customers|payment_methods)/([^/]+)")
_POSTS = {
    "/v1/payment_intents": "create",
    "/v1/refunds": "refund",
    "/v1/customers": "create_customer",
}
_QUERY = re.compile(r"metadata\[(['\"])(\w+)\1\]\s*:\s*(['\"])((?:[^'\"\\]|\\.)*)\3")
# Faults that Stripe answers at once: (status, type, message, code). Nothing happens then.
_ANSWERS_INSTEAD: Mapping[FaultKind | None, tuple[int, str, str, str | None]] = {
    "in_flight": (
        409,
        "idempotency_error",
        "There is currently another in-progress request using this idempotency key.",
        "idempotency_key_in_use",
    ),
    "rate_limited": (429, "invalid_request_error", "Too many requests.", "rate_limit"),
    "error_before": (500, "api_error", "An unknown error occurred.", None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One HTTP request to the API."""

    method: str
    path: str
    form: Form
    key: str | None
    body: bytes


class StripeServer:
    """The ASGI application. `search_lag` is how far searches are behind; `wake` is called after
    each batch that may have left events to send."""

    def __init__(
        self,
        stripe_books: StripeBooks,
        pool: Any,
        *,
        faults: FaultPlan | None = None,
        search_lag: timedelta = timedelta(0),
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._books = stripe_books
        self._pool = pool
        self.faults = faults or FaultPlan()
        self._search_lag = search_lag
        self._wake = wake
        self._in_flight: set[str] = set()
        self._writing: Coalescer[tuple[Request, bool], Reply] = Coalescer(
            self._carry_out,
            batch_max=BATCH_MAX,
            queue_max=QUEUE_MAX,
            in_flight_max=BATCHES_IN_FLIGHT_MAX,
            another_from=ANOTHER_FROM,
        )
        self._reading: Coalescer[str, tuple[Intent | None]] = Coalescer(
            self._read, batch_max=BATCH_MAX, queue_max=QUEUE_MAX
        )
        self._pages = Starlette(
            routes=[
                Mount("/pay", routes=buyer_pages(self)),
                Route("/simulator/charges/{name}/{step}", self._lever, methods=["POST"]),
                Route("/simulator/health", self._health),
            ]
        )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._pages(scope, receive, send)
            return
        headers = {name.decode("latin-1"): one.decode("latin-1") for name, one in scope["headers"]}
        try:
            asked = await _read_request(scope, headers, receive)
            _check_secret(headers.get("authorization", ""))
            reply = await self._with_trouble(asked, send)
        except StripeRefusal as refusal:
            reply = _reply(refusal.status, refusal.body)
        except (Overloaded, *books.UNREACHABLE) as error:
            reply = _error(500, "api_error", f"The provider is not well: {type(error).__name__}.")
        if reply is not None:
            await _answer(send, reply, headers)

    async def page_of(self, name: str) -> books.PageOfCharge | None:
        """What the buyer's page shows."""
        try:
            return await books.page_of(self._pool, name)
        except books.UNREACHABLE as error:
            raise Unavailable(f"the provider's books: {error!r}") from error

    async def approve(self, name: str) -> Form | None:
        """The buyer of a charge agrees; `name` is our id or the intent's."""
        return await self.outside(name, "approve")

    async def deny(self, name: str) -> Form | None:
        """The buyer does not."""
        return await self.outside(name, "deny")

    async def outside(self, name: str, step: str) -> Form | None:
        """What a buyer or a bank does; the intent afterwards, None if there is none."""
        try:
            intent_id = await self._books.named(name)
            if intent_id is None:
                return None
            request = Request(operation="outside", form={"step": step}, target=intent_id)
            return orjson.loads((await self._writing.submit((request, False))).body)
        except (Overloaded, *books.UNREACHABLE) as error:
            raise Unavailable(f"the provider's books: {error!r}") from error

    async def settle_due(self, asked_before: Any) -> int:
        """Settle the transfers that were asked for before that; how many."""
        due = await self._books.due_transfers(asked_before)
        for intent_id in due:
            request = Request(operation="outside", form={"step": "settle"}, target=intent_id)
            await self._writing.submit((request, False))
        return len(due)

    async def _with_trouble(self, asked: _Asked, send: Send) -> Reply | None:
        """The answer, unless something is to go wrong on the way; None: none is sent."""
        operation, target = _operation(asked)
        trouble = self.faults.meet(operation, asked.key or target or asked.path)
        if trouble.latency_s:
            await asyncio.sleep(trouble.latency_s)
        fault = trouble.fault
        if fault in _ANSWERS_INSTEAD:
            return _error(*_ANSWERS_INSTEAD[fault])
        if fault in ("refused", "silent_before"):
            return await _no_answer(send, fault)
        reply = await self._do(asked, operation, target, keeps_error=fault == "kept_error")
        if fault == "silent_after":
            return await _no_answer(send, fault)
        return (
            _error(500, "api_error", "An unknown error occurred.")
            if fault == "error_after"
            else reply
        )

    async def _do(self, asked: _Asked, operation: str, target: str, *, keeps_error: bool) -> Reply:
        if asked.method == "GET":
            return _reply(200, await self._look_up(operation, target, asked))
        key = asked.key
        if key is not None:
            if key in self._in_flight:
                return _error(*_ANSWERS_INSTEAD["in_flight"])
            self._in_flight.add(key)
        digest = hashlib.sha256(f"{asked.path}\n".encode() + asked.body).digest()
        request = Request(
            operation=operation, form=asked.form, target=target, key=key, request_hash=digest
        )
        try:
            return await self._writing.submit((request, keeps_error))
        finally:
            if key is not None:
                self._in_flight.discard(key)

    async def _look_up(self, operation: str, target: str, asked: _Asked) -> Form:
        what, _, kind = operation.partition(" ")
        if what == "search":
            return await self._search(kind, asked.form)
        if what == "list":
            return await self._list(kind, asked.form)
        found: Form | None
        if kind == "payment_intents":
            intent = await self._intent(target, "intent")
            found = intent_object(intent, self._books.pages_url, expanded(asked.form))
        elif kind == "charges":
            found = charge_object(await self._intent(intent_named(target), "id"))
        elif kind == "customers":
            found = await self._books.customer(target)
        else:
            found = await self._books.method(target)
        if found is None:
            raise missing(kind.removesuffix("s"), target, "id")
        return found

    async def _search(self, kind: str, form: Form) -> Form:
        name, value = _searched(form)
        if kind == "customers":
            return await self._books.search_customers(name, value, self._search_lag)
        if name != "transaction_id":
            raise StripeRefusal(400, "Only transaction_id is indexed here.", param="query")
        return await self._books.search_intents(value, self._search_lag, expanded(form))

    async def _list(self, kind: str, form: Form) -> Form:
        if kind == "payment_methods":
            return await self._books.methods_of(str(form.get("customer")))
        name = str(form.get("payment_intent") or form.get("charge") or "")
        intent = await self._intent(intent_named(name), "payment_intent")
        return await self._books.refunds_of(intent, form.get("starting_after"), _limit(form))

    async def _intent(self, intent_id: str, param: str) -> Intent:
        (intent,) = await self._reading.submit(intent_id)
        if intent is None:
            raise missing("payment_intent", intent_id, param)
        return intent

    async def _read(self, ids: list[str]) -> list[tuple[Intent | None]]:
        return [(one,) for one in await self._books.intents(ids)]

    async def _carry_out(self, requests: list[tuple[Request, bool]]) -> list[Reply]:
        replies = await self._books.carry_out(requests)
        self._wake()
        return replies

    async def _lever(self, request: HttpRequest) -> Response:
        name, step = request.path_params["name"], request.path_params["step"]
        if step not in STEPS or step in ("capture", "void", "cancel"):
            return JSONResponse({"error": f"there is no lever {step}"}, status_code=404)
        try:
            intent = await self.outside(name, step)
        except Unavailable as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        if intent is None:
            return JSONResponse({"error": f"there is no charge {name}"}, status_code=404)
        return JSONResponse(intent)

    async def _health(self, request: HttpRequest) -> Response:
        del request
        return JSONResponse({"ok": True, "faults": self.faults.met})


async def _read_request(scope: Any, headers: dict[str, str], receive: Receive) -> _Asked:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise StripeRefusal(413, "The request is too large.")
        if not message.get("more_body"):
            break
    key = headers.get("idempotency-key")
    if key is not None and len(key) > KEY_LENGTH_MAX:
        raise StripeRefusal(400, f"Idempotency keys have at most {KEY_LENGTH_MAX} characters.")
    said = scope["query_string"] if scope["method"] == "GET" else body
    try:
        form = parse_form(said.decode())
    except UnicodeDecodeError as error:
        raise StripeRefusal(400, "The request is no UTF-8.") from error
    return _Asked(
        method=scope["method"], path=scope["path"].rstrip("/"), form=form, key=key, body=body
    )


def _check_secret(said: str) -> None:
    """`Bearer sk_test_…`, or the same as the user of basic authentication."""
    scheme, _, secret = said.partition(" ")
    if scheme.lower() == "basic":
        try:
            secret = base64.b64decode(secret).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            secret = ""
    if not secret.startswith("sk_test_"):
        raise StripeRefusal(401, "Invalid API Key provided: this server takes sk_test_… only.")


def _operation(asked: _Asked) -> tuple[str, str]:
    """(what is asked for, the id it is about). Raises StripeRefusal for anything unknown."""
    path = asked.path
    if asked.method == "POST":
        if path in _POSTS:
            return _POSTS[path], ""
        if found := _INTENT_STEP.fullmatch(path) or _METHOD_STEP.fullmatch(path):
            return found[2], found[1]
    elif asked.method == "GET":
        if path in ("/v1/payment_intents/search", "/v1/customers/search"):
            return f"search {path.split('/')[2]}", ""
        if path == "/v1/refunds":
            return "list refunds", ""
        if path == "/v1/payment_methods":
            return "list payment_methods", ""
        if found := _ONE.fullmatch(path):
            return f"retrieve {found[1]}", found[2]
    raise StripeRefusal(404, f"Unrecognized request URL ({asked.method}: {path}).")


def _searched(form: Form) -> tuple[str, str]:
    """(metadata's name, value) of `metadata['name']:'value'`."""
    found = _QUERY.fullmatch(str(form.get("query", "")).strip())
    if found is None:
        raise StripeRefusal(400, "Only metadata['name']:'value' is understood.", param="query")
    return found[2], re.sub(r"\\(.)", r"\1", found[4])


def _limit(form: Form) -> int:
    said = str(form.get("limit", "10"))
    if not said.isdigit() or not 1 <= int(said) <= PAGE_MAX:
        raise StripeRefusal(400, f"Invalid integer: {said}", param="limit")
    return int(said)


def _reply(status: int, body: Form) -> Reply:
    return Reply(status=status, body=orjson.dumps(body))


def _error(status: int, type: str, message: str, code: str | None = None) -> Reply:
    return _reply(status, StripeRefusal(status, message, type=type, code=code).body)


async def _no_answer(send: Send, fault: FaultKind) -> None:
    """Close the connection without an answer; a silent one only after a long while."""
    if fault in SILENT:
        await asyncio.sleep(HANG_S)
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("cannot hang up: run the provider's server under uvicorn")
    transport.abort()


async def _answer(send: Send, reply: Reply, asked: dict[str, str]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        (b"request-id", f"req_{hashlib.sha256(reply.body).hexdigest()[:14]}".encode()),
        (b"stripe-version", asked.get("stripe-version", API_VERSION).encode("latin-1")),
    ]
    if key := asked.get("idempotency-key"):
        headers.append((b"idempotency-key", key.encode("latin-1")))
    if reply.replayed:
        headers.append((b"idempotent-replayed", b"true"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
