"""Webhooks: forged, unknown, doubled, out of order, too early, and when nobody can go by them."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio
import structlog

from actors.checkout import Waiting
from domain.payments import ProviderEvent
from serve_apps.prompt_settling import PromptSettlingConfig
from serve_apps.webhook_app import NAME_LENGTH_MAX
from tests.actors.drafts import transaction_of
from tests.actors.memory import Fault
from tests.actors.shops import STALLED_AFTER_S, Hasty, an_order
from tests.card_search import grep_for_card_numbers
from tests.serve_apps.conftest import assert_problem
from tests.serve_apps.hooks import (
    UNITS,
    Counter,
    memory_counter,
    postgres_counter,
    signature,
)

pytestmark = pytest.mark.asyncio
HANDLED = {"handled": True, "duplicate": False}
LATER = {"handled": False, "duplicate": False}
PASSES = "371449635398431"  # as the network's ids of transactions may: 15 digits
DUPLICATE = {"handled": False, "duplicate": True}


@pytest.fixture(params=["memory", "postgres"])
def pool_or_none(request: pytest.FixtureRequest) -> asyncpg.Pool | None:
    return request.getfixturevalue("pool") if request.param == "postgres" else None


@pytest_asyncio.fixture
async def counter(pool_or_none: asyncpg.Pool | None) -> AsyncIterator[Counter]:
    opened = memory_counter() if pool_or_none is None else postgres_counter(pool_or_none)
    async with opened as own:
        yield own


async def test_a_webhook_settles_an_order_that_waits(counter: Counter) -> None:
    order = await counter.waiting_order()
    charge = transaction_of(order)
    told = await counter.tell("evt_1", charge)
    assert (told.status_code, told.json()) == (200, HANDLED)  # asked, and still waiting
    assert await counter.status(order) == "awaiting_payment"
    counter.provider.approve(charge)
    assert (await counter.tell("evt_2", charge)).json() == HANDLED
    assert (await counter.status(order), counter.charge(order)) == ("confirmed", "captured")
    assert await counter.left() == UNITS - 2
    assert (await counter.tell("evt_2", charge)).json() == DUPLICATE


async def test_a_webhook_of_a_refusal_unwinds_the_order(counter: Counter) -> None:
    order = await counter.waiting_order()
    charge = transaction_of(order)
    counter.provider.becomes(charge, "declined", "authentication_required")
    assert (await counter.tell("evt_1", charge)).json() == HANDLED
    stored = await counter.orders.find(order.order_id, order.user_id)
    assert (stored.status, stored.failure["kind"]) == ("failed", "payment_declined")
    assert stored.failure["decline_code"] == "authentication_required"
    assert await counter.left() == UNITS


async def test_money_of_a_bank_transfer_settles_its_order(counter: Counter) -> None:
    order, demands = an_order([(2, [counter.pair])], payment_token="card_3ds")
    result = await counter.parts.checkout.run(order, demands)
    assert isinstance(result, Waiting)
    counter.clock.advance(120)
    counter.provider.becomes(transaction_of(order), "captured")  # transfers know no hold
    assert (await counter.tell("evt_1", transaction_of(order))).json() == HANDLED
    assert await counter.status(order) == "confirmed"


@pytest.mark.parametrize("signed", ["wrong", None])
async def test_a_forged_webhook_changes_nothing(counter: Counter, signed: str | None) -> None:
    order = await counter.waiting_order()
    counter.provider.approve(transaction_of(order))
    body = orjson.dumps({"id": "evt_1", "charge": transaction_of(order)})
    answer = await counter.send(body, {} if signed is None else {"X-Signature": signed})
    assert_problem(answer, 400, "webhook_forged")
    assert await counter.status(order) == "awaiting_payment"
    # The genuine one is no duplicate of it: nothing was kept.
    assert (await counter.tell("evt_1", transaction_of(order))).json() == HANDLED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'{"id": 7}',
        orjson.dumps({"id": "a\0b"}),
        orjson.dumps({"id": "e" * (NAME_LENGTH_MAX + 1)}),
        orjson.dumps({"id": "evt_1", "charge": "charge_\0"}),
    ],
)
async def test_what_is_signed_and_no_event_is_not_valid(body: bytes) -> None:
    async with memory_counter() as counter:
        answer = await counter.send(body, {"X-Signature": signature(body)})
        assert_problem(answer, 422, "validation")
        assert counter.orders.webhooks == {}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


async def test_a_signed_event_may_hold_what_passes_for_a_card_number(
    counter: Counter, logged: list[Any]
) -> None:
    order = await counter.waiting_order()
    counter.provider.approve(transaction_of(order))
    event = {"id": "evt_1", "charge": transaction_of(order), "network_transaction_id": PASSES}
    body = orjson.dumps(event)
    for headers in ({}, {"X-Signature": "wrong"}, {"X-Signature": signature(body + b" ")}):
        assert_problem(await counter.send(body, headers), 422, "card_number_refused")
    elsewhere = await counter.client.post(
        "/api/v1/orders/webhooks", content=body, headers={"X-Signature": signature(body)}
    )
    assert_problem(elsewhere, 422, "card_number_refused")
    unknown = await counter.send(body, {"X-Signature": signature(body)}, gateway="nobody")
    assert_problem(unknown, 422, "card_number_refused")
    assert await counter.status(order) == "awaiting_payment"
    told = await counter.send(body, {"X-Signature": signature(body)})
    assert (told.status_code, told.json()) == (200, HANDLED)
    assert await counter.status(order) == "confirmed"
    assert PASSES not in str(logged)


async def test_nothing_of_a_signed_event_with_such_a_number_is_kept_or_logged(
    pool: asyncpg.Pool, logged: list[Any]
) -> None:
    async with postgres_counter(pool) as counter:
        order = await counter.waiting_order()
        body = orjson.dumps({"id": "evt_1", "charge": transaction_of(order), "more": PASSES})
        assert (await counter.send(body, {"X-Signature": signature(body)})).status_code == 200
    assert await grep_for_card_numbers(None, pool) == []
    assert PASSES not in str(logged)


@pytest.mark.parametrize("name", ["id", "type", "charge"])
async def test_what_is_kept_of_a_signed_event_is_no_card_number(
    name: str, logged: list[Any]
) -> None:
    async with memory_counter() as counter:
        body = orjson.dumps({"id": "evt_1", "type": "hint", "charge": "charge_1"} | {name: PASSES})
        answer = await counter.send(body, {"X-Signature": signature(body)})
        assert_problem(answer, 422, "validation")
        assert PASSES not in answer.text + str(logged)
        assert counter.orders.webhooks == {}


async def test_a_body_over_the_limit_is_refused() -> None:
    async with memory_counter() as counter:
        body = b" " * (64 * 1024 + 1)
        answer = await counter.send(body, {"X-Signature": signature(body)})
        assert_problem(answer, 413, "too_large")


async def test_an_unknown_gateway_and_an_unknown_charge_are_not_found(counter: Counter) -> None:
    assert_problem(await counter.tell("evt_1", None, gateway="nobody"), 404, "not_found")
    unknown = f"charge_{uuid.uuid4().hex}"
    for _ in range(2):  # nothing is kept: a repeat hears the same
        assert_problem(await counter.tell("evt_1", unknown), 404, "not_found")


@pytest.mark.parametrize("charge", [None, "", "sub_somebody_elses"])
async def test_what_is_not_about_our_charges_is_passed_over(
    counter: Counter, charge: str | None
) -> None:
    for _ in range(2):
        answer = await counter.tell("evt_1", charge)
        assert (answer.status_code, answer.json()) == (200, LATER)


async def test_an_event_id_is_its_gateways_own(counter: Counter) -> None:
    order = await counter.waiting_order()
    event = ProviderEvent("evt_1", "hint", transaction_of(order))
    assert await counter.orders.note_event("another", event)
    assert (await counter.tell("evt_1", transaction_of(order))).json() == HANDLED


async def test_a_settled_order_is_left_as_it_is(counter: Counter) -> None:
    order = await counter.waiting_order()
    counter.provider.approve(transaction_of(order))
    await counter.tell("evt_1", transaction_of(order))
    counter.provider.calls.clear()
    assert (await counter.tell("evt_2", transaction_of(order))).json() == HANDLED
    assert counter.provider.calls == []
    assert await counter.status(order) == "confirmed"


async def test_the_same_webhook_many_times_at_once_is_handled_once(counter: Counter) -> None:
    order = await counter.waiting_order()
    charge = transaction_of(order)
    counter.provider.approve(charge)
    answers = await asyncio.gather(*[counter.tell("evt_1", charge) for _ in range(5)])
    assert sorted(str(one.json()) for one in answers) == sorted(
        [str(HANDLED), *[str(DUPLICATE)] * 4]
    )
    assert await counter.status(order) == "confirmed"
    assert counter.provider.calls.count("capture") == 1


_STORIES = sorted(set(itertools.permutations(("asked", "agreed", "agreed", "taken"))))


@pytest.mark.parametrize("status", ["authorized", "captured", "declined"])
@pytest.mark.parametrize("events", _STORIES, ids="-".join)
async def test_events_in_any_order_come_to_the_same_end(
    events: tuple[str, ...], status: str
) -> None:
    """Whenever the buyer acts: before, between or after whatever the provider tells."""
    for acts_at in range(len(events) + 1):
        async with memory_counter() as counter:
            order = await counter.waiting_order()
            charge = transaction_of(order)
            for position, event in enumerate(events):
                if position == acts_at:
                    counter.provider.becomes(charge, status)
                assert (await counter.tell(event, charge)).status_code == 200
            if acts_at == len(events):
                assert await counter.status(order) == "awaiting_payment"
                counter.provider.becomes(charge, status)
            counter.clock.advance(11)
            await counter.parts.recovery.settle_waiting()
            paid = status != "declined"
            assert await counter.status(order) == ("confirmed" if paid else "failed")
            assert counter.charge(order) == ("captured" if paid else "declined")
            assert await counter.left() == (UNITS - 2 if paid else UNITS)
            assert len(counter.orders.outbox) == paid
            assert all(one.handled for one in counter.orders.webhooks.values())


async def _told_too_early(counter: Counter, passes: bool) -> tuple[Any, Any]:
    """A checkout during which its webhook comes; also slow, with recovery at work meanwhile."""
    order, demands = an_order([(2, [counter.pair])], payment_token="card_3ds")
    seen: list[Any] = []

    async def meanwhile() -> None:
        answer = await counter.tell("evt_1", transaction_of(order))
        seen.append((answer.json(), await counter.status(order)))
        if passes:
            counter.clock.advance(STALLED_AFTER_S - 1)
            assert await counter.parts.recovery.settle_stalled() == 0
            assert await counter.parts.recovery.settle_waiting() == 0
        counter.provider.approve(transaction_of(order))

    counter.provider.meanwhile = meanwhile
    result = await counter.parts.checkout.run(order, demands)
    assert seen == [(LATER, "pending")]
    return order, result


@pytest.mark.parametrize("passes", [False, True])
async def test_a_webhook_before_the_order_waits_is_neither_lost_nor_harmful(
    counter: Counter, passes: bool
) -> None:
    order, result = await _told_too_early(counter, passes)
    assert isinstance(result, Waiting)  # its checkout went on as if nothing had been told
    assert await counter.status(order) == "awaiting_payment"
    assert await counter.parts.recovery.settle_waiting() == 1
    assert (await counter.status(order), counter.charge(order)) == ("confirmed", "captured")
    assert await counter.parts.recovery.settle_waiting() == 0


async def test_a_webhook_of_a_checkout_that_died_waits_for_recovery(counter: Counter) -> None:
    order, _ = an_order([(2, [counter.pair])], payment_token="card_1")
    await counter.orders.record([order])
    await counter.provider.authorize(order.parts[0].charge)
    assert (await counter.tell("evt_1", transaction_of(order))).json() == LATER
    assert counter.charge(order) == "authorized"
    counter.clock.advance(STALLED_AFTER_S + 1)
    assert await counter.parts.recovery.settle_stalled() == 1
    assert await counter.status(order) == "failed"  # nothing was held for it


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("method", ["lookup", "capture"])
async def test_recovery_goes_by_what_could_not_be_settled_at_once(
    method: str, fault: Fault
) -> None:
    async with memory_counter(monotonic=Hasty().monotonic) as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        counter.provider.faults.plan(method, fault)
        answer = await counter.tell("evt_1", transaction_of(order))
        assert (answer.status_code, answer.json()) == (200, LATER)
        assert await counter.status(order) == "awaiting_payment"
        # Told, it is looked at in the very next pass.
        assert await counter.parts.recovery.settle_waiting() == 1
        assert (await counter.status(order), counter.charge(order)) == ("confirmed", "captured")
        counter.clock.advance(11)
        await counter.parts.recovery.settle_waiting()
        assert [one.handled for one in counter.orders.webhooks.values()] == [True]


async def test_a_lost_mark_is_made_up_for_by_recovery() -> None:
    async with memory_counter() as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        counter.orders.faults.plan("event_handled", Fault.BEFORE)
        assert (await counter.tell("evt_1", transaction_of(order))).json() == LATER
        assert await counter.status(order) == "confirmed"
        counter.clock.advance(11)
        assert await counter.parts.recovery.settle_waiting() == 0
        assert [one.handled for one in counter.orders.webhooks.values()] == [True]


async def test_a_webhook_that_cannot_be_kept_is_sent_again() -> None:
    async with memory_counter() as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        counter.orders.faults.plan("note_event", Fault.BEFORE)
        assert_problem(await counter.tell("evt_1", transaction_of(order)), 503, "busy")
        assert (await counter.tell("evt_1", transaction_of(order))).json() == HANDLED


async def test_a_provider_that_hangs_holds_no_webhook_for_long() -> None:
    async with memory_counter(PromptSettlingConfig(timeout_s=0.01)) as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        counter.provider.look = asyncio.Event().wait
        assert (await counter.tell("evt_1", transaction_of(order))).json() == LATER
        counter.provider.look = None
        assert await counter.parts.recovery.settle_waiting() == 1
        assert await counter.status(order) == "confirmed"


async def test_beyond_the_bound_nothing_is_kept_and_a_hang_up_changes_nothing() -> None:
    async with memory_counter(PromptSettlingConfig(at_once_max=1)) as counter:
        first, second = await counter.waiting_order(), await counter.waiting_order()
        for order in (first, second):
            counter.provider.approve(transaction_of(order))
        looked, go_on = asyncio.Event(), asyncio.Event()

        async def look() -> None:
            looked.set()
            await go_on.wait()

        counter.provider.look = look
        under_way = asyncio.create_task(counter.tell("evt_1", transaction_of(first)))
        await looked.wait()
        assert_problem(await counter.tell("evt_2", transaction_of(second)), 503, "busy")
        under_way.cancel()
        await asyncio.wait([under_way])
        go_on.set()
        await counter.settling.drain()
        assert await counter.status(first) == "confirmed"
        assert (await counter.tell("evt_2", transaction_of(second))).json() == HANDLED
        assert await counter.status(second) == "confirmed"


async def test_what_was_never_told_is_found_all_the_same() -> None:
    async with memory_counter() as counter:
        order = await counter.waiting_order()
        counter.provider.approve(transaction_of(order))
        assert await counter.parts.recovery.settle_waiting() == 0
        counter.clock.advance(11)
        assert await counter.parts.recovery.settle_waiting() == 1
        assert await counter.status(order) == "confirmed"
