"""The event bus on Redis Streams: CloudEvents 1.0, in JSON, one stream, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.orders import ORDER_CONFIRMED, OutboxEvent
from domain.ports import Unavailable

STREAM = "events"
STREAM_LENGTH_MAX = 1_000_000  # older events are trimmed; consumers keep up or read Postgres
SOURCE = "/doorbuster"
_READ_AT_ONCE = 1_000


def cloud_event(event: OutboxEvent) -> dict[str, Any]:
    """The event as CloudEvents' JSON format has it (attribute names of specification 1.0)."""
    return {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": SOURCE,
        "type": event.type,
        "subject": str(event.subject),
        "datacontenttype": "application/json",
        "data": event.data,
    }


class RedisStreamsBus:
    """EventBus of domain.ports, and the reader that the audit asks (P9)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Append the events, in order, in one round trip. Raises Unavailable."""
        pipeline = self._redis.pipeline(transaction=False)
        for event in events:
            fields = {"event": orjson.dumps(cloud_event(event))}
            pipeline.xadd(STREAM, fields, maxlen=STREAM_LENGTH_MAX, approximate=True)  # type: ignore[arg-type]
        try:
            await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"event bus: {error}") from error

    async def confirmed_orders(self) -> AsyncIterator[UUID]:
        """The orders whose confirmation is on the bus now, oldest first."""
        after = "-"
        while True:
            entries: list[tuple[bytes, dict[bytes, bytes]]] = await self._redis.xrange(  # pyright: ignore[reportAssignmentType]
                STREAM, min=after, count=_READ_AT_ONCE
            )
            for entry_id, fields in entries:
                after = f"({entry_id.decode()}"
                event = orjson.loads(fields[b"event"])
                if event["type"] == ORDER_CONFIRMED:
                    yield UUID(event["subject"])
            if len(entries) < _READ_AT_ONCE:
                return
