"""A cheap HTTP/1.1 keep-alive client, for load that shares its cores with the shop it loads.

A request is written as bytes made ahead and answered through a callback; one connection carries
one request at a time. What goes wrong on the way is a named result, never an exception. Runs on
any asyncio loop, at full speed on uvloop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from sim.http_messages import (
    FailureKind,
    Outcome,
    Prepared,
    Request,
    Response,
    TransportFailure,
    prepare,
)

SWEEP_S = 0.05
"""How often requests past their deadline are looked for; one timer for all of them."""

RECONNECT_PAUSE_S_FIRST = 0.02
RECONNECT_PAUSE_S_MAX = 0.5
"""Pause before the next attempt after a refused connection; doubles from the first to the max."""

BODY_BYTES_MAX = 16 * 1024 * 1024
"""An answer longer than this is given up as malformed."""

_KEPT_HEADERS = {
    name.encode(): name
    for name in (
        "content-type",
        "content-length",
        "transfer-encoding",
        "retry-after",
        "idempotent-replayed",
    )
}
_NO_EXCHANGE_STATUS = 0
_FIRST_FINAL_STATUS = 200


class _Exchange(NamedTuple):
    """One request on its way; `deadline` on the loop's clock, seconds."""

    prepared: Prepared
    on_outcome: Callable[[Outcome], None]
    deadline: float
    retried: bool


