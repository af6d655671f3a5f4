"""An asyncio event loop on virtual time: an hour passes as fast as what happens in it.

When nothing is ready the clock jumps to the next timer, so code that waits, times out and
retries runs unchanged, always in the same order, and never really waits.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
_CANCELLED_MAX = 100
"""Rounds of cancelling what is left at the end of a run."""


class NothingLeftError(RuntimeError):
    """Everything waits and no timer is set: nobody would ever wake up."""


class _Planned:
    """A call to come, as much of asyncio.Handle as its users use."""

    __slots__ = ("args", "callback")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args

    def cancel(self) -> None:
        """It will not happen."""
        self.callback, self.args = _nothing, ()


def _nothing() -> None:
    """What is left of something cancelled."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time starts at 0 s. Two things at the same time happen in the order they were planned in.

    asyncio's own scheduling is replaced, because half of a simulated hour went into making and
    sorting its handles. Everything runs in one context: nothing here has any of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._numbers = itertools.count()
        self._soon: deque[_Planned] = deque()
        self._timers: list[tuple[float, int, _Planned | asyncio.Future[None]]] = []

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """At this very moment, after what was said before."""
        planned = _Planned(callback, args)
        self._soon.append(planned)
        return planned

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Once the clock shows `when`, or now if that is over."""
        planned = _Planned(callback, args)
        heappush(self._timers, (when, next(self._numbers), planned))
        return planned

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """In so many seconds."""
        return self.call_at(self._now + delay, callback, *args)

    def after(self, seconds: float) -> asyncio.Future[None]:
        """What asyncio.sleep is, without a coroutine and a handle of its own."""
        sleeper: asyncio.Future[None] = asyncio.Future(loop=self)
        heappush(self._timers, (self._now + seconds, next(self._numbers), sleeper))
        return sleeper

    def create_future(self) -> asyncio.Future[Any]:
        """Of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        """At work from the next moment on."""
        return asyncio.Task(coro, loop=self, name=name)

    def _run_once(self) -> None:
        """One moment after the other: all that is ready, then on to the next timer."""
        soon = self._soon
        take = soon.popleft
        while True:
            while soon:
                planned = take()
                try:
                    planned.callback(*planned.args)
                except Exception as error:
                    self.call_exception_handler({"message": "it failed", "exception": error})
                if self._stopping:  # pyright: ignore[reportAttributeAccessIssue]
                    return
            self._jump()

    def _jump(self) -> None:
        timers = self._timers
        if not timers:
            raise NothingLeftError("everything waits, and nothing will happen any more")
        now = self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= now:
            due = heappop(timers)[2]
            if isinstance(due, _Planned):
                self._soon.append(due)
            elif not due.done():
                due.set_result(None)

    def _write_to_self(self) -> None:
        """Nobody has to be woken: there are no other threads."""


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """`main`'s result, on a fresh loop; what it leaves running is cancelled."""
    loop = VirtualLoop()
    # What is reported here happened to nobody's task: the trace tells it better.
    loop.set_exception_handler(lambda _, __: None)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        # Who is cancelled may start others on the way out.
        for _ in range(_CANCELLED_MAX):
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
