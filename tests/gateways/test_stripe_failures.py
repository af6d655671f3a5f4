"""StripeGateway when Stripe fails: unknown outcomes, refused keys, who was never reached, replays."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.payments import RefundRequest
from domain.ports import NotReached, Unavailable
from gateways.stripe_calls import StripeMisconfigured
from gateways.stripe_gateway import StripeGateway
from tests.gateways.scripted_http import Says, Trouble
from tests.gateways.stripe_script import (
    CANCEL,
    CAPTURE,
    CHARGE,
    CONFIRM,
    CREATE,
    KNOWN,
    NEW,
    NOW,
    REPLAYED,
    RETRIEVE,
    TIMEOUT_S,
    Stripe,
    intent,
    is_,
    refused,
    taken,
)

pytestmark = pytest.mark.asyncio


_UNKNOWN_OUTCOMES: dict[str, Says | Trouble] = {
    "conflict": refused(409, code="idempotency_key_in_use", type="idempotency_error"),
    "lock timeout": refused(429, code="lock_timeout"),
    "too many": refused(429, code="rate_limit"),
    "too many, as it was": refused(400, code="rate_limit"),
    "fault": refused(500, type="api_error"),
    "gateway": Says(b"<html>502</html>", 502),
    "no JSON": Says(b"ok", 200),
    "a list": Says([]),
    "an empty object": Says({}),
    "no answer": "hang",
    "hung up": "close",
}


@pytest.mark.parametrize("step", [CREATE, CONFIRM])
@pytest.mark.parametrize("case", list(_UNKNOWN_OUTCOMES))
async def test_no_certain_answer_is_unavailable(
    gateway: StripeGateway, stripe: Stripe, case: str, step: str
) -> None:
    stripe.answers = {CREATE: NEW, CONFIRM: NEW, step: _UNKNOWN_OUTCOMES[case]}
    with pytest.raises(Unavailable) as caught:
        await gateway.authorize(CHARGE)
    assert not isinstance(caught.value, NotReached)
    assert "sk_test_1" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_a_fault(
    gateway: StripeGateway, stripe: Stripe, status: int
) -> None:
    stripe.answers = {CREATE: refused(status, message="Invalid API Key provided: sk_test_1")}
    with pytest.raises(StripeMisconfigured, match="DOORBUSTER_STRIPE_API_KEY") as caught:
        await gateway.authorize(CHARGE)
    assert "sk_test_1" not in str(caught.value)


async def test_another_server_than_stripe_is_a_fault(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {CREATE: Says(b"not found", 404)}
    with pytest.raises(StripeMisconfigured, match="not Stripe"):
        await gateway.authorize(CHARGE)
    with pytest.raises(StripeMisconfigured, match="no Stripe key"):
        StripeGateway(" ", now=lambda: NOW)


def _closed_port() -> str:
    with socket.socket() as taken_for_a_moment:
        taken_for_a_moment.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken_for_a_moment.getsockname()[1]}"


@pytest.mark.parametrize("url", ["closed", "http://no-such-host.invalid"])
async def test_what_was_never_sent_is_not_reached(url: str) -> None:
    gateway = StripeGateway(
        "sk_test_1",
        base_url=_closed_port() if url == "closed" else url,
        now=lambda: NOW,
        timeout_s=4.0,
    )
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: gateway.authorize(CHARGE),
        lambda: gateway.capture(CHARGE),
        lambda: gateway.void(CHARGE),
        lambda: gateway.refund(CHARGE, RefundRequest("r", 1)),
        lambda: gateway.lookup(CHARGE),
        lambda: gateway.save_method("u-1", "pm_1"),
    ]
    for call in calls:
        with pytest.raises(NotReached):
            await call()
    await gateway.close()


async def test_no_free_connection_is_not_reached(stripe: Stripe) -> None:
    gateway = StripeGateway(
        "sk_test_1", base_url=stripe.url, now=lambda: NOW, timeout_s=TIMEOUT_S, connections_max=1
    )
    stripe.answers = {CREATE: "hang"}
    first = asyncio.create_task(gateway.authorize(CHARGE))
    await stripe.came.wait()
    with pytest.raises(NotReached):
        await gateway.authorize(replace(CHARGE, transaction_id="tx-2"))
    with pytest.raises(Unavailable):
        await first
    await gateway.close()


@pytest.mark.parametrize(
    ("created", "expected"), [(NEW, NotReached), (KNOWN, Unavailable)], ids=["first", "repeat"]
)
async def test_not_reached_between_create_and_confirm(
    gateway: StripeGateway, stripe: Stripe, created: Says, expected: type[Exception]
) -> None:
    """Only whoever has just made the intent knows that nobody has confirmed it."""
    stripe.answers = {CREATE: replace(created, headers={**created.headers, "Connection": "close"})}
    stripe.last_path = "/v1/payment_intents"
    with pytest.raises(Unavailable) as caught:
        await gateway.authorize(CHARGE)
    assert type(caught.value) is expected


async def test_not_reached_after_a_step_is_an_unknown_outcome(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    """Stripe was there to confirm, and gone when it was asked what had come of it."""
    stripe.answers = {
        CREATE: KNOWN,
        CONFIRM: Says(intent("requires_capture"), headers={**REPLAYED, "Connection": "close"}),
    }
    stripe.last_path = "/v1/payment_intents/pi_1/confirm"
    with pytest.raises(Unavailable) as caught:
        await gateway.authorize(CHARGE)
    assert not isinstance(caught.value, NotReached)


# --- Replays are never believed.
async def test_a_repeated_authorize_tells_the_state_now(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        CONFIRM: Says(intent("requires_capture"), headers=REPLAYED),
        RETRIEVE: Says(taken()),
    }
    assert await gateway.authorize(CHARGE) == is_("captured")


async def test_a_repeated_decline_tells_the_state_now(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stale = intent("requires_payment_method", last_payment_error={"code": "card_declined"})
    stripe.answers = {
        CREATE: KNOWN,
        CONFIRM: refused(402, True, code="card_declined", payment_intent=stale),
        RETRIEVE: Says(intent("canceled")),
    }
    assert await gateway.authorize(CHARGE) == is_("voided")


async def test_void_before_authorize(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {CREATE: NEW, CANCEL: Says(intent("canceled"))}
    assert await gateway.void(CHARGE) == is_("voided")
    assert stripe.was_asked() == [CREATE, CANCEL]
    stripe.answers = {
        CONFIRM: refused(400, code="payment_intent_unexpected_state"),
        RETRIEVE: Says(intent("canceled")),
    }
    assert await gateway.authorize(CHARGE) == is_("voided")


async def test_a_replayed_cancel_is_not_believed(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        RETRIEVE: [Says(intent("requires_capture")), Says(taken())],
        CANCEL: Says(intent("canceled"), headers=REPLAYED),
    }
    assert await gateway.void(CHARGE) == is_("captured")


async def test_a_void_that_comes_too_late(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        RETRIEVE: [Says(intent("requires_capture")), Says(taken())],
        CANCEL: refused(400, code="payment_intent_unexpected_state"),
    }
    assert await gateway.void(CHARGE) == is_("captured")


async def test_a_void_that_does_not_work_is_unavailable(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        RETRIEVE: Says(intent("requires_capture")),
        CANCEL: refused(400, code="payment_intent_unexpected_state"),
    }
    with pytest.raises(Unavailable):
        await gateway.void(CHARGE)


async def test_a_capture_refused_too_early_is_asked_anew(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    """Stripe remembers the refusal under the key, for a day."""
    early = refused(400, code="payment_intent_unexpected_state")
    stripe.answers = {CREATE: KNOWN, CAPTURE: early, RETRIEVE: Says(intent("requires_action"))}
    assert (await gateway.capture(CHARGE)).status == "requires_action"
    stripe.answers = {
        CAPTURE: [replace(early, headers=REPLAYED), Says(taken())],
        RETRIEVE: Says(intent("requires_capture")),
    }
    assert await gateway.capture(CHARGE) == is_("captured")
    assert [one.key for one in stripe.asked][-1] == "tx-1:capture:2"


@pytest.mark.parametrize("step", [CREATE, CONFIRM, CAPTURE])
async def test_a_fault_that_stripe_remembers_leads_to_the_next_key(
    gateway: StripeGateway, stripe: Stripe, step: str
) -> None:
    good = {CREATE: NEW, CONFIRM: Says(intent("requires_capture")), CAPTURE: Says(taken())}
    stripe.answers = {**good, step: [refused(500, True, type="api_error"), good[step]]}
    await gateway.authorize(CHARGE)
    assert (await gateway.capture(CHARGE)).status == "captured"
    keys = [one.key for one in stripe.asked if f"{one.method} {one.path}" == step]
    name = {CREATE: "create", CONFIRM: "confirm", CAPTURE: "capture"}[step]
    assert keys == [f"tx-1:{name}", f"tx-1:{name}:2"]


async def test_nothing_but_remembered_faults_is_unavailable(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {CREATE: refused(500, True, type="api_error")}
    with pytest.raises(Unavailable):
        await gateway.void(CHARGE)
    assert len(stripe.asked) == 5
