"""StripeGateway against scripted answers: every kind of failure, replays, keys and parameters."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from domain.payments import ChargeRequest, ChargeState, NextAction, RefundRequest
from domain.ports import NotReached, RefundRefused, Unavailable
from gateways.stripe_calls import StripeMisconfigured
from gateways.stripe_gateway import StripeGateway
from tests.gateways.scripted_http import Asked, Says, ScriptedHttp, Trouble

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHARGE = ChargeRequest("tx-1", 1_580, "USD", "pm_1", payer="u-1", asked_at=NOW)
REPLAYED = {"Idempotent-Replayed": "true"}
TIMEOUT_S = 0.5
Answers = dict[str, Says | Trouble | list[Says | Trouble]]


def intent(status: str, **more: Any) -> dict[str, Any]:
    base = {"id": "pi_1", "object": "payment_intent", "amount": 1_580, "currency": "usd"}
    return base | {"status": status, "metadata": {"transaction_id": "tx-1"}} | more


def taken(refunded: int = 0) -> dict[str, Any]:
    return intent("succeeded", latest_charge={"id": "ch_1", "amount_refunded": refunded})


def refused(status: int, replayed: bool = False, **error: Any) -> Says:
    return Says(
        {"error": {"type": "invalid_request_error"} | error}, status, REPLAYED if replayed else {}
    )


def listed(*items: Any) -> Says:
    return Says({"object": "list", "data": list(items), "has_more": False})


CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/pi_1/confirm"
CAPTURE, CANCEL = "POST /v1/payment_intents/pi_1/capture", "POST /v1/payment_intents/pi_1/cancel"
RETRIEVE, SEARCH = "GET /v1/payment_intents/pi_1", "GET /v1/payment_intents/search"
REFUNDS, REFUND = "GET /v1/refunds", "POST /v1/refunds"
NEW = Says(intent("requires_payment_method"))
KNOWN = Says(intent("requires_payment_method"), headers=REPLAYED)


class Stripe(ScriptedHttp):
    """Answers by method and path; of a list, the next one each time, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.answers: Answers = {}

    def _answer(self, asked: Asked) -> Says | Trouble:
        says = self.answers.get(f"{asked.method} {asked.path}")
        assert says is not None, f"not in the script: {asked.method} {asked.path}"
        if isinstance(says, list):
            return says.pop(0) if len(says) > 1 else says[0]
        return says

    def was_asked(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]

    def only(self, what: str) -> Asked:
        (found,) = [one for one in self.asked if f"{one.method} {one.path}" == what]
        return found


@pytest_asyncio.fixture
async def stripe() -> AsyncIterator[Stripe]:
    server = Stripe()
    async with server.serving():
        yield server


@pytest_asyncio.fixture
async def gateway(stripe: Stripe) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway("sk_test_1", base_url=stripe.url, now=lambda: NOW, timeout_s=TIMEOUT_S)
    yield gateway
    await gateway.close()


def is_(status: Any, code: str | None = None, **more: Any) -> ChargeState:
    return ChargeState(status, 1_580, "USD", code, **more)


