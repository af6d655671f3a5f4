"""The turn log as its owner knows it: what turns took from pairs and their rows do not have yet.

A turn that only takes stock writes what it took into the log, in the same transaction as its
reservations, and the rows follow, once for many turns (docs/adr/0011-turn-log.md). A row and the
entries beyond it give the pair; this is their sum. Pure: times come in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from domain.stock import Pair

_TICK_S = 0.001  # who waits until a row is due must find it due, whatever rounding does


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBounds:
    """How far rows may stay behind."""

    pairs_max: int = 20_000
    """Pairs with something in the log; a successor brings all their rows up to date first."""
    units_min: int = 100
    """What must be left of a pair for the log: of the last units the row itself keeps count, and
    the database's own check stands behind the owner (P1)."""
    behind_max_s: float = 2.0
    """A row is brought up to date so long after it was left behind."""
    forget_from: int = 64
    """Turns that the log is made shorter by at once, at least."""


class WrittenTurn(Protocol):
    """What the log has to know of a turn."""

    number: int
    logged_ids: list[bytes]
    logged_taken: list[int]
    logged_until: int
    pair_ids: list[bytes]


@dataclass(slots=True)
class _Behind:
    """A pair whose row is behind: since when, and by how much."""

    first_turn: int
    since: float
    version: int
    taken: int = 0


class TurnLog:
    """The numbers of an owner's turns, and the pairs whose rows are behind, longest first.

    Numbers are a Lamport clock ("Time, clocks, and the ordering of events in a distributed
    system", 1978): higher than any that a loaded row has seen, so that of two owners that had a
    pair one after the other, the later one's entries are the higher ones.
    """

    def __init__(self, bounds: LogBounds) -> None:
        self._bounds = bounds
        # Not a dict: the way to its first entry leads past all that were taken out before.
        self._behind: OrderedDict[bytes, _Behind] = OrderedDict()
        self._seen = 0
        self._forgotten = 0
        self.last_turn = 0
        """The number of the last turn that was written."""

    def __len__(self) -> int:
        return len(self._behind)

    def begin(self, number: int) -> list[bytes]:
        """All rows are up to date, and the next turn follows `number`; whose rows have changed."""
        changed = list(self._behind)
        self._behind.clear()
        self.last_turn = self._forgotten = number
        return changed

    def next_number(self) -> int:
        """The number of the next turn."""
        return max(self.last_turn, self._seen) + 1

    def take_in(self, pair: Pair) -> None:
        """A pair as its row has it becomes what it is."""
        self._seen = max(self._seen, pair.logged_to)
        behind = self._behind.get(pair.inventory_id)
        if behind is not None:
            pair.available -= behind.taken
            pair.reserved += behind.taken

    def taken_of(self, inventory_id: bytes) -> int:
        """Units that its row does not know of."""
        behind = self._behind.get(inventory_id)
        return behind.taken if behind is not None else 0

    def admits(self, pair: Pair) -> bool:
        """Whether what was just taken from a pair may go into the log."""
        if pair.available - pair.policy.safety_stock < self._bounds.units_min:
            return False
        return len(self._behind) < self._bounds.pairs_max or pair.inventory_id in self._behind

    def overdue(self, now: float, limit: int) -> Iterator[tuple[bytes, int]]:
        """(pair, version of its row) of those that have been behind for too long, at most `limit`."""
        oldest = now - self._bounds.behind_max_s + _TICK_S
        for inventory_id, behind in self._behind.items():
            if limit <= 0 or behind.since > oldest:
                return
            limit -= 1
            yield inventory_id, behind.version

    def due_in(self, now: float) -> float | None:
        """Seconds until a row has to be brought up to date; None: none is behind."""
        for behind in self._behind.values():
            return max(0.0, behind.since + self._bounds.behind_max_s - now)
        return None

    def to_forget(self) -> int:
        """Up to which turn the log can be forgotten; 0: it is not worth while."""
        first = next((one.first_turn for one in self._behind.values()), self.last_turn + 1)
        until = first - 1
        return until if until - self._forgotten >= self._bounds.forget_from else 0

    def written(self, turn: WrittenTurn, versions: list[int], now: float) -> None:
        """A turn is in the database; `versions` are those of its logged pairs' rows."""
        self.last_turn = turn.number
        self._forgotten = max(self._forgotten, turn.logged_until)
        for inventory_id in turn.pair_ids:
            self._behind.pop(inventory_id, None)
        for position, inventory_id in enumerate(turn.logged_ids):
            behind = self._behind.get(inventory_id)
            if behind is None:
                behind = self._behind[inventory_id] = _Behind(turn.number, now, versions[position])
            behind.taken += turn.logged_taken[position]
