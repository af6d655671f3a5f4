"""What an owner watches of the holds it gave: when each expires, and which are settled.

An order that is confirmed takes its holds along in Postgres without a word to the owner
(that keeps the hot row out of the order's transaction), so the owner looks after a while and
forgets what is settled; its memory follows the open holds, not the day's sales.

Holds that were written in one turn and run out together are watched together: watching one by
one cost as much as deciding.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable

_COMPACT_FROM = 10_000

Watched = tuple[bytes, bytes]
"""(reservation_id, inventory_id)"""


class WatchedGroup:
    """Holds that run out at the same time, in Unix seconds."""

    __slots__ = ("expires_at", "members")

    def __init__(self, expires_at: float, members: list[Watched]) -> None:
        self.expires_at = expires_at
        self.members = members


class HoldWatch:
    """Two orders of the same holds: by expiry, and by when they were written."""

    def __init__(self) -> None:
        self._by_expiry: list[tuple[float, int, WatchedGroup]] = []
        self._by_age: deque[tuple[float, WatchedGroup]] = deque()
        self._numbers = itertools.count()  # groups that run out together leave in order
        self._size = 0
        self._compact_at = _COMPACT_FROM

    def __len__(self) -> int:
        return self._size

    def add(self, expires_at: float, reservation_id: bytes, inventory_id: bytes) -> None:
        """Watch a hold's expiry; Unix seconds."""
        self._push(WatchedGroup(expires_at, [(reservation_id, inventory_id)]))

    def add_written(self, holds: Iterable[tuple[float, bytes, bytes]], now: float) -> None:
        """Watch holds that were just written: (expiry in Unix seconds, reservation_id,
        inventory_id) of each; `now` on the monotonic clock."""
        groups: dict[float, WatchedGroup] = {}
        for expires_at, reservation_id, inventory_id in holds:
            group = groups.get(expires_at)
            if group is None:
                group = groups[expires_at] = WatchedGroup(expires_at, [])
            group.members.append((reservation_id, inventory_id))
        for group in groups.values():
            self._push(group)
            self._by_age.append((now, group))

    def _push(self, group: WatchedGroup) -> None:
        self._size += len(group.members)
        heapq.heappush(self._by_expiry, (group.expires_at, next(self._numbers), group))

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
            _, _, group = heapq.heappop(self._by_expiry)
            members, group.members = group.members, []
            self._size -= len(members)
            for position, watched in enumerate(members):
                if len(due) == limit:
                    self._push(WatchedGroup(group.expires_at, members[position:]))
                    break
                until = expires_at(watched)
                if until is not None and until <= now:
                    due[watched] = None
        return list(due)

    def put_back(self, due: list[Watched]) -> None:
        """They could not be let go after all: they are due at once."""
        if due:
            self._push(WatchedGroup(0.0, due))

    def written_before(self, moment: float, limit: int) -> list[WatchedGroup]:
        """Holds written before a moment of the monotonic clock; each is given once.

        Groups until they have `limit` holds, the last one whole.
        """
        old: list[WatchedGroup] = []
        size = 0
        while self._by_age and self._by_age[0][0] < moment and size < limit:
            _, group = self._by_age.popleft()
            old.append(group)
            size += len(group.members)
        return old

    def drop(self, group: WatchedGroup, settled: Collection[bytes]) -> None:
        """Those of its holds are not watched any more."""
        kept = [watched for watched in group.members if watched[0] not in settled]
        self._size -= len(group.members) - len(kept)
        group.members = kept

    def compact(self, expires_at: Callable[[Watched], float | None]) -> None:
        """Drop what is settled, once the groups are twice as many as were left the last time."""
        if len(self._by_expiry) < self._compact_at:
            return
        seen: set[tuple[float, Watched]] = (
            set()
        )  # a pair that is loaded again brings its holds again
        for _, _, group in self._by_expiry:
            kept: list[Watched] = []
            for watched in group.members:
                known = (group.expires_at, watched) in seen
                if not known and expires_at(watched) is not None:
                    kept.append(watched)
                    seen.add((group.expires_at, watched))
            group.members = kept
        self._by_expiry = [entry for entry in self._by_expiry if entry[2].members]
        heapq.heapify(self._by_expiry)
        self._size = sum(len(group.members) for _, _, group in self._by_expiry)
        self._compact_at = max(_COMPACT_FROM, 2 * len(self._by_expiry))
