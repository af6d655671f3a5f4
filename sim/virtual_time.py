"""An asyncio event loop on virtual time: an hour passes as fast as what happens in it.

When nothing is ready the clock jumps to the next timer, so code that waits, times out and
retries runs unchanged, always in the same order, and never really waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")
_RESOLUTION_S = 1e-9


class NothingLeftError(RuntimeError):
    """Everything waits and no timer is set: nobody would ever wake up."""


class _JumpingSelector:
    """Stands where the selector of sockets would: instead of waiting, it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Nothing ever arrives from outside."""
        if timeout is None:
            raise NothingLeftError("everything waits, and nothing will happen any more")
        if timeout > 0:
            self._loop.jump()
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time starts at 0 s."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _JumpingSelector(self)
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def jump(self) -> None:
        """Move the clock to the next timer."""
        self._now = max(self._now, cast(Any, self)._scheduled[0]._when)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

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
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
