"""StripeGateway: refunds, once each and never above what was taken; saved means of payment."""

from __future__ import annotations

from typing import Any

import pytest

from domain.payments import RefundRequest
from domain.ports import RefundRefused, Unavailable
from gateways.stripe_gateway import StripeGateway
from tests.gateways.scripted_http import Says
from tests.gateways.stripe_script import (
    CHARGE,
    CREATE,
    KNOWN,
    REFUND,
    REFUNDS,
    REPLAYED,
    RETRIEVE,
    Stripe,
    intent,
    is_,
    listed,
    refused,
    taken,
)

pytestmark = pytest.mark.asyncio


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


async def test_a_method_that_was_detached_meanwhile(gateway: StripeGateway, stripe: Stripe) -> None:
    attached = {"id": "pm_7", "type": "card", "customer": "cus_1", "card": {}}
    stripe.answers = {
        "GET /v1/customers/search": listed({"id": "cus_1", "metadata": {"payer": "u-1"}}),
        "POST /v1/payment_methods/pm_7/attach": Says(attached, headers=REPLAYED),
        "GET /v1/payment_methods/pm_7": Says(attached | {"customer": None}),
    }
    assert await gateway.save_method("u-1", "pm_7") is None


async def test_a_method_that_cannot_be_saved(gateway: StripeGateway, stripe: Stripe) -> None:
    stripe.answers = {
        "GET /v1/customers/search": listed({"id": "cus_1", "metadata": {"payer": "u-1"}}),
        "POST /v1/payment_methods/pm_7/attach": refused(404, code="resource_missing"),
        "GET /v1/payment_methods/pm_7": refused(404, code="resource_missing"),
    }
    assert await gateway.save_method("u-1", "pm_7") is None
    for token in ("", "../customers", "pm_7\r\nX: 1", "pm_" + 200 * "7"):
        assert await gateway.save_method("u-1", token) is None
    of_another = {"id": "pm_7", "type": "card", "customer": "cus_2", "card": {}}
    stripe.answers["GET /v1/payment_methods/pm_7"] = Says(of_another)
    assert await gateway.save_method("u-1", "pm_7") is None


DETACH = "POST /v1/payment_methods/pm_7/detach"
METHOD = "GET /v1/payment_methods/pm_7"


async def test_a_method_is_detached_once(gateway: StripeGateway, stripe: Stripe) -> None:
    detached = {"id": "pm_7", "type": "card", "customer": None, "card": {}}
    stripe.answers = {DETACH: Says(detached)}
    await gateway.detach_method("u-1", "pm_7")
    assert stripe.only(DETACH).key == "detach:u-1:pm_7"
    stripe.answers = {DETACH: Says(detached, headers=REPLAYED), METHOD: Says(detached)}
    await gateway.detach_method("u-1", "pm_7")


@pytest.mark.parametrize(
    "now",
    [Says({"id": "pm_7", "customer": None}), refused(404, code="resource_missing")],
    ids=["detached before", "unknown"],
)
async def test_what_is_not_attached_any_more_is_detached(
    gateway: StripeGateway, stripe: Stripe, now: Says
) -> None:
    stripe.answers = {DETACH: refused(400, code="payment_method_not_attached"), METHOD: now}
    await gateway.detach_method("u-1", "pm_7")


async def test_a_token_that_never_was_one_is_not_asked_about(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    stripe.answers = {}
    await gateway.detach_method("u-1", "../customers")


@pytest.mark.parametrize(
    "now", [Says({"id": "pm_7", "customer": "cus_1"}), refused(400, code="something_else")]
)
async def test_what_may_still_be_attached_is_asked_for_again(
    gateway: StripeGateway, stripe: Stripe, now: Says
) -> None:
    stripe.answers = {DETACH: refused(400, code="payment_method_busy"), METHOD: now}
    with pytest.raises(Unavailable):
        await gateway.detach_method("u-1", "pm_7")
