"""The owner's mailbox: bounded, and fair between callers.

Each caller has a queue of its own and they are served in turn, so one that sends without end
waits for itself. The bound is shared: whoever holds more than a fair part of it is told to come
back before others are. Only where many callers came and filled their parts at once is there none
left for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from domain.stock import Answer, Request

RETRY_AFTER_MS_MIN = 20
RETRY_AFTER_MS_MAX = 5_000
_RATE_KEPT = 0.8  # of the measured rate stays from one take to the next


class Call(NamedTuple):
    """One caller's requests and where their answers go."""

    requests: Sequence[Request]
    answered: asyncio.Future[list[Answer]]


class Mailbox:
    """Waiting calls, by caller."""

    def __init__(self, queue_max: int, monotonic: Callable[[], float]) -> None:
        self._queue_max = queue_max
        self._monotonic = monotonic
        self._queues: dict[Hashable, deque[Call]] = {}
        self._queued_of: dict[Hashable, int] = {}
        self._per_s = 0.0
        self._left = False  # by the last take: only then is the time to the next one a turn's
        self._taken_at = monotonic()
        self.queued = 0
        """Requests that wait."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, caller: Hashable, call: Call) -> bool:
        """Let a call wait; False if the caller has its part of the bound already."""
        size = len(call.requests)
        own = self._queued_of.get(caller, 0)
        callers = len(self._queues) + (caller not in self._queues)
        share = self._queue_max // (callers + 1)
        if self.queued + size > self._queue_max or (own and own + size > share):
            return False
        self._queues.setdefault(caller, deque()).append(call)
        self._queued_of[caller] = own + size
        self.queued += size
        return True

    def take(self, turn_max: int) -> list[Call]:
        """The next turn: from each caller in turn, at least one call, up to `turn_max` requests."""
        calls: list[Call] = []
        size = 0
        while self._queues and size < turn_max:
            caller, queue = next(iter(self._queues.items()))
            call = queue.popleft()
            calls.append(call)
            size += len(call.requests)
            del self._queues[caller]
            self._queued_of[caller] -= len(call.requests)
            if queue:
                self._queues[caller] = queue  # behind the others
            else:
                del self._queued_of[caller]
        self.queued -= size
        self._measure(size)
        return calls

    def clear(self) -> list[Call]:
        """Everything that waits; nothing does any more."""
        calls = [call for queue in self._queues.values() for call in queue]
        self._queues.clear()
        self._queued_of.clear()
        self.queued = 0
        return calls

    @property
    def retry_after_ms(self) -> int:
        """When a refused caller should come back: once what waits now is probably done."""
        if self._per_s <= 0:
            return RETRY_AFTER_MS_MAX // 10
        wait_ms = int(1_000 * self.queued / self._per_s)
        return max(RETRY_AFTER_MS_MIN, min(wait_ms, RETRY_AFTER_MS_MAX))

    def _measure(self, taken: int) -> None:
        """How fast turns are when requests wait for them; how fast they arrive is no measure."""
        now = self._monotonic()
        elapsed, self._taken_at = now - self._taken_at, now
        if self._left and elapsed > 0:
            rate = taken / elapsed
            kept = _RATE_KEPT if self._per_s else 0.0
            self._per_s = kept * self._per_s + (1 - kept) * rate
        self._left = bool(self._queues)
