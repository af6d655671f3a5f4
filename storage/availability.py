"""Availability for readers (product pages, search): published to Redis, Postgres behind it.

It may lag by a second, and nothing is ever decided from it: the owners of the stock decide.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.ports import Unavailable
from storage.availability_stream import APPEND_CHANGED, KEY, bounds

READ_TIMEOUT_S = 0.15
READ_NOW_TIMEOUT_S = 1.0
READ_NOW_MAX = 1_000
"""Variants in one command of `read_now`."""
PUBLISH_TIMEOUT_S = 1.0
LOAD_TIMEOUT_S = 1.0
PUBLISHED_AT_ONCE_MAX = 1_000
"""Pairs in one command: Redis serves nobody else meanwhile."""
PAUSE_S = 1.0
"""How long a server that did not answer is left alone; readers do without it meanwhile."""

UNSENT_PAIRS_MAX = 100_000
"""Pairs kept for the next publication while Redis is gone; the oldest are given up first."""

NUMBERS_AGE_MAX_S = 1.0
NUMBERS_KEPT_MAX = 100_000
LOAD_PAIRS_MAX = 5_000
"""Pairs in one query to Postgres."""

_PREFIX = "av:"
_NUMBER = struct.Struct("<16s16sq")

Clock = Callable[[], float]
LoadNumbers = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
"""Units by inventory_id, from Postgres; unknown pairs are left out."""

# One command and one answer for a page: a hundred single reads in a pipeline cost the client
# three times as much.
_READ_ALL = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HGETALL', key) end
return found
"""

# KEYS: the stream of changes; ARGV: 16 bytes of variant, 16 of pair and 8 of units for each pair,
# then the stream's bounds. One command for all: with a command for each, most of an owner's time
# over many pairs went into telling of them.
_PUBLISH = f"""
local numbers, changed, known = ARGV[1], {{}}, {{}}
for at = 1, #numbers, {_NUMBER.size} do
  local variant, pair, units = struct.unpack('<c16c16l', numbers, at)
  redis.call('HSET', '{_PREFIX}' .. variant, pair, units)
  if not known[variant] then
    known[variant] = true
    changed[#changed + 1] = variant
  end
end
{APPEND_CHANGED}
"""

_log = structlog.get_logger(__name__)


