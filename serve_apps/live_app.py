"""`/api/v1/live`: availability as it changes, as server-sent events and over a WebSocket.

Connections are cut whenever the proxy in front reloads; both kinds resume from the last event id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import FastAPI, Header, Query
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from domain.ids import decode
from serve_apps.http import Problem, field_problem, problem_answers, problem_response
from serve_apps.live_feed import Ending, Event, LiveFeed, Subscription
from storage.availability_stream import StreamId

LIVE_PATH = "/api/v1/live"
FILTERS_MAX = 100
"""Products and variants that one connection may ask for."""
SEND_TIMEOUT_S = 10.0
"""A listener whose connection takes nothing for so long is let go."""
RECONNECT_MS = 1_000
RECONNECT_SPREAD_MS = 2_000
"""After a cut everybody comes back; not all in the same moment."""
_SPREAD_STEP = 617  # coprime to the spread: neighbours get times far apart

_CLOSE_REFUSED = 1008
_CLOSE_CODES = {
    Ending.SLOW: 1013,
    Ending.AWAY: 1013,
    Ending.OLD: 1012,
    Ending.CLOSING: 1001,
}
_EXAMPLE = """: doorbuster
retry: 1617

event: snapshot
id: 1764000000000-0
data: {"availability":[{"product_id":"prod_…","variant_id":"var_…","sku":"HOT-1","available":12}]}

event: availability
id: 1764000000231-0
data: {"product_id":"prod_…","variant_id":"var_…","sku":"HOT-1","available":11}

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one listener asks for."""

    products: tuple[UUID, ...]
    variants: tuple[UUID, ...]
    after: StreamId | None


def _asked(
    products: Sequence[str], variants: Sequence[str], last_event_id: str | None, field: str
) -> _Asked:
    """The request's parameters; raises Problem naming the one that is wrong."""
    if len(products) + len(variants) > FILTERS_MAX:
        raise field_problem("product_id", f"at most {FILTERS_MAX} products and variants at once")
    after: StreamId | None = None
    try:
        after = StreamId.parse(last_event_id) if last_event_id else None
    except ValueError as error:
        raise field_problem(field, str(error)) from None
    return _Asked(
        products=_ids("product_id", "prod", products),
        variants=_ids("variant_id", "var", variants),
        after=after,
    )


def _ids(field: str, prefix: str, texts: Sequence[str]) -> tuple[UUID, ...]:
    try:
        return tuple(decode(prefix, text) for text in texts)
    except ValueError as error:
        raise field_problem(field, str(error)) from None


def add_live_routes(app: FastAPI, feed_of: Callable[[HTTPConnection], LiveFeed]) -> None:
    """Both kinds of connection, under one path."""

    @app.get(
        LIVE_PATH,
        summary="Availability as it changes (server-sent events; a WebSocket on the same path)",
        description=(
            "Events: `availability` is the newest number of a variant over all warehouses;"
            " `snapshot` has all that was asked for and comes first, unless the last event id is"
            " known and recent; `missed` says to a listener without filters that it must read"
            " again what it shows. Comments are heartbeats."
        ),
        response_class=Response,
        responses={
            200: {
                "description": "Events, until one side hangs up",
                "content": {
                    "text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}
                },
            },
            **problem_answers("validation", "not_found", "busy"),
        },
        tags=["live"],
    )
    async def live_events(
        request: Request,
        *,
        product_id: Annotated[list[str], Query(description="Repeat for more")] = [],  # noqa: B006
        variant_id: Annotated[list[str], Query(description="Repeat for more")] = [],  # noqa: B006
        last_event_id: Annotated[str, Query(description="Where to resume")] = "",
        resume_header: Annotated[
            str, Header(alias="Last-Event-ID", description="The same; browsers send it")
        ] = "",
    ) -> Response:
        # A browser that reconnects repeats the address, and says in the header what came since.
        field = "Last-Event-ID" if resume_header else "last_event_id"
        asked = _asked(product_id, variant_id, resume_header or last_event_id, field)
        return _EventStream(feed_of(request), asked)

    @app.websocket(LIVE_PATH)
    async def live_socket(websocket: WebSocket) -> None:
        await _serve_socket(websocket, feed_of(websocket))

    del live_events, live_socket


class _EventStream(Response):
    """Server-sent events for as long as both sides like."""

    def __init__(self, feed: LiveFeed, asked: _Asked) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        # Its length is not known, and the base class has put that of an empty body.
        del self.headers["content-length"]
        self._feed = feed
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        asked = self._asked
        # Subscribed only here, so that a request that ends before leaves no listener behind.
        async with self._feed.subscribe(asked.products, asked.variants, asked.after) as listener:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _first_of(self._write(listener, send), _http_gone(receive))

    async def _write(self, listener: Subscription, send: Send) -> None:
        async def put(text: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send({"type": "http.response.body", "body": text, "more_body": more})

        try:
            await put(b": doorbuster\nretry: %d\n\n" % _retry_ms(listener))
            while listener.ending is None:
                events = await listener.take()
                if listener.ending is None:
                    await put(b"".join(map(_frame, events)) or b": still here\n\n")
            await put(f": {listener.ending}\n\n".encode(), more=False)
        except TimeoutError:
            # Nothing more can be said to it; the end of the request closes the connection.
            listener.end(Ending.SLOW)


def _retry_ms(listener: Subscription) -> int:
    return RECONNECT_MS + listener.number * _SPREAD_STEP % RECONNECT_SPREAD_MS


def _frame(event: Event) -> bytes:
    # The data is JSON on one line.
    return b"event: %b\nid: %b\ndata: %b\n\n" % (
        event.kind.encode(),
        str(event.id).encode(),
        event.data,
    )


async def _http_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*ways: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, by return or exception; the others are cancelled."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _serve_socket(websocket: WebSocket, feed: LiveFeed) -> None:
    query = websocket.query_params
    try:
        asked = _asked(
            query.getlist("product_id"),
            query.getlist("variant_id"),
            query.get("last_event_id"),
            "last_event_id",
        )
        async with feed.subscribe(asked.products, asked.variants, asked.after) as listener:
            await websocket.accept()
            try:
                await _first_of(_write_messages(listener, websocket), _socket_gone(websocket))
            except (TimeoutError, WebSocketDisconnect):
                return  # it takes nothing any more, or has gone
    except Problem as problem:
        await _refuse(websocket, problem)


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(problem_response(problem))
    else:
        await websocket.close(_CLOSE_REFUSED, problem.detail[:120])


async def _write_messages(listener: Subscription, websocket: WebSocket) -> None:
    while listener.ending is None:
        # Silence needs no message: the server's pings keep a socket open.
        for event in await listener.take():
            if listener.ending is None:
                await _in_time(websocket.send_text(_message(event)))
    await _in_time(websocket.close(_CLOSE_CODES[listener.ending], listener.ending))


async def _in_time(sending: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await sending


def _message(event: Event) -> str:
    document = {"event": event.kind, "id": str(event.id), "data": orjson.Fragment(event.data)}
    return orjson.dumps(document).decode()


async def _socket_gone(websocket: WebSocket) -> None:
    message = await websocket.receive()
    if message["type"] != "websocket.disconnect":
        await websocket.close(_CLOSE_REFUSED, "nothing can be sent here; ask in the address")
