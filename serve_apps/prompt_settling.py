"""Settling an order at once, because a provider has told of it or its buyer has come back.

Only what is bounded: so many at a time, each within a time limit, in tasks of their own. What
is not settled here is settled by recovery, which asks by itself (`actors.recovery`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from actors.coalescer import Overloaded
from domain.orders import OpenOrder
from domain.ports import Unavailable
from domain.transitions import OrderState

DRAIN_TIMEOUT_S = 10.0
T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettlingConfig:
    """Bounds of one process."""

    at_once_max: int = 64
    """Orders that are settled at the same time."""
    timeout_s: float = 8.0
    """For one order. Providers wait some ten seconds for the answer to a webhook."""


class PromptSettling:
    """One per process. `settle` is `Settlement.settle`."""

    def __init__(
        self,
        settle: Callable[[OpenOrder], Awaitable[Any]],
        config: PromptSettlingConfig | None = None,
    ) -> None:
        self._settle = settle
        self._config = config or PromptSettlingConfig()
        self._running: set[asyncio.Task[Any]] = set()

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T] | None:
        """`work` in a task of its own, which ends well if the caller hangs up; None if full."""
        if len(self._running) >= self._config.at_once_max:
            return None
        task = asyncio.create_task(work())
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # who waited has it; who hung up does not ask

    async def settle(self, order: OpenOrder) -> bool:
        """Go by what the providers say; False if that has to be done later, by recovery.

        An order whose own checkout is still at it is left alone: to whoever looks from outside
        its charges have failed until they are made, and it would be unwound.
        """
        if order.status == OrderState.PENDING:
            return False
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._settle(order)
        except (Unavailable, Overloaded, TimeoutError) as error:
            _log.warning("settled_later", order_id=str(order.order_id), reason=repr(error))
            return False
        return True

    async def drain(self) -> None:
        """Let what is under way come to its end, for DRAIN_TIMEOUT_S; recovery does the rest."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_TIMEOUT_S)
