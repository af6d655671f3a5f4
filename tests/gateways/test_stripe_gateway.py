"""StripeGateway: how charges are made, declined, searched and waited for; keys and parameters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.payments import ChargeState, NextAction, RefundRequest
from domain.ports import RefundRefused, Unavailable
from gateways.stripe_gateway import StripeGateway
from tests.gateways.scripted_http import Says
from tests.gateways.stripe_script import (
    CANCEL,
    CAPTURE,
    CHARGE,
    CONFIRM,
    CREATE,
    NEW,
    NOW,
    REFUND,
    REFUNDS,
    RETRIEVE,
    SEARCH,
    Stripe,
    intent,
    is_,
    listed,
    refused,
    taken,
)

pytestmark = pytest.mark.asyncio


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


async def test_an_old_decline_is_not_tried_again(gateway: StripeGateway, stripe: Stripe) -> None:
    error = {"code": "card_declined", "decline_code": "do_not_honor"}
    declined = intent("requires_payment_method", last_payment_error=error)
    stripe.answers = {SEARCH: listed(declined), RETRIEVE: Says(declined)}
    old = replace(CHARGE, asked_at=NOW - timedelta(hours=21))
    assert await gateway.authorize(old) == is_("declined", "do_not_honor")
    stripe.answers = {RETRIEVE: NEW, CONFIRM: Says(intent("requires_capture"))}
    assert await gateway.authorize(old) == is_("authorized")  # it was never tried


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