class _Pause:
    """Keeps callers from waiting for a server that has just failed them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = float("-inf")

    @property
    def active(self) -> bool:
        return self._clock() < self._until

    def begin(self, what: str, error: BaseException) -> None:
        if not self.active:
            _log.warning("availability_degraded", part=what, error=repr(error), pause_s=PAUSE_S)
        self._until = self._clock() + PAUSE_S


class AvailabilityBoard:
    """What the stock's owners publish: a small hash per variant, with a field per pair.

    So the owner of each pair writes alone, and a page of variants is one round trip. Keys and
    fields are raw UUIDs: the client must not decode responses. One Redis, not a cluster of them. No method raises because of Redis.
    """

    def __init__(self, redis: Redis, *, clock: Clock = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._pause = _Pause(clock)
        self._unsent: dict[tuple[bytes, bytes], int] = {}
        self._read_all = redis.register_script(_READ_ALL)
        self._publish_all = redis.register_script(_PUBLISH)

    async def publish(self, available: Mapping[tuple[bytes, bytes], int]) -> None:
        """Units by (variant_id, inventory_id), as 16 bytes each, below 2**63; a round trip
        per PUBLISHED_AT_ONCE_MAX of them.

        Whoever follows the stream of changes learns of them, too. What could not be sent goes
        with the next call, which may be empty.
        """
        for pair, units in available.items():
            self._unsent.pop(pair, None)
            self._unsent[pair] = units
        if not self._unsent or self._pause.active:
            self._give_up_oldest()
            return
        sending, self._unsent = self._unsent, {}
        sent = False
        try:
            sent = await self._send(sending)
        finally:
            # What was published while this was on its way is newer and must win.
            if not sent:
                self._unsent = {**sending, **self._unsent}
                self._give_up_oldest()

    async def _send(self, pairs: Mapping[tuple[bytes, bytes], int]) -> bool:
        pack = _NUMBER.pack
        packed = [pack(variant_id, pair, units) for (variant_id, pair), units in pairs.items()]
        try:
            for start in range(0, len(packed), PUBLISHED_AT_ONCE_MAX):
                part = b"".join(packed[start : start + PUBLISHED_AT_ONCE_MAX])
                async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                    await self._publish_all(keys=[KEY], args=[part, *bounds()])
        except (RedisError, OSError, TimeoutError) as error:
            self._pause.begin("redis", error)
            return False
        return True

    def _give_up_oldest(self) -> None:
        while len(self._unsent) > UNSENT_PAIRS_MAX:
            del self._unsent[next(iter(self._unsent))]

    async def read(self, variant_ids: Iterable[UUID]) -> dict[UUID, dict[UUID, int]]:
        """Published units by inventory_id for each variant, in one round trip.

        Variants of which nothing was published are left out, and so is everything while Redis
        is gone: the answer comes within `READ_TIMEOUT_S`, then at once for `PAUSE_S`.
        """
        return {
            variant_id: {UUID(bytes=pair): units for pair, units in by_pair.items()}
            for variant_id, by_pair in (await self.read_raw(variant_ids)).items()
        }

    async def read_raw(self, variant_ids: Iterable[UUID]) -> dict[UUID, dict[bytes, int]]:
        """The same with each inventory_id as its 16 bytes, for whoever only looks pairs up."""
        wanted = list(dict.fromkeys(variant_ids))
        if not wanted or self._pause.active:
            return {}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._read(wanted)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause.begin("redis", error)
            return {}

    async def read_now(self, variant_ids: Iterable[UUID]) -> dict[UUID, dict[bytes, int]]:
        """The same for whoever must not be given an older number: raises Unavailable instead."""
        wanted = list(dict.fromkeys(variant_ids))
        found: dict[UUID, dict[bytes, int]] = {}
        try:
            for start in range(0, len(wanted), READ_NOW_MAX):
                async with asyncio.timeout(READ_NOW_TIMEOUT_S):
                    found |= await self._read(wanted[start : start + READ_NOW_MAX])
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the board was not read: {error!r}") from error
        return found

    async def _read(self, wanted: Sequence[UUID]) -> dict[UUID, dict[bytes, int]]:
        answers: list[list[bytes]] = await self._read_all(keys=[_key(one.bytes) for one in wanted])
        return {
            variant_id: dict(zip(answer[::2], map(int, answer[1::2]), strict=True))
            for variant_id, answer in zip(wanted, answers, strict=True)
            if answer
        }


def _key(variant_id: bytes) -> bytes:
    return _PREFIX.encode() + variant_id


class StockNumbers:
    """The numbers in Postgres, for what the board does not have: batched and kept for a second.

    One query runs at a time, and everything asked for meanwhile goes into the next one. While
    Postgres is gone the last known numbers stand in.
    """

    def __init__(self, load: LoadNumbers, *, clock: Clock = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._pause = _Pause(clock)
        self._known: dict[UUID, tuple[float, int]] = {}
        self._wanted: dict[UUID, None] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def read(self, inventory_ids: Iterable[UUID]) -> dict[UUID, int]:
        """Units by inventory_id, at most `NUMBERS_AGE_MAX_S` old if possible; unknown: left out."""
        asked = list(inventory_ids)
        oldest = self._clock() - NUMBERS_AGE_MAX_S
        stale = [one for one in asked if one not in self._known or self._known[one][0] < oldest]
        if stale and not self._pause.active:
            self._wanted.update(dict.fromkeys(stale))
            if self._gathering is None:
                self._gathering = asyncio.create_task(self._load_wanted())
            # A reader that hangs up must not take the others' numbers along.
            await asyncio.shield(self._gathering)
        return {one: self._known[one][1] for one in asked if one in self._known}

    async def _load_wanted(self) -> None:
        async with self._turn:
            wanted, self._wanted, self._gathering = list(self._wanted), {}, None
            try:
                for start in range(0, len(wanted), LOAD_PAIRS_MAX):
                    part = wanted[start : start + LOAD_PAIRS_MAX]
                    async with asyncio.timeout(LOAD_TIMEOUT_S):
                        self._keep(await self._load(part))
            except Exception as error:
                # Whatever it was, a page without numbers is better than no page.
                self._pause.begin("postgres", error)

    def _keep(self, loaded: Mapping[UUID, int]) -> None:
        now = self._clock()
        for inventory_id, units in loaded.items():
            self._known.pop(inventory_id, None)
            self._known[inventory_id] = (now, units)
        while len(self._known) > NUMBERS_KEPT_MAX:
            del self._known[next(iter(self._known))]


class AvailabilityReader:
    """What readers are shown: the board's number for each pair, else that of Postgres."""

    def __init__(self, board: AvailabilityBoard, numbers: StockNumbers) -> None:
        self._board = board
        self._numbers = numbers

    async def units(self, pairs_of: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, int]:
        """Units over all warehouses by variant_id, given each variant's inventory_ids.

        A pair of which nobody knows anything counts as 0.
        """
        return await self._sums(pairs_of, await self._board.read_raw(pairs_of))

    async def units_now(self, pairs_of: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, int]:
        """The same, never older than the board; raises Unavailable when it cannot be read."""
        return await self._sums(pairs_of, await self._board.read_now(pairs_of))

    async def _sums(
        self, pairs_of: Mapping[UUID, Sequence[UUID]], on_board: Mapping[UUID, Mapping[bytes, int]]
    ) -> dict[UUID, int]:
        published: dict[bytes, int] = {}
        for units_by_pair in on_board.values():
            published.update(units_by_pair)
        units: dict[UUID, int] = {}
        missing: dict[UUID, Sequence[UUID]] = {}
        for variant_id, pairs in pairs_of.items():
            known = [published.get(one.bytes) for one in pairs]
            units[variant_id] = sum(filter(None, known))
            if None in known:
                missing[variant_id] = [
                    one for one, number in zip(pairs, known, strict=True) if number is None
                ]
        if missing:
            numbers = await self._numbers.read(one for pairs in missing.values() for one in pairs)
            for variant_id, pairs in missing.items():
                units[variant_id] += sum(numbers.get(one, 0) for one in pairs)
        return units
