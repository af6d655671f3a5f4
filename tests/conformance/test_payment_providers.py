"""What every payment provider owes its callers: one suite for all of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import NotReached, RefundRefused, Unavailable
from tests.conformance.providers import BENCHES, Bench, Means, Stage

pytestmark = pytest.mark.asyncio
AMOUNT = 1_580
_numbers = itertools.count(1)


@pytest_asyncio.fixture(params=list(BENCHES))
async def bench(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Bench]:
    """Each provider in turn, on books of its own."""
    async for one in BENCHES[request.param](Stage(database_url=database_url)):
        yield one


def a_charge(bench: Bench, means: Means = "good", **changes: Any) -> ChargeRequest:
    """A charge nobody has made yet."""
    if means not in bench.tokens:
        pytest.skip(f"{bench.provider.name} knows no {means}")
    kind, token = bench.tokens[means]
    values: dict[str, Any] = {
        "transaction_id": f"charge-{next(_numbers)}",
        "amount_minor": AMOUNT,
        "currency": "USD",
        "payment_token": token,
        "kind": kind,
        "return_url": "http://shop.example/back",
    }
    return ChargeRequest(**(values | changes))


def hook(bench: Bench, name: str) -> Any:
    """A lever of the bench; the test is skipped if it has none."""
    if (lever := getattr(bench, name)) is None:
        pytest.skip(f"nobody can play {name} at {bench.provider.name}")
    return lever


def _is(state: ChargeState | None, status: str, refunded: int = 0) -> None:
    assert state is not None
    assert (state.status, state.amount_minor, state.currency, state.refunded_minor) == (
        status,
        AMOUNT,
        "USD",
        refunded,
    )


async def test_the_way_of_a_charge_and_every_step_twice(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    assert await provider.lookup(charge) is None
    for _ in range(2):
        _is(await provider.authorize(charge), "authorized")
    for _ in range(2):
        _is(await provider.capture(charge), "captured")
    _is(await provider.authorize(charge), "captured")
    _is(await provider.void(charge), "captured")  # too late for that
    for _ in range(2):
        _is(await provider.refund(charge, RefundRequest("all", AMOUNT)), "refunded", AMOUNT)
    _is(await provider.capture(charge), "refunded", AMOUNT)
    _is(await provider.lookup(charge), "refunded", AMOUNT)


async def test_a_voided_hold_is_never_taken(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    for _ in range(2):
        _is(await provider.void(charge), "voided")
    _is(await provider.capture(charge), "voided")
    _is(await provider.lookup(charge), "voided")
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("one", 1))


async def test_a_void_before_the_charge_makes_it_impossible(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    for _ in range(2):
        assert (await provider.void(charge)).status == "voided"
    assert (await provider.authorize(charge)).status == "voided"
    assert (await provider.capture(charge)).status == "voided"
    state = await provider.lookup(charge)
    assert state is None or state.status == "voided"


async def test_what_was_never_authorized_cannot_be_taken(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    assert (await provider.capture(charge)).status == "voided"
    state = await provider.lookup(charge)
    assert state is None or state.status == "voided"
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("one", 1))


async def test_refunds_in_parts_up_to_the_whole(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    await provider.capture(charge)
    for _ in range(2):  # the same refund again gives nothing
        _is(await provider.refund(charge, RefundRequest("first", 580)), "captured", 580)
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("too much", 1_001))
    _is(await provider.lookup(charge), "captured", 580)
    _is(await provider.refund(charge, RefundRequest("second", 1_000)), "refunded", AMOUNT)
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("one more", 1))
    # Also afterwards, what was given back before is told and not refused.
    _is(await provider.refund(charge, RefundRequest("first", 580)), "refunded", AMOUNT)


@pytest.mark.parametrize("amount", [0, -5, AMOUNT + 1])
async def test_a_refund_of_no_amount_or_of_too_much_is_refused(bench: Bench, amount: int) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    await provider.capture(charge)
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("wrong", amount))
    _is(await provider.lookup(charge), "captured")


async def test_a_hold_has_nothing_to_refund(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("early", 1))
    _is(await provider.lookup(charge), "authorized")


async def test_a_refund_in_another_currency_is_refused(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    await provider.capture(charge)
    other = ChargeRequest(charge.transaction_id, AMOUNT, "EUR", charge.payment_token, charge.kind)
    with pytest.raises(RefundRefused):
        await provider.refund(other, RefundRequest("euros", 5))
    _is(await provider.lookup(charge), "captured")


async def test_currencies_without_cents_are_whole_units(bench: Bench) -> None:
    charge = a_charge(bench, amount_minor=1_500, currency="JPY")
    state = await bench.provider.authorize(charge)
    assert (state.status, state.amount_minor, state.currency) == ("authorized", 1_500, "JPY")


@pytest.mark.parametrize("means", ["declined", "no_funds", "expired", "processing_error"])
async def test_a_refused_card_stays_refused_and_says_why(bench: Bench, means: Means) -> None:
    charge, provider = a_charge(bench, means), bench.provider
    for _ in range(2):
        state = await provider.authorize(charge)
        assert state.status == "declined"
        assert state.decline_code in bench.codes[means]
    assert (await provider.capture(charge)).status == "declined"
    assert (await provider.void(charge)).status in ("declined", "voided")
    with pytest.raises(RefundRefused):
        await provider.refund(charge, RefundRequest("one", 1))


async def test_an_unknown_means_of_payment_is_told_apart(bench: Bench) -> None:
    state = await bench.provider.authorize(a_charge(bench, "unknown"))
    assert state.status == "declined"
    assert state.decline_code in bench.codes["unknown"]


@pytest.mark.parametrize("means", ["challenged", "wallet"])
async def test_a_buyer_who_agrees_elsewhere_lets_the_charge_go_on(
    bench: Bench, means: Means
) -> None:
    charge, provider = a_charge(bench, means), bench.provider
    approve = hook(bench, "approve")
    for _ in range(2):
        state = await provider.authorize(charge)
        assert state.status == "requires_action"
        assert state.next_action is not None
        assert state.next_action.kind == "redirect"
        assert state.next_action.url
    assert (await provider.capture(charge)).status == "requires_action"
    for _ in range(2):
        await approve(charge.transaction_id)
    _is(await provider.lookup(charge), "authorized")
    _is(await provider.authorize(charge), "authorized")
    _is(await provider.capture(charge), "captured")


@pytest.mark.parametrize("means", ["challenged", "wallet"])
async def test_a_buyer_who_does_not_agree_ends_the_charge(bench: Bench, means: Means) -> None:
    charge, provider = a_charge(bench, means), bench.provider
    deny, approve = hook(bench, "deny"), hook(bench, "approve")
    await provider.authorize(charge)
    await deny(charge.transaction_id)
    state = await provider.lookup(charge)
    assert state is not None
    assert state.status == "declined"
    assert state.decline_code in bench.codes["challenged"]
    await approve(charge.transaction_id)  # too late
    assert (await provider.capture(charge)).status == "declined"


@pytest.mark.parametrize("means", ["challenged", "wallet", "transfer"])
async def test_a_charge_that_waits_for_the_buyer_can_be_voided(bench: Bench, means: Means) -> None:
    charge, provider = a_charge(bench, means), bench.provider
    lever = hook(bench, "settle" if means == "transfer" else "approve")
    assert (await provider.authorize(charge)).status == "requires_action"
    _is(await provider.void(charge), "voided")
    await lever(charge.transaction_id)
    _is(await provider.lookup(charge), "voided")
    assert (await provider.capture(charge)).status == "voided"


async def test_a_transfer_says_where_to_and_is_taken_when_it_arrives(bench: Bench) -> None:
    charge, provider = a_charge(bench, "transfer"), bench.provider
    settle = hook(bench, "settle")
    state = await provider.authorize(charge)
    assert state.status == "requires_action"
    assert state.next_action is not None
    assert state.next_action.kind == "transfer"
    assert state.next_action.instructions["reference"]
    assert (await provider.capture(charge)).status == "requires_action"
    for _ in range(2):
        await settle(charge.transaction_id)
    _is(await provider.lookup(charge), "captured")
    _is(await provider.refund(charge, RefundRequest("half", 790)), "captured", 790)


async def test_a_slow_transfer_is_processing_until_it_is_over(bench: Bench) -> None:
    charge, provider = a_charge(bench, "slow_transfer"), bench.provider
    assert (await provider.authorize(charge)).status == "processing"
    assert (await provider.void(charge)).status == "processing"  # it cannot be called back
    await hook(bench, "settle")(charge.transaction_id)
    _is(await provider.lookup(charge), "captured")


async def test_a_failed_transfer_is_declined(bench: Bench) -> None:
    charge, provider = a_charge(bench, "slow_transfer"), bench.provider
    await provider.authorize(charge)
    await hook(bench, "fail_transfer")(charge.transaction_id)
    state = await provider.lookup(charge)
    assert state is not None
    assert state.status == "declined"
    assert state.decline_code


async def test_one_charge_from_many_callers_is_made_once(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider

    async def until_answered(call: Any) -> ChargeState:
        while True:  # a call of the same charge that is under way may be told so
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0)

    for call, status in ((provider.authorize, "authorized"), (provider.capture, "captured")):
        tasks = [until_answered(lambda call=call: call(charge)) for _ in range(10)]
        for state in await asyncio.gather(*tasks):
            _is(state, status)
    refund = RefundRequest("once", 600)
    tasks = [until_answered(lambda: provider.refund(charge, refund)) for _ in range(10)]
    for state in await asyncio.gather(*tasks):
        _is(state, "captured", 600)
    if bench.taken is not None:
        assert await bench.taken(charge.transaction_id) == AMOUNT - 600


async def test_refunds_that_race_never_give_back_more_than_was_taken(bench: Bench) -> None:
    charge, provider = a_charge(bench), bench.provider
    await provider.authorize(charge)
    await provider.capture(charge)
    results = await asyncio.gather(
        *[provider.refund(charge, RefundRequest(f"r{n}", 400)) for n in range(10)],
        return_exceptions=True,
    )
    given = [one for one in results if isinstance(one, ChargeState)]
    refused = [one for one in results if isinstance(one, RefundRefused)]
    assert (len(given), len(refused)) == (3, 7)
    _is(await provider.lookup(charge), "captured", 1_200)


async def test_a_capture_and_a_void_at_once_agree_on_one_end(bench: Bench) -> None:
    for _ in range(5):
        charge, provider = a_charge(bench), bench.provider
        await provider.authorize(charge)
        await asyncio.gather(
            provider.capture(charge), provider.void(charge), return_exceptions=True
        )
        end = await provider.lookup(charge)
        assert end is not None
        assert end.status in ("captured", "voided")
        again = [(await provider.void(charge)).status, (await provider.capture(charge)).status]
        assert again == [end.status] * 2


async def test_many_charges_at_once_each_get_their_own_answer(bench: Bench) -> None:
    means: list[Means] = ["good", "declined", "no_funds"]
    charges = [a_charge(bench, means[n % 3], amount_minor=100 + n) for n in range(30)]
    states = await asyncio.gather(*[bench.provider.authorize(charge) for charge in charges])
    for n, state in enumerate(states):
        assert state.amount_minor == 100 + n
        assert state.status == ("declined" if n % 3 else "authorized")


# What a caller is told, and what has happened by then.
_FAULTS: list[tuple[Any, type[Exception], bool]] = [
    ("refused", Unavailable, False),
    ("error_before", Unavailable, False),
    ("silent_before", Unavailable, False),
    ("rate_limited", Unavailable, False),
    ("in_flight", Unavailable, False),
    ("error_after", Unavailable, True),
    ("silent_after", Unavailable, True),
]


@pytest.mark.parametrize(("fault", "error", "happened"), _FAULTS)
@pytest.mark.parametrize("call", ["authorize", "capture", "void", "refund"])
async def test_no_answer_leaves_books_that_a_repeat_settles(
    bench: Bench, call: str, fault: Any, error: type[Exception], happened: bool
) -> None:
    plan, provider, charge = hook(bench, "faults"), bench.provider, a_charge(bench)
    before = {"authorize": 0, "capture": 1, "void": 1, "refund": 2}[call]
    for step in (provider.authorize, provider.capture)[:before]:
        await step(charge)
    calls: dict[str, Any] = {
        "authorize": lambda: provider.authorize(charge),
        "capture": lambda: provider.capture(charge),
        "void": lambda: provider.void(charge),
        "refund": lambda: provider.refund(charge, RefundRequest("one", 80)),
    }
    ends = {"authorize": "authorized", "capture": "captured", "void": "voided"}
    end = ends.get(call, "captured"), 80 if call == "refund" else 0
    name = bench.calls.get(call, call)
    plan.plan(name, *[fault] * bench.tries)
    with pytest.raises(error):
        await calls[call]()
    known = await provider.lookup(charge)
    if call != "authorize" or happened:
        assert known is not None
        assert ((known.status, known.refunded_minor) == end) is happened
    for _ in range(2):
        state = await calls[call]()
        assert (state.status, state.refunded_minor) == end


async def test_a_provider_that_was_not_reached_says_so(bench: Bench) -> None:
    plan, charge = hook(bench, "faults"), a_charge(bench)
    if not bench.tells_not_reached:
        pytest.skip("a server that answers cannot be out of reach")
    plan.plan("authorize", "refused")
    with pytest.raises(NotReached):
        await bench.provider.authorize(charge)
    assert await bench.provider.lookup(charge) is None


async def test_events_name_the_charge(bench: Bench) -> None:
    charge = a_charge(bench, "transfer")
    settle = hook(bench, "settle")
    if bench.next_event is None:
        pytest.skip(f"{bench.provider.name} sends no events here")
    await bench.provider.authorize(charge)
    await settle(charge.transaction_id)
    while True:
        event = await bench.next_event()
        if event.type == "payment_intent.succeeded":
            break
    assert event.transaction_id == charge.transaction_id
