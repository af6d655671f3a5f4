"""Trying again until the other side is reachable, with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from domain.ports import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often; seconds. The pause doubles from `first_s` to `max_s`."""

    deadline_s: float = 8.0
    first_s: float = 0.02
    max_s: float = 0.5


async def until_reached(
    work: Callable[[], Awaitable[T]],
    *,
    monotonic: Callable[[], float],
    policy: RetryPolicy | None = None,
) -> T:
    """`work`'s result; it is called again on Unavailable, so it must be safe to repeat.

    Raises the last Unavailable once the deadline has passed.
    """
    policy = policy or RetryPolicy()
    deadline = monotonic() + policy.deadline_s
    pause = policy.first_s
    while True:
        try:
            return await work()
        except Unavailable:
            if monotonic() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, policy.max_s)
