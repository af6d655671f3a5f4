"""Buyers who come back from a payment page."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from domain import ids
from domain.orders import OrderDraft
from domain.payments import ProviderEvent
from serve_apps import resume_app
from serve_apps.prompt_settling import PromptSettlingConfig
from serve_apps.resume_app import LOOK_EVERY_S
from tests.actors.drafts import transaction_of
from tests.actors.memory import Fault
from tests.actors.shops import Hasty, an_order
from tests.serve_apps.conftest import assert_problem
from tests.serve_apps.hooks import UNITS, Counter, memory_counter, postgres_counter

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["memory", "postgres"])
def pool_or_none(request: pytest.FixtureRequest) -> asyncpg.Pool | None:
    return request.getfixturevalue("pool") if request.param == "postgres" else None


@pytest_asyncio.fixture
async def counter(pool_or_none: asyncpg.Pool | None) -> AsyncIterator[Counter]:
    opened = memory_counter() if pool_or_none is None else postgres_counter(pool_or_none)
    async with opened as own:
        yield own


async def _status(counter: Counter, order: OrderDraft) -> str:
    answer = await counter.resume(ids.encode("order", order.order_id), order.user_id)
    assert answer.status_code == 200, answer.text
    return answer.json()["status"]


async def test_whoever_has_paid_comes_back_to_a_confirmed_order(counter: Counter) -> None:
    order = await counter.waiting_order()
    assert await _status(counter, order) == "awaiting_payment"
    counter.provider.approve(transaction_of(order))
    counter.clock.advance(LOOK_EVERY_S)
    assert await _status(counter, order) == "confirmed"
    assert counter.charge(order) == "captured"
    assert await counter.left() == UNITS - 2


async def test_whoever_was_refused_comes_back_to_a_failed_order(counter: Counter) -> None:
    order = await counter.waiting_order()
    counter.provider.becomes(transaction_of(order), "declined", "authentication_required")
    assert await _status(counter, order) == "failed"
    assert await counter.left() == UNITS


async def test_a_webhook_at_the_same_time_comes_to_the_same_end(counter: Counter) -> None:
    order = await counter.waiting_order()
    charge = transaction_of(order)
    counter.provider.approve(charge)
    status, told = await asyncio.gather(_status(counter, order), counter.tell("evt_1", charge))
    assert (status, told.status_code) == ("confirmed", 200)
    assert await counter.left() == UNITS - 2


async def test_strangers_and_wrong_names_find_nothing(counter: Counter) -> None:
    order = await counter.waiting_order()
    counter.provider.approve(transaction_of(order))
    own = ids.encode("order", order.order_id)
    for name in (own, ids.encode("order", uuid.uuid4()), "order_1", "x" * 300):
        assert_problem(await counter.resume(name, uuid.uuid4()), 404, "not_found")
    answer = await counter.client.post(f"/api/v1/orders/{own}/resume")
    assert_problem(answer, 401, "unauthorized")
    assert await counter.status(order) == "awaiting_payment"


async def test_the_provider_is_asked_once_a_second_however_often_the_buyer_asks() -> None:
    async with memory_counter() as counter:
        order, other = await counter.waiting_order(), await counter.waiting_order()
        counter.provider.calls.clear()
        for _ in range(5):
            await _status(counter, order)
        assert counter.provider.calls == ["lookup"]
        await _status(counter, other)
        assert counter.provider.calls == ["lookup"] * 2
        counter.clock.advance(LOOK_EVERY_S)
        await _status(counter, order)
        assert counter.provider.calls == ["lookup"] * 3


async def test_what_is_remembered_of_looks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_app, "ORDERS_REMEMBERED_MAX", 1)
    async with memory_counter() as counter:
        order, other = await counter.waiting_order(), await counter.waiting_order()
        counter.provider.calls.clear()
        for one in (order, other, order):
            await _status(counter, one)
        assert counter.provider.calls == ["lookup"] * 3


async def test_an_order_whose_checkout_is_at_it_is_shown_and_left_alone() -> None:
    async with memory_counter() as counter:
        order, _ = an_order([(2, [counter.pair])])
        await counter.orders.record([order])
        assert await _status(counter, order) == "pending"
        assert counter.provider.calls == []


async def test_a_provider_that_is_away_shows_the_order_as_it_was() -> None:
    async with memory_counter(monotonic=Hasty().monotonic) as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        counter.provider.faults.plan("lookup", Fault.BEFORE)
        assert await _status(counter, order) == "awaiting_payment"
        counter.clock.advance(LOOK_EVERY_S)
        assert await _status(counter, order) == "confirmed"


async def test_when_too_many_ask_at_once_the_order_is_only_shown() -> None:
    async with memory_counter(PromptSettlingConfig(at_once_max=0)) as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        assert await _status(counter, order) == "awaiting_payment"
        event = ProviderEvent("evt_1", "hint", transaction_of(order))
        assert await counter.orders.note_event("twin", event)
        assert await counter.parts.recovery.settle_waiting() == 1
        assert await _status(counter, order) == "confirmed"
