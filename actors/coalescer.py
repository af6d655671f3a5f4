"""Coalescing: many callers, one call. What arrives while a batch is away forms the next one.

This is one of the three multipliers (ARCHITECTURE.md): a call to an actor, a transaction or
a round trip is paid once per batch instead of once per request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(Exception):  # noqa: N818 - it names a condition, not a fault
    """The queue is at its bound; nothing was done with the item."""


class Coalescer(Generic[Item, Result]):
    """Gathers items into batches for `work`, which answers each item in order.

    An answer that is an exception is raised to who asked for it, and to nobody else in its batch.
    At most `in_flight_max` batches of at most `batch_max` items are away at once, and at most
    `queue_max` items wait; beyond that `submit` raises Overloaded at once. `work` must end by
    itself: it carries the timeouts. What it answers with None is `elsewhere`'s to answer, which
    gets the item and its future, done or not. While a batch is away, another leaves only with `another_from`
    items or more: small ones would make batches smaller, not faster.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Awaitable[Sequence[Result | Exception | None]]],
        *,
        elsewhere: Callable[[Item, asyncio.Future[Result]], None] | None = None,
        batch_max: int = 256,
        queue_max: int = 10_000,
        in_flight_max: int = 1,
        another_from: int = 1,
        spacing_s: float = 0.0,
    ) -> None:
        self._work = work
        self._elsewhere = elsewhere
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._in_flight_max = in_flight_max
        self._another_from = another_from
        self._spacing_s = spacing_s
        self._next_start = 0.0
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_planned = False

    @property
    def queued(self) -> int:
        """Items that wait for a batch."""
        return len(self._waiting)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """A future for the item's answer. Raises Overloaded at the bound."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.add(item, future)
        return future

    def add(self, item: Item, future: asyncio.Future[Result]) -> None:
        """The same with a future that is there already."""
        if len(self._waiting) >= self._queue_max:
            raise Overloaded(f"{len(self._waiting)} requests wait already; try again shortly")
        loop = asyncio.get_running_loop()
        self._waiting.append((item, future))
        if not self._flush_planned and self._may_leave:
            self._plan_flush(loop)

    @property
    def _may_leave(self) -> bool:
        away = len(self._tasks)
        return away < self._in_flight_max and (not away or len(self._waiting) >= self._another_from)

    def _plan_flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._flush_planned = True
        if self._spacing_s and self._next_start > loop.time():
            loop.call_at(self._next_start, self._flush)
        else:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        loop = asyncio.get_running_loop()
        while self._waiting and self._may_leave:
            if self._spacing_s:
                now = loop.time()
                if now < self._next_start:
                    self._plan_flush(loop)
                    return
                self._next_start = now + self._spacing_s
            size = min(len(self._waiting), self._batch_max)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._tasks.add(loop.create_task(self._run(batch)))

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
            for (item, future), result in zip(batch, results, strict=True):
                if result is None and self._elsewhere is not None:
                    self._elsewhere(item, future)
                elif not future.done():
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(cast(Result, result))
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
                    # Who hung up does not ask for it; that is no fault of the batch.
                    future.exception()
            if not isinstance(error, Exception):
                raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
            if not self._flush_planned:
                self._flush()
