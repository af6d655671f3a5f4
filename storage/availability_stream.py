"""Which variants' availability changed, in order: a bounded Redis stream beside the board.

Owners append to it what they publish; whoever passes changes on follows it. It holds no numbers:
these are read from the board, so nobody is told one that is older than what the board shows.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.ports import Unavailable

KEY = b"availability:changes"
ENTRIES_MAX = 10_000
"""Entries kept, about: at the most frequent publishing of ten owners, 100 seconds."""
VARIANTS_PER_ENTRY_MAX = 256
"""So that all entries together stay below 50 MB, whatever is published."""
ENTRIES_READ_MAX = 1_000
VARIANTS_KEPT_MAX = 100_000
_FIELD = b"v"
_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")
_NUMBER_MAX = (1 << 64) - 1


class StreamId(NamedTuple):
    """A place in the stream; `ms` is the unix time at which Redis took the entry."""

    ms: int
    sequence: int

    @classmethod
    def parse(cls, text: str) -> StreamId:
        """`1764000000000-0`; ValueError for anything else."""
        found = _ID.fullmatch(text)
        if found is None or max(numbers := (int(found[1]), int(found[2]))) > _NUMBER_MAX:
            raise ValueError("is not the id of an event, such as 1764000000000-0")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


BEGINNING = StreamId(0, 0)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry: variants that were published together."""

    id: StreamId
    variant_ids: tuple[UUID, ...]


APPEND_CHANGED = f"""
local per_entry = tonumber(ARGV[3])
for first = 1, #changed, per_entry do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', '{_FIELD.decode()}',
             table.concat(changed, '', first, math.min(first + per_entry - 1, #changed)))
end
"""
"""The end of a script that has published numbers: the variants (16 bytes each) in the list
`changed` go into the stream KEYS[1]. After the numbers, since who reads of a change must find
them."""


def bounds() -> tuple[int, int]:
    """The arguments, after the first, of a script that ends with APPEND_CHANGED."""
    return ENTRIES_MAX, VARIANTS_PER_ENTRY_MAX


class ChangeStream:
    """The stream to its readers. Raises Unavailable when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def after(self, position: StreamId, *, wait_s: float) -> list[Change]:
        """At most `ENTRIES_READ_MAX` entries after a position; with none, waits so long for one.

        `wait_s` must stay below the client's socket timeout; 0 does not wait.
        """
        block_ms = max(1, round(wait_s * 1_000)) if wait_s else None
        try:
            found: Any = await self._redis.xread(
                {KEY: str(position)}, count=ENTRIES_READ_MAX, block=block_ms
            )
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the stream of changes was not read: {error!r}") from error
        if not found:
            return []
        # One stream was asked for: a list of pairs, or a dict in the protocol's newer version.
        entries = next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1]
        return [_change(entry_id, fields) for entry_id, fields in entries]

    async def oldest(self) -> StreamId | None:
        """The first entry that is still there."""
        try:
            found: Any = await self._redis.xrange(KEY, count=1)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the stream of changes was not read: {error!r}") from error
        return _change(*found[0]).id if found else None


def _change(entry_id: bytes, fields: dict[bytes, bytes]) -> Change:
    packed = fields[_FIELD]
    ids = (UUID(bytes=packed[start : start + 16]) for start in range(0, len(packed), 16))
    return Change(StreamId.parse(entry_id.decode()), tuple(ids))


class RecentChanges:
    """What changed after a place in the stream, from memory: the last change of each variant."""

    def __init__(self, *, kept_max: int = VARIANTS_KEPT_MAX) -> None:
        self.position = BEGINNING
        """Everything up to here is known."""
        self._reach: StreamId | None = None
        self._last: OrderedDict[UUID, StreamId] = OrderedDict()
        self._kept_max = kept_max

    def add(self, changes: Iterable[Change]) -> list[UUID]:
        """Take over what follows; the variants in it, each once."""
        touched: dict[UUID, None] = {}
        for change in changes:
            if self._reach is None:
                # What was before the first entry was trimmed, or lost with an earlier Redis.
                self._reach = change.id
            for variant_id in change.variant_ids:
                touched[variant_id] = None
                self._last[variant_id] = change.id
                self._last.move_to_end(variant_id)
            self.position = change.id
        while len(self._last) > self._kept_max:
            self._reach = self._last.popitem(last=False)[1]
        return list(touched)

    def reaches(self, after: StreamId) -> bool:
        """Whether all that changed after this place is known."""
        return self._reach is not None and self._reach <= after <= self.position

    def since(self, after: StreamId, among: Set[UUID] | None, at_most: int) -> list[UUID] | None:
        """Variants that changed after a place that it reaches, oldest first; None: too many."""
        if among is not None:
            last = self._last
            found = [one for one in among if last.get(one, BEGINNING) > after]
            found.sort(key=last.__getitem__)
        else:
            newer = self._newer(after)
            found = list(islice(newer, at_most + 1))[::-1]
        return found if len(found) <= at_most else None

    def _newer(self, after: StreamId) -> Iterable[UUID]:
        for variant_id, last in reversed(self._last.items()):
            if last <= after:
                return
            yield variant_id
