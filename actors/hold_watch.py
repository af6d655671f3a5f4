"""What an owner watches of the holds it gave: when each expires, and which are settled.

An order that is confirmed takes its holds along in Postgres without a word to the owner
(that keeps the hot row out of the order's transaction), so the owner looks after a while and
forgets what is settled; its memory follows the open holds, not the day's sales.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

_COMPACT_FROM = 10_000

Watched = tuple[bytes, bytes]
"""(reservation_id, inventory_id)"""


class HoldWatch:
    """Two orders of the same holds: by expiry, and by when they were written."""

    def __init__(self) -> None:
        self._by_expiry: list[tuple[float, bytes, bytes]] = []
        self._by_age: deque[tuple[float, bytes, bytes]] = deque()
        self._compact_at = _COMPACT_FROM

    def __len__(self) -> int:
        return len(self._by_expiry)

    def add(self, expires_at: float, reservation_id: bytes, inventory_id: bytes) -> None:
        """Watch a hold's expiry; Unix seconds."""
        heapq.heappush(self._by_expiry, (expires_at, reservation_id, inventory_id))

    def add_fresh(
        self, expires_at: float, reservation_id: bytes, inventory_id: bytes, now: float
    ) -> None:
        """Watch a hold that was just written; `now` on the monotonic clock."""
        self.add(expires_at, reservation_id, inventory_id)
        self._by_age.append((now, reservation_id, inventory_id))

    @property
    def next_expiry(self) -> float | None:
        """When the next hold expires, if any."""
        return self._by_expiry[0][0] if self._by_expiry else None

    def due(
        self, now: float, expires_at: Callable[[Watched], float | None], limit: int
    ) -> list[Watched]:
        """Open holds whose time is over, each once, at most `limit`; not watched any more.

        `expires_at` gives the time of a hold that is open or may be: one that was extended is
        watched under its new time as well.
        """
        due: dict[Watched, None] = {}
        while self._by_expiry and self._by_expiry[0][0] <= now and len(due) < limit:
            _, reservation_id, inventory_id = heapq.heappop(self._by_expiry)
            until = expires_at((reservation_id, inventory_id))
            if until is not None and until <= now:
                due[reservation_id, inventory_id] = None
        return list(due)

    def put_back(self, due: list[Watched]) -> None:
        """They could not be let go after all: they are due at once."""
        for reservation_id, inventory_id in due:
            self.add(0.0, reservation_id, inventory_id)

    def written_before(self, moment: float, limit: int) -> list[Watched]:
        """Holds written before a moment of the monotonic clock; each is given once."""
        old: list[Watched] = []
        while self._by_age and self._by_age[0][0] < moment and len(old) < limit:
            _, reservation_id, inventory_id = self._by_age.popleft()
            old.append((reservation_id, inventory_id))
        return old

    def compact(self, expires_at: Callable[[Watched], float | None]) -> None:
        """Drop what is settled, once it has grown to twice what was left the last time."""
        if len(self._by_expiry) < self._compact_at:
            return
        # Once each: a pair that is loaded again brings its holds again.
        open_ = dict.fromkeys(
            entry for entry in self._by_expiry if expires_at((entry[1], entry[2])) is not None
        )
        self._by_expiry = list(open_)
        heapq.heapify(self._by_expiry)
        self._compact_at = max(_COMPACT_FROM, 2 * len(self._by_expiry))
