"""The Stripe gateway against localstripe, which keeps state, and against stripe-mock, which checks
requests against Stripe's own specification."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import RefundRefused, Unavailable
from gateways.stripe_gateway import StripeGateway
from tests.contract.stripe_servers import (
    ForLocalstripe,
    Noting,
    localstripe,
    stripe_mock,
    stripe_mock_binary,
)

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "sk_test_doorbuster"
VISA = "pm_card_visa"


def charge(transaction_id: str, **more: Any) -> ChargeRequest:
    return replace(ChargeRequest(transaction_id, 1_580, "USD", VISA, payer="u-1"), **more)


def is_(status: Any, refunded_minor: int = 0) -> ChargeState:
    return ChargeState(status, 1_580, "USD", refunded_minor=refunded_minor)


# --- localstripe. It ignores idempotency keys, so what is repeated here is what one process
# remembers; repeats by others are tested against our own server of Stripe's API.
@pytest.fixture(scope="module")
def local_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as url:
        yield url


@pytest_asyncio.fixture
async def local(local_url: str) -> AsyncIterator[StripeGateway]:
    way = ForLocalstripe()
    async with way.client:
        yield StripeGateway(KEY, base_url=local_url, now=lambda: NOW, transport=way)


async def test_localstripe_authorize_capture_and_refund(local: StripeGateway) -> None:
    bought = charge("tx-1")
    assert await local.lookup(bought) is None
    assert await local.authorize(bought) == is_("authorized")
    assert await local.lookup(bought) == is_("authorized")
    with pytest.raises(RefundRefused):
        await local.refund(bought, RefundRequest("r-0", 1))
    for _ in range(2):
        assert await local.capture(bought) == is_("captured")
    assert await local.void(bought) == is_("captured")
    for _ in range(2):
        assert await local.refund(bought, RefundRequest("r-1", 580)) == is_("captured", 580)
    with pytest.raises(RefundRefused):
        await local.refund(bought, RefundRequest("r-2", 1_001))
    assert await local.refund(bought, RefundRequest("r-3", 1_000)) == is_("refunded", 1_580)
    assert await local.lookup(bought) == is_("refunded", 1_580)


async def test_localstripe_void(local: StripeGateway) -> None:
    held, never = charge("tx-2"), charge("tx-3")
    await local.authorize(held)
    for _ in range(2):
        assert await local.void(held) == is_("voided")
        assert await local.void(never) == is_("voided")
    assert (await local.capture(held)).status == "voided"


async def test_localstripe_declines(local: StripeGateway) -> None:
    """localstripe tells no decline codes but Stripe's general one."""
    state = await local.authorize(charge("tx-4", payment_token="pm_card_chargeCustomerFail"))
    assert (state.status, state.decline_code) == ("declined", "card_declined")


async def test_localstripe_saves_a_card(local: StripeGateway, local_url: str) -> None:
    async with httpx.AsyncClient(base_url=local_url, auth=(KEY, "")) as client:
        token = (await client.get(f"/v1/payment_methods/{VISA}")).json()["id"]
    saved = await local.save_method("u-1", token)
    assert saved is not None
    assert (saved.brand, saved.last_four, saved.expiry_year) == ("visa", "4242", 2030)
    again = charge("tx-5", payment_token=saved.token, customer=saved.customer)
    assert await local.authorize(again) == is_("authorized")
    assert await local.save_method("u-1", "pm_unknown") is None
    for _ in range(2):
        await local.detach_method("u-1", saved.token)
    await local.detach_method("u-1", "pm_unknown")


# --- stripe-mock
@pytest.fixture(scope="module")
def mock_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = stripe_mock_binary()
    if not isinstance(binary, Path):
        pytest.skip(binary)
    with stripe_mock(binary, tmp_path_factory.mktemp("stripe-mock")) as url:
        yield url


@pytest_asyncio.fixture
async def noting() -> AsyncIterator[Noting]:
    noting = Noting()
    async with noting.client:
        yield noting


@pytest.fixture
def mock(mock_url: str, noting: Noting) -> StripeGateway:
    return StripeGateway(KEY, base_url=mock_url, now=lambda: NOW, transport=noting)


def _all_accepted(noting: Noting) -> set[str]:
    """What was asked, with ids left out; each request was as Stripe's specification wants it."""
    refused = [one for one in noting.noted if one[2] != 200]
    assert not refused
    id_ = r"/(pi|pm|re|cus)_\w+"
    return {f"{method} {re.sub(id_, '/ID', path)}" for method, path, _, _ in noting.noted}


@pytest.mark.timeout(400)  # the first run on a machine builds stripe-mock
async def test_stripe_mock_sees_what_is_not_in_the_specification(mock_url: str) -> None:
    async with httpx.AsyncClient(base_url=mock_url, auth=(KEY, "")) as client:
        form = {"amount": "1580", "currency": "usd", "no_such_parameter": "1"}
        assert (await client.post("/v1/payment_intents", data=form)).status_code == 400


_KINDS = {
    "card": {},
    "saved card": {"customer": "cus_1"},
    "card with return": {"return_url": "https://shop.example/back"},
    "wallet": {
        "kind": "wallet",
        "payment_token": "paypal",
        "return_url": "https://shop.example/back",
    },
    "saved wallet": {"kind": "wallet", "return_url": "https://shop.example/back"},
    "bank account": {"kind": "bank_transfer", "currency": "EUR"},
    **{
        f"transfer in {currency}": {
            "kind": "bank_transfer",
            "payment_token": "bank_transfer",
            "currency": currency,
        }
        for currency in ("EUR", "GBP", "JPY", "MXN", "USD")
    },
}


@pytest.mark.parametrize("kind", list(_KINDS))
async def test_stripe_mock_accepts_every_way_to_pay(
    mock: StripeGateway, noting: Noting, kind: str
) -> None:
    noting.becomes = {"status": "requires_capture"}
    assert (await mock.authorize(charge("tx-1", **_KINDS[kind]))).status == "authorized"
    asked = _all_accepted(noting)
    assert {"POST /v1/payment_intents", "POST /v1/payment_intents/ID/confirm"} <= asked
    if kind.startswith("transfer in"):
        assert {"GET /v1/customers/search", "POST /v1/customers"} <= asked


async def test_stripe_mock_accepts_every_other_request(mock: StripeGateway, noting: Noting) -> None:
    bought = charge("tx-1")
    noting.becomes = {"status": "requires_capture"}
    await mock.authorize(bought)
    await mock.capture(bought)
    noting.becomes = {"status": "succeeded", "amount": 1_580, "last_payment_error": None}
    await mock.refund(bought, RefundRequest("r-1", 580))
    noting.becomes = {"status": "requires_payment_method", "last_payment_error": None}
    with pytest.raises(Unavailable):  # whatever is canceled stays as it was
        await mock.void(bought)
    await mock.save_method("u-1", "pm_1")
    await mock.detach_method("u-1", "pm_1")
    await mock.lookup(charge("tx-2", asked_at=NOW - timedelta(days=2)))
    assert _all_accepted(noting) == {
        "POST /v1/payment_intents",
        "POST /v1/payment_intents/ID/confirm",
        "POST /v1/payment_intents/ID/capture",
        "POST /v1/payment_intents/ID/cancel",
        "GET /v1/payment_intents/ID",
        "GET /v1/payment_intents/search",
        "GET /v1/refunds",
        "POST /v1/refunds",
        "GET /v1/customers/search",
        "POST /v1/customers",
        "POST /v1/payment_methods/ID/attach",
        "POST /v1/payment_methods/ID/detach",
    }
