"""Where the parts of the house show their figures, in Redis, for the dashboard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.ports import Unavailable

STALE_AFTER_S = 5.0
"""Who has not reported for so long is shown as not alive."""
READ_TIMEOUT_S = 1.0
T = TypeVar("T")
_FORGOTTEN_AFTER_S = 60.0
_NOTES = "stopped"


class RedisMetricsBoard:
    """MetricsBoard of domain.ports: one hash per kind, one field per reporter.

    Beside it a hash of notes, of who was stopped on purpose: silence alone does not tell that
    from a death.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Replace what `name` showed before."""
        shown = orjson.dumps({**values, "reported_at": time.time()})
        await self._redis.hset(f"metrics:{kind}", name, shown)  # type: ignore[misc,arg-type]

    async def note_stopped(self, kind: str, name: str) -> None:
        """What `name` shows now are its last words, and its silence is no fault.

        The note is for its `epoch`: words of that generation that come late are no sign of life,
        unless they go on for longer than STALE_AFTER_S; a newer generation is not concerned.
        """
        text: bytes | None = await self._redis.hget(f"metrics:{kind}", name)  # type: ignore[misc]
        if text is not None:
            note = {"epoch": orjson.loads(text).get("epoch"), "stopped_at": time.time()}
            await self._redis.hset(f"metrics:{kind}:{_NOTES}", name, orjson.dumps(note))  # type: ignore[misc,arg-type]

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """What all of a kind show, with `alive` and `stopped` (on purpose).

        Who is silent for a minute is removed.
        """
        now = time.time()
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(f"metrics:{kind}")  # pyright: ignore[reportUnusedCoroutine]
            pipeline.hgetall(f"metrics:{kind}:{_NOTES}")  # pyright: ignore[reportUnusedCoroutine]
            entries, notes = await pipeline.execute()
        shown: dict[str, dict[str, Any]] = {}
        forgotten: list[bytes] = []
        for name, text in entries.items():
            values = orjson.loads(text)
            age = now - values["reported_at"]
            if age > _FORGOTTEN_AFTER_S:
                forgotten.append(name)
                continue
            stopped = name in notes and _is_of(values, orjson.loads(notes[name]))
            alive = age < STALE_AFTER_S and not stopped
            shown[name.decode()] = {**values, "alive": alive, "stopped": stopped}
        if forgotten:
            await self._redis.hdel(f"metrics:{kind}", *forgotten)  # type: ignore[misc,arg-type]
            await self._redis.hdel(f"metrics:{kind}:{_NOTES}", *forgotten)  # type: ignore[misc,arg-type]
        return shown


def _is_of(values: dict[str, Any], note: dict[str, Any]) -> bool:
    """True if these are the last words of the generation that was stopped."""
    went_on_s = values["reported_at"] - note["stopped_at"]
    return values.get("epoch") == note["epoch"] and went_on_s < STALE_AFTER_S


class RedisMetricsReader:
    """MetricsReader and OwnerFigures of domain.ports."""

    def __init__(self, board: RedisMetricsBoard) -> None:
        self._board = board

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        return await _reached(self._board.read(kind))

    async def note_stopped(self, owner: str) -> None:
        await _reached(self._board.note_stopped("owners", owner))


async def _reached(asking: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await asking
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error
