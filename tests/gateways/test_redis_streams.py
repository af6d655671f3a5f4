from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from domain.orders import OutboxEvent, confirmed_event
from domain.ports import Unavailable
from gateways import redis_streams
from gateways.redis_streams import STREAM, RedisStreamsBus, cloud_event
from storage.redis import open_redis

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = open_redis(redis_url)
    await client.delete(STREAM)
    try:
        yield client
    finally:
        await client.delete(STREAM)
        await client.aclose()


def _confirmed() -> OutboxEvent:
    return confirmed_event(uuid.uuid4(), uuid.uuid4(), 1_580, "USD")


async def test_an_event_is_a_cloud_event() -> None:
    event = _confirmed()
    assert cloud_event(event) == {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": "/doorbuster",
        "type": "order.confirmed",
        "subject": str(event.subject),
        "datacontenttype": "application/json",
        "data": {"order_id": str(event.subject), "total_minor": 1_580, "currency": "USD"},
    }


async def test_events_are_on_the_stream_in_order(redis: Redis) -> None:
    events = [_confirmed() for _ in range(5)]
    bus = RedisStreamsBus(redis)
    await bus.publish(events[:3])
    await bus.publish(events[3:])
    entries: Any = await redis.xrange(STREAM)
    assert [orjson.loads(one[1][b"event"]) for one in entries] == [
        cloud_event(event) for event in events
    ]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 8, 9])
async def test_all_confirmed_orders_are_read_back_page_by_page(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(redis_streams, "_READ_AT_ONCE", 4)
    events = [_confirmed() for _ in range(count)]
    other = OutboxEvent(event_id=uuid.uuid4(), type="other", subject=uuid.uuid4(), data={})
    bus = RedisStreamsBus(redis)
    await bus.publish([*events, other])
    assert [one async for one in bus.confirmed_orders()] == [event.subject for event in events]


async def test_an_event_may_be_there_twice(redis: Redis) -> None:
    event, bus = _confirmed(), RedisStreamsBus(redis)
    await bus.publish([event])
    await bus.publish([event])
    assert [one async for one in bus.confirmed_orders()] == [event.subject] * 2


async def test_the_stream_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_streams, "STREAM_LENGTH_MAX", 10)
    await RedisStreamsBus(redis).publish([_confirmed() for _ in range(500)])
    # Redis trims whole nodes of up to 100 entries.
    assert 10 <= await redis.xlen(STREAM) <= 200


async def test_a_bus_that_cannot_be_reached_is_unavailable() -> None:
    client = Redis.from_url("unix:///nowhere/redis.sock")
    with pytest.raises(Unavailable):
        await RedisStreamsBus(client).publish([_confirmed()])
    await client.aclose()
