"""What a checkout replica tells of itself, once a second; nothing is logged per request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from domain.board_ports import MetricsBoard
from domain.histogram import LatencyHistogram

REPORT_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


class CheckoutMetrics:
    """Counts between two reports, and since the start."""

    def __init__(self) -> None:
        self.confirmed = self.rejected = 0
        self._reported_confirmed = self._reported_rejected = 0
        self._latency = LatencyHistogram()
        self._since = time.monotonic()

    def record(self, ms: float, *, confirmed: bool) -> None:
        """A checkout was answered after `ms` milliseconds."""
        self._latency.record(ms)
        if confirmed:
            self.confirmed += 1
        else:
            self.rejected += 1

    def take(self) -> dict[str, Any]:
        """The figures since the last call; rates per second, times in ms."""
        now = time.monotonic()
        elapsed = max(now - self._since, 1e-3)
        figures = {
            "confirmed_per_s": (self.confirmed - self._reported_confirmed) / elapsed,
            "rejected_per_s": (self.rejected - self._reported_rejected) / elapsed,
            "confirmed_total": self.confirmed,
            "rejected_total": self.rejected,
            "latency": self._latency.to_list() if self._latency.count else None,
        }
        self._since = now
        self._reported_confirmed = self.confirmed
        self._reported_rejected = self.rejected
        if self._latency.count:
            self._latency = LatencyHistogram()
        return figures


async def report_for_ever(
    board: MetricsBoard, kind: str, name: str, figures: Callable[[], dict[str, Any]]
) -> None:
    """Publish `figures()` every second; readers live from it, selling does not."""
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        try:
            await board.publish(kind, name, figures())
        except Exception as error:
            _log.warning("figures_not_published", kind=kind, reason=repr(error))