async def test_authorizing_creates_and_then_confirms(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {CREATE: NEW, CONFIRM: Says(intent("requires_capture"))}
    charge = replace(CHARGE, customer="cus_1", return_url="https://shop.example/back")
    assert await gateway.authorize(charge) == is_("authorized")
    made, confirmed = stripe.asked
    assert (made.key, confirmed.key) == ("tx-1:create", "tx-1:confirm")
    assert made.params == {
        "amount": "1580",
        "currency": "usd",
        "capture_method": "manual",
        "customer": "cus_1",
        "payment_method_types[0]": "card",
        "metadata[transaction_id]": "tx-1",
        "metadata[payer]": "u-1",
    }
    assert confirmed.params == {
        "expand[0]": "latest_charge",
        "payment_method": "pm_1",
        "return_url": "https://shop.example/back",
    }
    assert made.headers["authorization"] == "Bearer sk_test_1"
    assert "x-stripe-client-user-agent" not in made.headers


async def test_every_step_has_its_own_key(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        CREATE: NEW,
        CONFIRM: Says(intent("requires_capture")),
        CAPTURE: Says(taken()),
        RETRIEVE: Says(taken()),
        REFUNDS: listed(),
        REFUND: Says({"id": "re_1", "object": "refund"}),
        CANCEL: Says(intent("canceled")),
    }
    await gateway.authorize(CHARGE)
    assert await gateway.capture(CHARGE) == is_("captured")
    await gateway.refund(CHARGE, RefundRequest("refund-1", 100))
    stripe.answers[RETRIEVE] = Says(intent("requires_capture"))
    assert await gateway.void(CHARGE) == is_("voided")
    posted = {one.key for one in stripe.asked if one.method == "POST"}
    assert posted == {"tx-1:create", "tx-1:confirm", "tx-1:capture", "tx-1:cancel", "refund-1"}
    assert stripe.only(REFUND).params == {
        "payment_intent": "pi_1",
        "amount": "100",
        "metadata[refund_id]": "refund-1",
        "metadata[transaction_id]": "tx-1",
    }


# --- What is answered to a confirmation, and what becomes of the charge.
_CARD = {"type": "card_error"}
_DECLINES = {
    "declined with a decline code": (
        refused(402, **_CARD, code="card_declined", decline_code="insufficient_funds"),
        "insufficient_funds",
    ),
    "declined with a code only": (refused(402, **_CARD, code="expired_card"), "expired_card"),
    "declined without any": (refused(402, **_CARD), "card_declined"),
    "stolen": (
        refused(402, **_CARD, code="card_declined", decline_code="stolen_card"),
        "generic_decline",
    ),
    "unknown payment method": (
        refused(400, code="resource_missing", param="payment_method"),
        "unknown_payment_method",
    ),
    "amount too small": (refused(400, code="amount_too_small"), "amount_too_small"),
    "no code": (refused(400), "invalid_request"),
}


@pytest.mark.parametrize("case", list(_DECLINES))
async def test_a_refused_confirmation_is_a_decline(
    gateway: StripeGateway, stripe: Stripe, case: str
) -> None:
    answer, code = _DECLINES[case]
    stripe.answers = {CREATE: NEW, CONFIRM: answer, RETRIEVE: NEW}
    assert await gateway.authorize(CHARGE) == is_("declined", code)


async def test_a_decline_tells_the_intent_with_it(gateway: StripeGateway, stripe: Stripe) -> None:
    error = {"code": "card_declined", "decline_code": "do_not_honor"}
    declined = intent("requires_payment_method", last_payment_error=error)
    stripe.answers = {CREATE: NEW, CONFIRM: refused(402, payment_intent=declined, **error)}
    assert await gateway.authorize(CHARGE) == is_("declined", "do_not_honor")
    stripe.answers[RETRIEVE] = Says(declined)
    assert await gateway.lookup(CHARGE) == is_("declined", "do_not_honor")
    stripe.answers[CANCEL] = Says(intent("canceled"))
    assert await gateway.void(CHARGE) == is_("declined", "do_not_honor")
    assert stripe.only(CANCEL)


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


# --- Looking up.
async def test_an_intent_that_nobody_confirmed_is_no_charge(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {CREATE: NEW, RETRIEVE: NEW}
    assert await gateway.lookup(CHARGE) is None
    assert await gateway.lookup(CHARGE) is None
    assert stripe.was_asked() == [CREATE, RETRIEVE]
    stripe.answers[CAPTURE] = refused(400, code="payment_intent_unexpected_state")
    assert (await gateway.capture(CHARGE)).status == "voided"


async def test_old_charges_are_searched(gateway: StripeGateway, stripe: Stripe) -> None:
    """After a day the key would make a second intent."""
    other = intent("succeeded", id="pi_0", metadata={"transaction_id": "tx-10"})
    stripe.answers = {
        SEARCH: listed(other, intent("canceled", id="pi_2"), intent("requires_capture")),
        RETRIEVE: Says(intent("requires_capture")),
    }
    old = replace(CHARGE, asked_at=NOW - timedelta(hours=21))
    assert await gateway.lookup(old) == is_("authorized")
    assert stripe.only(SEARCH).params["query"] == "metadata['transaction_id']:'tx-1'"
    stripe.answers = {SEARCH: listed(), CREATE: NEW, CANCEL: Says(intent("canceled"))}
    assert (await gateway.void(replace(old, transaction_id="tx-3"))).status == "voided"


async def test_other_parameters_under_the_key_lead_to_search(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    mismatch = refused(400, type="idempotency_error")
    stripe.answers = {CREATE: mismatch, SEARCH: listed()}
    with pytest.raises(Unavailable):
        await gateway.lookup(CHARGE)
    stripe.answers = {
        CREATE: mismatch,
        SEARCH: listed(intent("requires_capture")),
        RETRIEVE: Says(intent("requires_capture")),
    }
    assert await gateway.lookup(CHARGE) == is_("authorized")


async def test_a_charge_that_stripe_refuses_to_make(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {CREATE: refused(400, code="amount_too_large", param="amount")}
    assert await gateway.authorize(CHARGE) == is_("declined", "amount_too_large")
    assert await gateway.void(CHARGE) == is_("declined", "amount_too_large")
    assert (await gateway.capture(CHARGE)).status == "declined"
    assert await gateway.lookup(CHARGE) is None
    with pytest.raises(RefundRefused):
        await gateway.refund(CHARGE, RefundRequest("r", 1))


# --- Waiting for the buyer.
async def test_three_d_secure_asks_for_a_redirect(gateway: StripeGateway, stripe: Stripe) -> None:
    action = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}}
    stripe.answers = {
        CREATE: NEW,
        CONFIRM: Says(intent("requires_action", next_action=action)),
    }
    expected = NextAction("redirect", "https://bank.example/3ds")
    assert await gateway.authorize(CHARGE) == is_("requires_action", next_action=expected)
    stripe.answers[RETRIEVE] = Says(intent("requires_capture"))
    assert await gateway.lookup(CHARGE) == is_("authorized")
    failed = {"code": "payment_intent_authentication_failure"}
    stripe.answers[RETRIEVE] = Says(intent("requires_payment_method", last_payment_error=failed))
    assert await gateway.lookup(CHARGE) == is_("declined", failed["code"])


async def test_a_wallet_goes_by_redirect(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {CREATE: NEW, CONFIRM: Says(intent("requires_action"))}
    wallet = replace(CHARGE, kind="wallet", payment_token="paypal", return_url="https://s.example")
    state = await gateway.authorize(wallet)
    assert state.next_action == NextAction("redirect", None)
    made, confirmed = stripe.asked
    assert made.params["payment_method_types[0]"] == "paypal"
    assert made.params["capture_method"] == "manual"
    assert confirmed.params["payment_method_data[type]"] == "paypal"


async def test_a_bank_transfer_gives_instructions_and_waits(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    account = {"type": "iban", "iban": {"iban": "DE89", "bic": "X", "bank_address": {"city": "B"}}}
    details = {
        "reference": "REF1",
        "amount_remaining": 1_580,
        "currency": "eur",
        "hosted_instructions_url": "https://pay.example/i",
        "financial_addresses": [account],
    }
    waits = intent(
        "requires_action",
        currency="eur",
        next_action={"display_bank_transfer_instructions": details},
    )
    stripe.answers = {
        "GET /v1/customers/search": listed({"id": "cus_9", "metadata": {"payer": "u-1"}}),
        CREATE: NEW,
        CONFIRM: Says(waits),
    }
    charge = replace(CHARGE, kind="bank_transfer", payment_token="bank_transfer", currency="EUR")
    state = await gateway.authorize(charge)
    assert state.status == "requires_action"
    assert state.next_action == NextAction(
        "transfer",
        "https://pay.example/i",
        {
            "reference": "REF1",
            "amount_remaining": "1580",
            "currency": "eur",
            "iban.iban": "DE89",
            "iban.bic": "X",
        },
    )
    made, confirmed = stripe.asked[1:]
    assert (made.params["customer"], made.params["capture_method"]) == ("cus_9", "automatic")
    prefix = "payment_method_options[customer_balance]"
    assert confirmed.params == {
        "expand[0]": "latest_charge",
        "payment_method_data[type]": "customer_balance",
        f"{prefix}[funding_type]": "bank_transfer",
        f"{prefix}[bank_transfer][type]": "eu_bank_transfer",
        f"{prefix}[bank_transfer][eu_bank_transfer][country]": "DE",
    }
    stripe.answers[RETRIEVE] = Says(intent("processing", currency="eur"))
    stripe.answers[CANCEL] = refused(400, code="payment_intent_unexpected_state")
    assert (await gateway.void(charge)).status == "processing"  # it cannot be called back


async def test_a_guest_gets_a_customer_for_his_transfer(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {
        "GET /v1/customers/search": listed(),
        "POST /v1/customers": Says({"id": "cus_1", "object": "customer"}),
        CREATE: NEW,
        CONFIRM: Says(intent("requires_action")),
    }
    await gateway.authorize(
        replace(CHARGE, kind="bank_transfer", payment_token="bank_transfer", payer="")
    )
    assert stripe.only("POST /v1/customers").key == "customer:tx-1"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"currency": "IQD"}, "currency_not_supported"),
        ({"currency": "KWD", "amount_minor": 1_234}, "amount_not_chargeable"),
        ({"kind": "bank_transfer", "currency": "SEK"}, "currency_not_supported"),
        (
            {"kind": "bank_transfer", "payment_token": "bank_transfer", "currency": "SEK"},
            "currency_not_supported",
        ),
        ({"kind": "gift_card"}, "kind_not_supported"),
    ],
)
async def test_what_stripe_cannot_express_is_declined_unasked(
    gateway: StripeGateway, stripe: Stripe, more: dict[str, Any], code: str
) -> None:
    charge = replace(CHARGE, **more)
    if code == "currency_not_supported" and charge.payment_token == "bank_transfer":
        stripe.answers = {
            "GET /v1/customers/search": listed({"id": "cus_9", "metadata": {"payer": "u-1"}})
        }
    state = await gateway.authorize(charge)
    assert (state.status, state.decline_code) == ("declined", code)
    assert CREATE not in stripe.was_asked()


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"),
    [("USD", 1_580, 1_580), ("JPY", 500, 500), ("ISK", 500, 50_000), ("KWD", 1_230, 1_230)],
)
async def test_amounts_in_stripes_units(
    gateway: StripeGateway, stripe: Stripe, currency: str, ours: int, theirs: int
) -> None:
    held = intent("requires_capture", amount=theirs, currency=currency.lower())
    stripe.answers = {CREATE: NEW, CONFIRM: Says(held)}
    state = await gateway.authorize(replace(CHARGE, amount_minor=ours, currency=currency))
    assert state == ChargeState("authorized", ours, currency)
    assert stripe.only(CREATE).params["amount"] == str(theirs)


