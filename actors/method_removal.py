"""Removed means of payment: the provider that kept them lets go of them, too, as soon as it can.

The customer's own list loses them at once, whether or not the provider is there
(`storage.payment_methods`). A pass of the caretaker does the rest, and asks again until it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.method_ports import RemovedMethods
from domain.payments import RemovedMethod
from domain.ports import MethodVault


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRemovalConfig:
    """How many providers are asked for, and how soon again."""

    look_again_after_s: float = 60.0
    """After a try of which no answer came; one try in each pass."""
    batch_max: int = 64
    at_once_max: int = 8


class MethodRemoval:
    """Keeps nothing between passes. Two at the same method come to the same end."""

    def __init__(
        self,
        *,
        book: RemovedMethods,
        vaults: Mapping[str, MethodVault],
        now: Callable[[], datetime],
        config: MethodRemovalConfig | None = None,
    ) -> None:
        self._config = config or MethodRemovalConfig()
        self._book = book
        self._vaults = vaults
        self._now = now
        self._at_once = asyncio.Semaphore(self._config.at_once_max)
        self.detached_total = 0

    async def detach_due(self) -> int:
        """Let the providers that are connected forget what was removed; how many were due.

        Raises what the first one failed with, after trying all the others.
        """
        before = self._now() - timedelta(seconds=self._config.look_again_after_s)
        due = await self._book.due(before, list(self._vaults), self._config.batch_max)
        results = await asyncio.gather(*map(self._detach, due), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(due)

    async def _detach(self, removed: RemovedMethod) -> None:
        async with self._at_once:
            vault = self._vaults[removed.gateway]
            await vault.detach_method(str(removed.user_id), removed.token)
            await self._book.detached(removed)
            self.detached_total += 1