class _Connection(asyncio.Protocol):
    """One TCP connection; at most one request on it."""

    __slots__ = (
        "_body_bytes",
        "_bytes_seen",
        "_chunks",
        "_client",
        "_complete",
        "_headers",
        "_headers_complete",
        "_keep_alive",
        "_parser",
        "_served",
        "_status",
        "exchange",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._parser = httptools.HttpResponseParser(self)
        self._served = False
        self.exchange: _Exchange | None = None
        self._reset()

    def _reset(self) -> None:
        self._status = _NO_EXCHANGE_STATUS
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._bytes_seen = False
        self._headers_complete = False
        self._complete = False
        self._keep_alive = True

    def begin(self, exchange: _Exchange) -> None:
        """Writes the request; its callback gets exactly one outcome, later."""
        self.exchange = exchange
        self.transport.write(exchange.prepared.payload)

    def give_up(self, kind: FailureKind, detail: str) -> None:
        """Fails what is under way and drops the connection, whose next bytes mean nothing."""
        exchange, self.exchange = self.exchange, None
        self.transport.abort()
        if exchange is not None:
            exchange.on_outcome(TransportFailure(kind, detail))

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._client.adopt(self)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            self._client.retire(self)
            self.transport.abort()
            return
        self._bytes_seen = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self.give_up(FailureKind.MALFORMED, f"the answer is not HTTP/1.1: {error}")
                return
            self._keep_alive = False
        if self._complete:
            self._finish()
        elif self._body_bytes > BODY_BYTES_MAX:
            self.give_up(FailureKind.MALFORMED, f"the answer is over {BODY_BYTES_MAX} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            pass
        elif self._ends_with_connection():
            exchange.on_outcome(Response(self._status, self._headers, b"".join(self._chunks)))
        elif self._may_retry(exchange):
            self._client.reopen(exchange._replace(retried=True))
        else:
            where = "within" if self._bytes_seen else "before"
            exchange.on_outcome(
                TransportFailure(
                    FailureKind.CLOSED, f"the server hung up {where} its answer ({exc or 'EOF'})"
                )
            )
        self._client.open_for_waiting()

    def _ends_with_connection(self) -> bool:
        """An answer without a length of its own is whole once the server hangs up (RFC 9112, 6.3)."""
        return (
            self._headers_complete
            and self._status >= _FIRST_FINAL_STATUS
            and "content-length" not in self._headers
            and "transfer-encoding" not in self._headers
        )

    def _may_retry(self, exchange: _Exchange) -> bool:
        """A server may close an idle connection just as it is used again (RFC 9112, 9.3.1)."""
        return (
            self._served
            and not self._bytes_seen
            and not exchange.retried
            and exchange.prepared.repeatable
        )

    def _finish(self) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        response = Response(self._status, self._headers, body)
        if self._keep_alive:
            self._served = True
            self._reset()
            self._client.release(self)
        else:
            self.transport.close()
        exchange.on_outcome(response)

    # the parser's callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        kept = _KEPT_HEADERS.get(name) or _KEPT_HEADERS.get(name.lower())
        if kept is not None:
            self._headers[kept] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._headers_complete = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._status < _FIRST_FINAL_STATUS:
            self._reset()
        else:
            self._complete = True


class HttpClient:
    """A bounded pool of keep-alive connections to one origin. One event loop owns it.

    `base_url` is `http://host:port` or `https://…`; requests beyond `connections_max` wait in line,
    at most `waiting_max` of them; `timeout_s` covers waiting, connecting and the whole answer.
    Use it as an async context manager or call `close`.
    """

    def __init__(
        self,
        *,
        base_url: str,
        connections_max: int,
        timeout_s: float = 10.0,
        waiting_max: int = 100_000,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an address of the form http://host:port")
        if connections_max < 1 or timeout_s <= 0:
            raise ValueError("a client needs at least one connection and a timeout above zero")
        self._hostname = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self.host = parts.netloc.rpartition("@")[2]
        self._connections_max = connections_max
        self._timeout_s = timeout_s
        self._waiting_max = waiting_max
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._connections: set[_Connection] = set()
        self._connecting: dict[asyncio.Task[None], _Exchange] = {}
        self._slots_taken = 0
        self._waiting: deque[_Exchange] = deque()
        self._reconnect_pause_s = 0.0
        self._closed = False
        self._emptied = asyncio.Event()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def prepare(self, request: Request) -> Prepared:
        """The bytes of `request` for this client's origin."""
        return prepare(request, host=self.host)

    async def send(self, request: Request | Prepared) -> Outcome:
        """Sends one request and waits for its outcome."""
        prepared = request if isinstance(request, Prepared) else self.prepare(request)
        answer: asyncio.Future[Outcome] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.submit(prepared, settle)
        return await answer

    def submit(self, prepared: Prepared, on_outcome: Callable[[Outcome], None]) -> None:
        """Sends one request; `on_outcome` is called exactly once, never from within this call."""
        exchange = _Exchange(prepared, on_outcome, self._loop.time() + self._timeout_s, False)
        if self._idle:
            self._idle.pop().begin(exchange)
        elif self._closed:
            self._refuse(exchange, FailureKind.SHUT_DOWN, "the client is closed")
        elif self._slots_taken < self._connections_max:
            self.reopen(exchange)
        elif len(self._waiting) < self._waiting_max:
            self._waiting.append(exchange)
        else:
            self._refuse(exchange, FailureKind.QUEUE_FULL, f"{self._waiting_max} requests wait")

    async def warm_up(self) -> int:
        """Opens all connections ahead of a measurement; returns how many the server took."""
        wanted = self._connections_max - self._slots_taken
        self._slots_taken += wanted
        done = await asyncio.gather(
            *(self._connect() for _ in range(wanted)), return_exceptions=True
        )
        opened = [connection for connection in done if isinstance(connection, _Connection)]
        self._slots_taken -= wanted - len(opened)
        for connection in opened:
            if not connection.transport.is_closing():
                self.release(connection)
        return len(opened)

    async def close(self) -> None:
        """Drops every connection; what is under way or waiting is answered with `shut_down`."""
        self._closed = True
        self._sweeper.cancel()
        while self._waiting:
            self._refuse(self._waiting.popleft(), FailureKind.SHUT_DOWN, "the client was closed")
        for task, exchange in self._connecting.items():
            task.cancel()
            self._refuse(exchange, FailureKind.SHUT_DOWN, "the client was closed")
        await asyncio.gather(*self._connecting, return_exceptions=True)
        self._idle.clear()
        for connection in list(self._connections):
            connection.give_up(FailureKind.SHUT_DOWN, "the client was closed")
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    # what connections call

    def adopt(self, connection: _Connection) -> None:
        """Notes a connection that has just been made."""
        self._connections.add(connection)

    def retire(self, connection: _Connection) -> None:
        """Uses a connection no more: its server speaks without having been asked."""
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: _Connection) -> None:
        """Takes a connection back, whose answer is whole."""
        if self._waiting:
            connection.begin(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Gives a lost connection's place to the next."""
        self._connections.discard(connection)
        self._slots_taken -= 1
        self.retire(connection)
        if not self._connections:
            self._emptied.set()

    def reopen(self, exchange: _Exchange) -> None:
        """Sends a request on a connection of its own, opened now."""
        if self._closed:
            self._refuse(exchange, FailureKind.SHUT_DOWN, "the client was closed")
            return
        self._slots_taken += 1
        task = self._loop.create_task(self._connect_and_begin(exchange))
        self._connecting[task] = exchange
        task.add_done_callback(self._connecting.pop)

    def open_for_waiting(self) -> None:
        """Uses places that became free for the requests at the head of the line."""
        while self._waiting and self._slots_taken < self._connections_max:
            self.reopen(self._waiting.popleft())

    async def _connect(self) -> _Connection:
        _, connection = await self._loop.create_connection(
            lambda: _Connection(self), self._hostname, self._port, ssl=self._ssl
        )
        return connection

    async def _connect_and_begin(self, exchange: _Exchange) -> None:
        try:
            async with asyncio.timeout_at(exchange.deadline):
                # A server that is away is asked now and then, not as fast as it can refuse.
                if self._reconnect_pause_s:
                    await asyncio.sleep(self._reconnect_pause_s)
                connection = await self._connect()
        except OSError as error:
            late = isinstance(error, TimeoutError)
            self._reconnect_pause_s = min(
                max(RECONNECT_PAUSE_S_FIRST, self._reconnect_pause_s * 2), RECONNECT_PAUSE_S_MAX
            )
            self._slots_taken -= 1
            kind = FailureKind.TIMEOUT if late else FailureKind.CONNECT
            self._refuse(exchange, kind, f"no connection to {self.host}: {error or 'too late'}")
            self.open_for_waiting()
        else:
            self._reconnect_pause_s = 0.0
            if connection.transport.is_closing():
                detail = f"{self.host} took the connection and hung up at once"
                self._refuse(exchange, FailureKind.CLOSED, detail)
            else:
                connection.begin(exchange)

    def _refuse(self, exchange: _Exchange, kind: FailureKind, detail: str) -> None:
        self._loop.call_soon(exchange.on_outcome, TransportFailure(kind, detail))

    def _sweep(self) -> None:
        now = self._loop.time()
        late = f"no whole answer within {self._timeout_s:g} s"
        for connection in list(self._connections):
            exchange = connection.exchange
            if exchange is not None and exchange.deadline < now:
                connection.give_up(FailureKind.TIMEOUT, late)
        while self._waiting and self._waiting[0].deadline < now:
            self._refuse(self._waiting.popleft(), FailureKind.TIMEOUT, late)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