# --- Refunds.
async def test_a_refund_that_was_made_long_ago_is_not_made_again(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        REFUNDS: listed({"id": "re_1", "metadata": {"refund_id": "refund-1"}}),
        RETRIEVE: Says(taken(580)),
    }
    state = await gateway.refund(CHARGE, RefundRequest("refund-1", 580))
    assert state == is_("captured", refunded_minor=580)
    assert REFUND not in stripe.was_asked()


async def test_a_refund_of_the_rest(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        REFUNDS: listed({"id": "re_1", "metadata": {"refund_id": "refund-1"}}),
        RETRIEVE: [Says(taken(580)), Says(taken(1_580))],
        REFUND: Says({"id": "re_2", "object": "refund"}),
    }
    state = await gateway.refund(CHARGE, RefundRequest("refund-2", 1_000))
    assert state == is_("refunded", refunded_minor=1_580)


_REFUSED_REFUNDS: dict[str, tuple[dict[str, Any], int, Says | None]] = {
    "more than is left": (taken(1_000), 581, None),
    "only held": (intent("requires_capture"), 1, None),
    "nothing": (taken(), 0, None),
    "in another currency": (taken() | {"currency": "eur"}, 1, None),
    "never authorized": (intent("requires_payment_method"), 1, None),
    "refused by Stripe": (taken(), 1, refused(400, code="charge_disputed")),
    "another amount under the id": (taken(), 1, refused(400, type="idempotency_error")),
}


