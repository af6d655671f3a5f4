"""The Redis client: that its callers can be cancelled."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from storage.redis import open_redis

pytestmark = pytest.mark.asyncio
_TICKS = 60


@pytest.mark.parametrize("max_connections", [1, 16])
async def test_whoever_is_cancelled_in_a_call_is_cancelled(
    redis_url: str, max_connections: int
) -> None:
    """At whatever turn of the event loop: a cancellation that is lost lets loops go on for ever."""
    redis = open_redis(redis_url, max_connections=max_connections)
    try:
        for _ in range(3):
            for ticks in range(_TICKS):
                call = asyncio.create_task(_set(redis, "test:cancelled", b"1"))
                for _ in range(ticks):
                    await asyncio.sleep(0)
                if call.cancel():
                    await asyncio.wait([call], timeout=10)
                    assert call.cancelled(), f"after {ticks} turns"
        assert await redis.get("test:cancelled") == b"1"  # the connections are as good as before
    finally:
        await redis.aclose()


async def _set(redis: Redis, name: str, value: bytes) -> None:
    await redis.set(name, value)
