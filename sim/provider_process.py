"""The simulated provider as a server: books, HTTP door, webhooks and settling transfers together."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import structlog
import uvicorn

from sim.provider_books import UNREACHABLE
from sim.provider_faults import FaultPlan, FaultRates, Latency
from sim.stripe_books import StripeBooks
from sim.stripe_server import StripeServer
from sim.stripe_webhooks import WebhookFaults, WebhookSender

SETTLE_POLL_S = 0.5
FORGET_POLL_S = 60.0
LOOK_EVERY_S = 0.5
LOOK_TIMEOUT_S = 5.0
LOST_AFTER_S = 60.0  # a Postgres that is started again is back by then
BACKLOG_MAX = 2_048
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """How a provider's server behaves."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    latency: Latency = field(default_factory=Latency)
    rates: FaultRates = field(default_factory=FaultRates)
    seed: int = 0
    search_lag_s: float = 0.0
    settle_after_s: float | None = None
    """Bank transfers are settled by themselves after so long; None: by the lever alone."""
    webhook_url: str = ""
    webhook_secret: str = "whsec_simulated"
    webhook_faults: WebhookFaults = field(default_factory=WebhookFaults)
    webhook_backoff_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProvider:
    """A provider's server that answers."""

    base_url: str
    server: StripeServer


class BooksLostError(RuntimeError):
    """The database with the provider's books is gone, and will not come back by itself."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


@contextlib.asynccontextmanager
async def serving(pool: asyncpg.Pool, options: ProviderOptions) -> AsyncIterator[RunningProvider]:
    """The server, for the length of a `with`. Raises OSError, to be shown, if the port is taken."""
    listener = _listen(options)
    host, port = listener.getsockname()[:2]
    base_url = f"http://{host}:{port}"
    books = StripeBooks(
        pool,
        now=_now,
        new_id=_new_id,
        pages_url=f"{base_url}/pay",
        keeps_events=bool(options.webhook_url),
    )
    async with contextlib.AsyncExitStack() as stack:
        wake = await _start_webhooks(stack, pool, options)
        app = StripeServer(
            books,
            pool,
            faults=FaultPlan(options.rates, seed=options.seed, latency=options.latency),
            search_lag=timedelta(seconds=options.search_lag_s),
            wake=wake,
        )
        await stack.enter_async_context(_background(_forget(books)))
        if options.settle_after_s is not None:
            after = timedelta(seconds=options.settle_after_s)
            await stack.enter_async_context(_background(_settle(app, after)))
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            # The socket listens already: who comes before uvicorn is up waits in its backlog.
            yield RunningProvider(base_url=base_url, server=app)
        finally:
            server.should_exit = True
            await task


def _listen(options: ProviderOptions) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        # Without the number, which would stand in front of the text.
        raise OSError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror};"
            " choose another port with --port"
        ) from error
    listener.listen(BACKLOG_MAX)
    return listener


async def _start_webhooks(
    stack: contextlib.AsyncExitStack, pool: asyncpg.Pool, options: ProviderOptions
) -> Callable[[], None]:
    if not options.webhook_url:
        return lambda: None
    client = await stack.enter_async_context(httpx.AsyncClient())
    sender = WebhookSender(
        pool,
        client,
        url=options.webhook_url,
        secret=options.webhook_secret,
        now=_now,
        faults=options.webhook_faults,
        backoff_s=options.webhook_backoff_s,
    )
    await stack.enter_async_context(_background(sender.run()))
    return sender.wake


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _settle(app: StripeServer, after: timedelta) -> None:
    while True:
        try:
            await app.settle_due(_now() - after)
        except UNREACHABLE as error:
            _log.warning("transfers_wait_for_the_books", error=repr(error))
        await asyncio.sleep(SETTLE_POLL_S)


async def _forget(books: StripeBooks) -> None:
    while True:
        try:
            await books.forget_old_keys()
        except UNREACHABLE as error:
            _log.warning("keys_wait_for_the_books", error=repr(error))
        await asyncio.sleep(FORGET_POLL_S)


async def until_lost(
    pool: asyncpg.Pool, is_closed: Callable[[], bool], *, lost_after_s: float = LOST_AFTER_S
) -> None:
    """Look after the books for ever.

    Raises BooksLostError when they cannot be reached and `is_closed` says that nobody will start
    their database again, or when it was away for `lost_after_s` seconds.
    """
    loop = asyncio.get_running_loop()
    seen = loop.time()
    while True:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await pool.execute("SELECT 1")
            seen = loop.time()
        except UNREACHABLE as error:
            if is_closed():
                raise BooksLostError(
                    "the shop was closed, and the database with the provider's books with it;"
                    " open the shop, then start the provider again"
                ) from error
            if loop.time() - seen >= lost_after_s:
                raise BooksLostError(
                    f"the database with the provider's books did not answer for {lost_after_s:.0f}"
                    f" s ({error or type(error).__name__}); start it, then the provider again"
                ) from error
        await asyncio.sleep(LOOK_EVERY_S)


async def run_until_stopped(
    pool: asyncpg.Pool,
    options: ProviderOptions,
    started: Callable[[RunningProvider], None],
    *,
    is_closed: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until SIGINT or SIGTERM; `started` is told where.

    Raises BooksLostError when the database goes; `is_closed` tells that it was meant to.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    async with serving(pool, options) as running:
        started(running)
        stopping = asyncio.create_task(stopped.wait())
        watching = asyncio.create_task(until_lost(pool, is_closed))
        try:
            done, _ = await asyncio.wait((stopping, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            watching.cancel()
        if watching in done:
            watching.result()