@pytest.mark.parametrize("case", list(_REFUSED_REFUNDS))
async def test_a_refused_refund(gateway: StripeGateway, stripe: Stripe, case: str) -> None:
    state, amount, answer = _REFUSED_REFUNDS[case]
    stripe.answers = {CREATE: KNOWN, REFUNDS: listed(), RETRIEVE: Says(state)}
    if answer is not None:
        stripe.answers[REFUND] = answer
    with pytest.raises(RefundRefused):
        await gateway.refund(CHARGE, RefundRequest("refund-1", amount))
    assert (REFUND in stripe.was_asked()) == (answer is not None)


async def test_a_refund_whose_key_only_gives_a_fault(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {
        CREATE: KNOWN,
        REFUNDS: [listed(), listed({"id": "re_1", "metadata": {"refund_id": "refund-1"}})],
        RETRIEVE: Says(taken()),
        REFUND: refused(500, True, type="api_error"),
    }
    await gateway.refund(CHARGE, RefundRequest("refund-1", 1))  # the fault had made it after all
    assert stripe.only(REFUND).key == "refund-1"


# --- Saved methods.
async def test_saving_a_method_keeps_no_more_than_is_shown(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    card = {"brand": "visa", "last4": "4242", "exp_month": 4, "exp_year": 2030, "fingerprint": "f"}
    method = {"id": "pm_7", "type": "card", "customer": "cus_1", "card": card}
    stripe.answers = {
        "GET /v1/customers/search": listed(),
        "POST /v1/customers": Says({"id": "cus_1", "object": "customer"}),
        "POST /v1/payment_methods/pm_7/attach": Says(method),
    }
    for _ in range(2):
        saved = await gateway.save_method("u-1", "pm_7")
        assert saved is not None
        assert (saved.token, saved.customer, saved.kind) == ("pm_7", "cus_1", "card")
        assert (saved.brand, saved.last_four) == ("visa", "4242")
        assert (saved.expiry_month, saved.expiry_year) == (4, 2030)
    assert stripe.only("POST /v1/customers").key == "customer:u-1"
    assert stripe.only("GET /v1/customers/search").params["query"] == "metadata['payer']:'u-1'"


async def test_a_method_that_cannot_be_saved(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        "GET /v1/customers/search": listed({"id": "cus_1", "metadata": {"payer": "u-1"}}),
        "POST /v1/payment_methods/pm_7/attach": refused(404, code="resource_missing"),
        "GET /v1/payment_methods/pm_7": refused(404, code="resource_missing"),
    }
    assert await gateway.save_method("u-1", "pm_7") is None
    of_another = {"id": "pm_7", "type": "card", "customer": "cus_2", "card": {}}
    stripe.answers["GET /v1/payment_methods/pm_7"] = Says(of_another)
    assert await gateway.save_method("u-1", "pm_7") is None
