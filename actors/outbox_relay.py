"""The outbox relay: takes events from the outbox to the bus, at least once, in order (P9)."""

from __future__ import annotations

from domain.ports import EventBus, Outbox

BATCH_MAX = 500


class OutboxRelay:
    """Publishes, then marks; a crash in between publishes again."""

    def __init__(self, outbox: Outbox, bus: EventBus) -> None:
        self._outbox = outbox
        self._bus = bus
        self.published_total = 0

    async def relay(self) -> int:
        """Take one batch; how many events it was. Raises Unavailable."""
        events = await self._outbox.unpublished(BATCH_MAX)
        if events:
            await self._bus.publish(events)
            await self._outbox.mark_published([event.event_id for event in events])
            self.published_total += len(events)
        return len(events)
