"""Where the parts of the house show their figures, in Redis, for the dashboard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.ports import Unavailable

STALE_AFTER_S = 5.0
"""Who has not reported for so long is shown as not alive."""
READ_TIMEOUT_S = 1.0
_FORGOTTEN_AFTER_S = 60.0


class RedisMetricsBoard:
    """MetricsBoard of domain.ports: one hash per kind, one field per reporter."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Replace what `name` showed before."""
        shown = orjson.dumps({**values, "reported_at": time.time()})
        await self._redis.hset(f"metrics:{kind}", name, shown)  # type: ignore[misc,arg-type]

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """What all of a kind show, with `alive`; who is silent for a minute is removed."""
        now = time.time()
        entries: dict[bytes, bytes] = await self._redis.hgetall(f"metrics:{kind}")  # type: ignore[misc]
        shown: dict[str, dict[str, Any]] = {}
        forgotten: list[bytes] = []
        for name, text in entries.items():
            values = orjson.loads(text)
            age = now - values["reported_at"]
            if age > _FORGOTTEN_AFTER_S:
                forgotten.append(name)
            else:
                shown[name.decode()] = {**values, "alive": age < STALE_AFTER_S}
        if forgotten:
            await self._redis.hdel(f"metrics:{kind}", *forgotten)  # type: ignore[misc,arg-type]
        return shown


class RedisMetricsReader:
    """MetricsReader of domain.ports."""

    def __init__(self, board: RedisMetricsBoard) -> None:
        self._board = board

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._board.read(kind)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error
