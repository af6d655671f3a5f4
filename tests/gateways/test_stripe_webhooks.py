"""Webhooks of Stripe: only what is signed with our secret, and lately, is believed."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from domain.payments import ForgedEvent, ProviderEvent
from gateways.stripe_gateway import StripeGateway

SECRET = "whsec_test"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())


def signed(body: bytes, *, at_s: int = NOW_S, secret: str = SECRET, scheme: str = "v1") -> str:
    """The header as Stripe's documentation says it is made, without its SDK."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},{scheme}={digest}"


def event(**more: Any) -> bytes:
    subject = {"id": "pi_1", "metadata": {"transaction_id": "tx-1"}}
    base = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded"}
    return orjson.dumps(base | {"data": {"object": subject}} | more)


@pytest.fixture
def gateway() -> StripeGateway:
    return StripeGateway("sk_test_1", SECRET, now=lambda: NOW)


def test_the_way_stripe_signs() -> None:
    """A vector worked out by hand with `openssl dgst -sha256 -hmac whsec_test`."""
    assert signed(b'{"id":"evt_1"}', at_s=1_700_000_000) == (
        "t=1700000000,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"
    )


def test_an_event_names_the_charge_it_is_about(gateway: StripeGateway) -> None:
    body = event()
    expected = ProviderEvent("evt_1", "payment_intent.succeeded", "tx-1")
    assert gateway.event({"stripe-signature": signed(body)}, body) == expected


def test_while_the_secret_is_rolled_one_of_two_signatures_fits(gateway: StripeGateway) -> None:
    body = event()
    both = f"{signed(body, secret='whsec_old')},{signed(body).partition(',')[2]}"
    assert gateway.event({"stripe-signature": both}, body).event_id == "evt_1"


@pytest.mark.parametrize(
    "subject", [None, [], {}, {"metadata": None}, {"metadata": {"transaction_id": 7}}]
)
def test_an_event_about_something_else(gateway: StripeGateway, subject: Any) -> None:
    body = event(data={"object": subject})
    assert gateway.event({"stripe-signature": signed(body)}, body).transaction_id is None


_BODY = event()
_FORGED = {
    "no signature": "",
    "no time": signed(_BODY).partition(",")[2],
    "no number": signed(_BODY).replace("t=", "t=x"),
    "another secret": signed(_BODY, secret="whsec_other"),
    "another body": signed(_BODY + b" "),
    "another scheme": signed(_BODY, scheme="v0"),
    "another time": signed(_BODY).replace(f"t={NOW_S}", f"t={NOW_S + 1}"),
    "too old": signed(_BODY, at_s=NOW_S - 301),
    "from the future": signed(_BODY, at_s=NOW_S + 301),
    "not ASCII": signed(_BODY) + ",v1=ö",
    "nonsense": ",,,=,t",
}


@pytest.mark.parametrize("case", list(_FORGED))
def test_a_forged_event(gateway: StripeGateway, case: str) -> None:
    with pytest.raises(ForgedEvent):
        gateway.event({"stripe-signature": _FORGED[case]}, _BODY)


def test_forged_without_text_or_header_or_secret(gateway: StripeGateway) -> None:
    for headers, body in (({}, _BODY), ({"stripe-signature": signed(b"\xff")}, b"\xff")):
        with pytest.raises(ForgedEvent):
            gateway.event(headers, body)
    with pytest.raises(ForgedEvent, match="DOORBUSTER_STRIPE_WEBHOOK_SECRET"):
        StripeGateway("sk_test_1", now=lambda: NOW).event(
            {"stripe-signature": signed(_BODY)}, _BODY
        )


@pytest.mark.parametrize("age_s", [300, -300, 0])
def test_the_tolerance(gateway: StripeGateway, age_s: int) -> None:
    header = signed(_BODY, at_s=NOW_S - age_s)
    assert gateway.event({"stripe-signature": header}, _BODY).event_id == "evt_1"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b"{}", event(id=None), event(type=3), event(object="x")]
)
def test_a_signed_body_that_is_no_event(gateway: StripeGateway, body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        gateway.event({"stripe-signature": signed(body)}, body)
