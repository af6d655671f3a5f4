from __future__ import annotations

import uuid

import pytest

from actors import outbox_relay
from actors.outbox_relay import OutboxRelay
from domain.orders import OutboxEvent, confirmed_event
from domain.ports import Unavailable
from tests.actors.memory import Clock, Fault, MemoryBus, MemoryJournal, MemoryOrders

pytestmark = pytest.mark.asyncio


@pytest.fixture
def orders() -> MemoryOrders:
    clock = Clock()
    return MemoryOrders(MemoryJournal(clock.unix), clock.utc)


def _fill(orders: MemoryOrders, count: int) -> list[OutboxEvent]:
    """Events that are older the smaller their id is, put in from last to first."""
    events = [
        confirmed_event(uuid.UUID(int=number), uuid.uuid4(), 100, "USD")
        for number in range(1, count + 1)
    ]
    orders.outbox.update({event.event_id: event for event in reversed(events)})
    return events


async def test_events_reach_the_bus_in_order_and_once(
    orders: MemoryOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_relay, "BATCH_MAX", 4)
    events, bus = _fill(orders, 10), MemoryBus()
    relay = OutboxRelay(orders, bus)
    assert [await relay.relay() for _ in range(4)] == [4, 4, 2, 0]
    assert bus.events == events
    assert relay.published_total == 10


async def test_a_crash_between_publishing_and_marking_publishes_again(
    orders: MemoryOrders,
) -> None:
    """P9: at least once."""
    events, bus = _fill(orders, 3), MemoryBus()
    orders.faults.plan("mark_published", Fault.BEFORE)
    with pytest.raises(Unavailable):
        await OutboxRelay(orders, bus).relay()
    assert await OutboxRelay(orders, bus).relay() == 3
    assert bus.events == events + events


@pytest.mark.parametrize("fault", list(Fault))
async def test_what_the_bus_may_not_have_is_not_marked(orders: MemoryOrders, fault: Fault) -> None:
    events, bus = _fill(orders, 3), MemoryBus()
    bus.faults.plan("publish", fault)
    with pytest.raises(Unavailable):
        await OutboxRelay(orders, bus).relay()
    assert orders.published == []
    await OutboxRelay(orders, bus).relay()
    assert bus.events[-3:] == events
