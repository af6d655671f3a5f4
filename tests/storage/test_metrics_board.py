from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from storage.metrics_board import STALE_AFTER_S, RedisMetricsBoard
from storage.redis import open_redis

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = open_redis(redis_url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
def kind() -> str:
    """A kind of this test's own."""
    return uuid.uuid4().hex


async def _silent_for(
    redis: Redis, kind: str, name: str, seconds: float, *, epoch: int = 1
) -> None:
    shown = orjson.dumps({"epoch": epoch, "reported_at": time.time() - seconds})
    await redis.hset(f"metrics:{kind}", name, shown)  # type: ignore[misc,arg-type]


async def test_the_newest_figures_are_shown(redis: Redis, kind: str) -> None:
    board = RedisMetricsBoard(redis)
    assert await board.read(kind) == {}
    await board.publish(kind, "pool-0", {"epoch": 1, "old": True})
    await board.publish(kind, "pool-0", {"epoch": 2, "hot_pairs": [{"available": 3}]})
    await board.publish(kind, "pool-1", {"epoch": 1})
    await board.publish(kind + "-other", "pool-2", {})
    shown = await board.read(kind)
    assert set(shown) == {"pool-0", "pool-1"}
    assert shown["pool-0"]["epoch"] == 2
    assert shown["pool-0"]["hot_pairs"] == [{"available": 3}]
    assert shown["pool-0"]["alive"]
    assert "old" not in shown["pool-0"]


async def test_who_was_stopped_on_purpose_is_not_dead(redis: Redis, kind: str) -> None:
    board = RedisMetricsBoard(redis)

    async def seen() -> tuple[bool, bool]:
        shown = (await board.read(kind))["hot-0"]
        return shown["alive"], shown["stopped"]

    await board.note_stopped(kind, "nobody")  # has shown nothing: there is nothing to take down
    await board.publish(kind, "hot-0", {"epoch": 4})
    assert await seen() == (True, False)
    await board.note_stopped(kind, "hot-0")
    assert await seen() == (False, True)
    await board.publish(kind, "hot-0", {"epoch": 4})  # last words that come late
    assert await seen() == (False, True)
    await _silent_for(redis, kind, "hot-0", STALE_AFTER_S + 1, epoch=4)
    assert await seen() == (False, True)
    await board.publish(kind, "hot-0", {"epoch": 5})  # it was needed again
    assert await seen() == (True, False)
    await _silent_for(redis, kind, "hot-0", STALE_AFTER_S + 1, epoch=5)
    assert await seen() == (False, False)  # and this one died


async def test_who_goes_on_after_the_note_was_not_stopped(redis: Redis, kind: str) -> None:
    board = RedisMetricsBoard(redis)
    await board.publish(kind, "hot-0", {"epoch": 4})
    await board.note_stopped(kind, "hot-0")
    await _silent_for(redis, kind, "hot-0", -STALE_AFTER_S, epoch=4)
    shown = (await board.read(kind))["hot-0"]
    assert (shown["alive"], shown["stopped"]) == (True, False)


async def test_who_is_forgotten_leaves_no_note(redis: Redis, kind: str) -> None:
    board = RedisMetricsBoard(redis)
    await board.publish(kind, "hot-0", {"epoch": 1})
    await board.note_stopped(kind, "hot-0")
    await _silent_for(redis, kind, "hot-0", 61)
    assert await board.read(kind) == {}
    assert await redis.keys(f"metrics:{kind}*") == []


async def test_who_is_silent_is_not_alive_and_then_forgotten(redis: Redis, kind: str) -> None:
    board = RedisMetricsBoard(redis)
    await board.publish(kind, "talks", {"epoch": 1})
    await _silent_for(redis, kind, "silent", STALE_AFTER_S + 1)
    await _silent_for(redis, kind, "gone", 61)
    shown = await board.read(kind)
    assert {name: values["alive"] for name, values in shown.items()} == {
        "talks": True,
        "silent": False,
    }
    assert await redis.hkeys(f"metrics:{kind}") == [b"talks", b"silent"]  # type: ignore[misc]
