"""BraintreeGateway against the provider in process, and against scripted answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from domain.payments import ChargeRequest, ChargeState, RefundRequest
from domain.ports import NotReached, RefundRefused, Unavailable
from gateways.braintree_gateway import BraintreeGateway, BraintreeMisconfigured
from sim.braintree_server import DECLINES, BraintreeBooks, braintree_app
from tests.gateways.in_process import InProcess, second_gateway
from tests.gateways.scripted_http import Says, ScriptedHttp, Trouble

pytestmark = pytest.mark.asyncio
CHARGE = ChargeRequest("tx-1", 1_580, "USD", "card_1")
PATIENCE_S = 0.5


@pytest.fixture
def books(tmp_path: Path) -> BraintreeBooks:
    return BraintreeBooks(tmp_path / "books.sqlite")


@pytest.fixture
def gateway(books: BraintreeBooks) -> BraintreeGateway:
    return second_gateway(InProcess(books))


def is_(status: Any, code: str | None = None, refunded_minor: int = 0) -> ChargeState:
    return ChargeState(status, 1_580, "USD", code, refunded_minor=refunded_minor)


async def test_the_way_of_a_charge(gateway: BraintreeGateway, books: BraintreeBooks) -> None:
    assert await gateway.lookup(CHARGE) is None
    for _ in range(2):
        assert await gateway.authorize(CHARGE) == is_("authorized")
    for _ in range(2):
        assert await gateway.capture(CHARGE) == is_("captured")
    assert await gateway.void(CHARGE) == is_("captured")
    for _ in range(2):
        refund = RefundRequest("r-1", 580)
        assert await gateway.refund(CHARGE, refund) == is_("captured", refunded_minor=580)
    for refund in (RefundRequest("r-2", 1_001), RefundRequest("r-1", 5), RefundRequest("r-3", 0)):
        with pytest.raises(RefundRefused):
            await gateway.refund(CHARGE, refund)
    await gateway.refund(CHARGE, RefundRequest("r-4", 1_000))
    assert await gateway.lookup(CHARGE) == is_("refunded", refunded_minor=1_580)
    seen = [one async for one in books.charges()]
    assert [(one.transaction_id, one.status) for one in seen] == [("tx-1", "refunded")]


async def test_a_void_before_the_charge_makes_it_impossible(gateway: BraintreeGateway) -> None:
    for _ in range(2):
        assert await gateway.void(CHARGE) == is_("voided")
    assert await gateway.authorize(CHARGE) == is_("voided")
    assert await gateway.capture(CHARGE) == is_("voided")
    with pytest.raises(RefundRefused):
        await gateway.refund(CHARGE, RefundRequest("r-1", 1))


async def test_a_charge_that_was_never_made(gateway: BraintreeGateway) -> None:
    assert (await gateway.capture(CHARGE)).status == "voided"
    with pytest.raises(RefundRefused):
        await gateway.refund(CHARGE, RefundRequest("r-1", 1))
    assert await gateway.lookup(CHARGE) is None


@pytest.mark.parametrize("token", list(DECLINES))
async def test_declined_cards(gateway: BraintreeGateway, token: str) -> None:
    code = {
        "card_declined": "card_declined",
        "card_insufficient_funds": "insufficient_funds",
        "card_expired": "expired_card",
        "card_processing_error": "processing_error",
    }[token]
    charge = replace(CHARGE, payment_token=token)
    for call in (gateway.authorize, gateway.authorize, gateway.capture, gateway.void):
        assert await call(charge) == is_("declined", code)


async def test_what_the_provider_does_not_take(gateway: BraintreeGateway) -> None:
    unknown = await gateway.authorize(replace(CHARGE, payment_token="unknown_1"))
    assert unknown == is_("declined", "unknown_payment_method")
    transfer = await gateway.authorize(replace(CHARGE, kind="bank_transfer"))
    assert transfer == is_("declined", "kind_not_supported")
    assert await gateway.authorize(CHARGE) == is_("authorized")
    other_amount = await gateway.authorize(replace(CHARGE, amount_minor=1))
    assert (other_amount.status, other_amount.decline_code) == ("declined", "invalid_request")
    with pytest.raises(RefundRefused, match="took USD, not EUR"):
        await gateway.refund(replace(CHARGE, currency="EUR"), RefundRequest("r", 1))


@pytest.mark.parametrize(("currency", "amount"), [("JPY", 500), ("KWD", 1_234), ("USD", 1)])
async def test_amounts_keep_their_decimals(
    gateway: BraintreeGateway, currency: str, amount: int
) -> None:
    charge = replace(CHARGE, currency=currency, amount_minor=amount)
    assert await gateway.authorize(charge) == ChargeState("authorized", amount, currency)


@pytest.mark.parametrize("step", ["authorize", "capture", "void", "refund"])
async def test_a_lost_answer_is_told_to_whoever_repeats(books: BraintreeBooks, step: str) -> None:
    way = InProcess(books)
    gateway = second_gateway(way)
    refund = RefundRequest("r-1", 80)
    steps: dict[str, Any] = {
        "authorize": lambda: gateway.authorize(CHARGE),
        "void": lambda: gateway.void(CHARGE),
        "capture": lambda: gateway.capture(CHARGE),
        "refund": lambda: gateway.refund(CHARGE, refund),
    }
    before = {"capture": ["authorize"], "refund": ["authorize", "capture"]}.get(step, [])
    for name in before:
        await steps[name]()
    way.loses = {
        "authorize": "authorizePaymentMethod",
        "capture": "captureTransaction",
        "void": "closeOrder",
        "refund": "refundTransaction",
    }[step]
    with pytest.raises(Unavailable):
        await steps[step]()
    expected = {"authorize": "authorized", "void": "voided"}.get(step, "captured")
    for _ in range(2):
        state = await steps[step]()
        assert (state.status, state.refunded_minor) == (expected, 80 if step == "refund" else 0)
    assert len([one async for one in books.charges()]) == 1


async def test_refused_keys_are_a_fault(books: BraintreeBooks) -> None:
    with pytest.raises(BraintreeMisconfigured, match="PRIVATE_KEY"):
        await second_gateway(InProcess(books), private_key="wrong").authorize(CHARGE)


async def test_nonsense_is_refused(books: BraintreeBooks) -> None:
    app = braintree_app(books, public_key="public", private_key="private")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://second.example", auth=("public", "private")
    ) as client:
        for body in (b"", b"[]", b'{"query": "mutation { other(input: 1) }"}', b"x" * 200_000):
            answer = (await client.post("/graphql", content=body)).json()
            assert answer["errors"][0]["extensions"]["errorClass"] == "VALIDATION"
        query = "mutation($input: I!) { refundTransaction(input: $input) { x } }"
        body = orjson.dumps({"query": query, "variables": {"input": {}}})
        answer = (await client.post("/graphql", content=body)).json()
        assert answer["errors"][0]["extensions"]["errorClass"] == "VALIDATION"


def _error(kind: str) -> Says:
    return Says({"data": None, "errors": [{"message": "m", "extensions": {"errorClass": kind}}]})


_UNKNOWN_OUTCOMES: dict[str, Says | Trouble] = {
    "internal": _error("INTERNAL"),
    "busy": _error("SERVICE_AVAILABILITY"),
    "limit": _error("RESOURCE_LIMIT"),
    "no class": Says({"errors": [{"message": "m"}]}),
    "500": Says({}, 500),
    "HTML": Says(b"<html>", 502),
    "no data": Says({"data": None}),
    "no object": Says([]),
    "no transaction": Says({"data": {"authorizePaymentMethod": {"transaction": {}}}}),
    "hung up": "close",
    "no answer": "hang",
}


@pytest.mark.parametrize("case", list(_UNKNOWN_OUTCOMES))
async def test_no_certain_answer_is_unavailable(case: str) -> None:
    async with ScriptedHttp(lambda _asked: _UNKNOWN_OUTCOMES[case]).serving() as server:
        gateway = BraintreeGateway("public", "private", server.url, timeout_s=PATIENCE_S)
        with pytest.raises(Unavailable) as caught:
            await gateway.authorize(CHARGE)
        assert not isinstance(caught.value, NotReached)
        await gateway.close()
    with pytest.raises(NotReached):  # nobody listens there any more
        await gateway.authorize(CHARGE)
    await gateway.close()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_another_server_is_a_fault(status: int) -> None:
    async with ScriptedHttp(lambda _asked: Says({}, status)).serving() as server:
        gateway = BraintreeGateway("public", "private", server.url)
        with pytest.raises(BraintreeMisconfigured, match="DOORBUSTER_SECOND_PROVIDER"):
            await gateway.authorize(CHARGE)
        await gateway.close()
