"""What an owner tells of itself, once a second."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from domain.histogram import LatencyHistogram
from domain.stock import Pair, Request
from domain.turns import Turn

HOT_PAIRS_SHOWN = 10
_HEAT_KEPT = 0.7  # of a pair's heat stays from one report to the next
_HEAT_MIN = 0.1


class OwnerMetrics:
    """Counts turns, commits and heat between two reports."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started = self._since = monotonic()
        self._turns = self._requests = self._reserved = 0
        self._reserved_total = 0
        self._commits = LatencyHistogram()
        self._heat: Counter[bytes] = Counter()
        self._heat_per_s: dict[bytes, float] = {}

    def turn(self, requests: Sequence[Request]) -> None:
        """A turn of these requests was answered."""
        if requests:
            self._turns += 1
            self._requests += len(requests)
            self._heat.update([request.inventory_id for request in requests])

    def commit(self, turn: Turn, seconds: float) -> None:
        """A turn's transaction took `seconds`."""
        self._commits.record(max(seconds, 0.0) * 1_000)
        self._reserved += len(turn.reservation_ids)

    def take(self, pairs: Mapping[bytes, Pair], holds_watched: int) -> dict[str, Any]:
        """The figures since the last call; rates per second, times in ms."""
        now = self._monotonic()
        elapsed = max(now - self._since, 1e-3)
        self._cool(elapsed)
        self._reserved_total += self._reserved
        figures = {
            "uptime_s": round(now - self._started, 1),
            "pairs": len(pairs),
            "open_reservations": holds_watched,
            "turns_per_s": round(self._turns / elapsed, 1),
            "turn_size": round(self._requests / self._turns, 1) if self._turns else 0.0,
            "commit_ms_p50": round(self._commits.quantile(0.5), 2),
            "commit_ms_p99": round(self._commits.quantile(0.99), 2),
            "reservations_per_s": round(self._reserved / elapsed, 1),
            "reservations_total": self._reserved_total,
            "hot_pairs": [
                {
                    "inventory_id": inventory_id.hex(),
                    "available": pairs[inventory_id].available if inventory_id in pairs else None,
                    "requests_per_s": round(heat, 1),
                }
                for inventory_id, heat in self._hottest()
            ],
        }
        self._since = now
        self._turns = self._requests = self._reserved = 0
        if self._commits.count:
            self._commits = LatencyHistogram()
        return figures

    def _cool(self, elapsed: float) -> None:
        heat = {
            pair: kept
            for pair, rate in self._heat_per_s.items()
            if (kept := rate * _HEAT_KEPT) > _HEAT_MIN
        }
        for pair, count in self._heat.items():
            heat[pair] = heat.get(pair, 0.0) + (1 - _HEAT_KEPT) * count / elapsed
        self._heat_per_s = heat
        self._heat.clear()

    def _hottest(self) -> list[tuple[bytes, float]]:
        return heapq.nlargest(HOT_PAIRS_SHOWN, self._heat_per_s.items(), key=itemgetter(1))
