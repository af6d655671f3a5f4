"""A request that carries a card number is refused by every app, and nothing of it stays."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_apps.http import new_app
from tests.card_search import grep_for_card_numbers
from tests.domain.card_numbers import PUBLISHED, written_numbers
from tests.serve_apps.conftest import ADDRESS, ORIGIN, Shop, assert_problem

VISA = "4111111111111111"
AMEX = "3782 822463 10005"
pytestmark = pytest.mark.asyncio(loop_scope="module")

# A path of each app, one of no app, and one without a route of its own.
GETS = (
    "/api/v1/products/search",
    "/api/v1/cart",
    "/api/v1/orders/order_01h455vb4pex5vsknk084sn02q",
    "/api/v1/fraud/nothing",
    "/api/v1/live",
    "/api/v1/stock/pairs",
    "/api/v1/ops/overview",
    "/healthz",
    "/",
    "/nowhere",
)
POSTS = (
    "/api/v1/cart/items",
    "/api/v1/orders/checkout",
    "/api/v1/fraud/score",
    "/api/v1/fraud/score/batch",
    "/api/v1/products/search",
    "/nowhere",
)


def assert_refused(answer: httpx.Response, place: str) -> None:
    problem = assert_problem(answer, 422, "card_number_refused")
    assert place in problem["detail"]
    assert "token" in problem["detail"]
    told = answer.text + str(answer.headers)
    assert VISA not in told
    assert AMEX not in told
    assert VISA[:6] not in told


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    """All that is logged, by structlog and by the servers."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as events:
        # The test's own client logs what it asks for.
        ours = lambda: [one.getMessage() for one in caplog.records if one.name != "httpx"]  # noqa: E731
        yield lambda: str(ours()) + str(events)


async def test_every_address_refuses_one(standing_shop: Shop, logged: Any) -> None:
    http = standing_shop.client
    for path in GETS:
        for query in (f"q={VISA}", f"q={AMEX}", f"{VISA}=1", "q=%34111+1111+1111+1111"):
            assert_refused(await http.get(f"{path}?{query}"), "query string")
        assert_refused(await http.get(f"{path.rstrip('/')}/{VISA}"), "address")
        for name in ("User-Agent", "Idempotency-Key", "Authorization", "Cookie", "X-Anything"):
            assert_refused(await http.get(path, headers={name: f"a {VISA}"}), "headers")
        assert_refused(await http.request("GET", path, content=f'["{VISA}"]'), "body")
    assert VISA not in logged()


async def test_every_body_refuses_one(standing_shop: Shop, logged: Any) -> None:
    http = standing_shop.client
    bodies: tuple[tuple[Any, str], ...] = (
        (json.dumps({"note": VISA}), "application/json"),
        (json.dumps({"deep": [{"er": [f"no {AMEX}!"]}]}), "application/json"),
        (json.dumps({"number": int(VISA)}), "application/json"),
        (json.dumps({VISA: 1}), "application/json"),
        ('{"note":"' + "".join(f"\\u{ord(d):04X}" for d in VISA) + '"}', "application/json"),
        ("not JSON " + VISA, "application/json"),
        (json.dumps({"url": "https://x.example/4111%201111%201111%201111"}), "application/json"),
        (json.dumps({"swiped": f"%B{VISA}^DOE/JOHN^2912101000000"}), "application/json"),
        (json.dumps({"note": VISA}).encode("utf-16"), "application/json"),
        ("card=4111+1111+1111+1111&cvc=1", "application/x-www-form-urlencoded"),
        (VISA, "text/plain"),
    )
    for path in POSTS:
        for body, kind in bodies:
            answer = await http.post(path, content=body, headers={"Content-Type": kind})
            assert_refused(answer, "body")
    assert VISA not in logged()


async def test_a_body_in_pieces_is_read_as_one(standing_shop: Shop) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"note":"4111', b"1111", b"1111", b'1111"}'):
            yield piece

    for path in POSTS:
        assert_refused(await standing_shop.client.post(path, content=pieces()), "body")


async def test_no_field_of_a_checkout_takes_one_and_nothing_stays(standing_shop: Shop) -> None:
    shopper = await standing_shop.shopper("LAPTOP")
    before = await standing_shop.books()
    whole = shopper.order_body(billing_address=ADDRESS)
    for number in (VISA, AMEX):
        for field in (*ADDRESS, "anything"):
            for kind in ("shipping_address", "billing_address"):
                body = {**whole, kind: {**ADDRESS, field: number}}
                assert_refused(await shopper.call("POST", "orders/checkout", json=body), "body")
        assert_refused(await shopper.checkout(card=number), "body")
        assert_refused(await shopper.checkout(card=f"card_{VISA}"), "body")
        assert_refused(await shopper.checkout(card=f"card_x{VISA}"), "payment token")
        saved = await shopper.call("POST", "orders/payment-methods", json={"token": f"pm_x{VISA}y"})
        assert_refused(saved, "payment token")
        assert_refused(await shopper.checkout(key=number), "headers")
    assert await standing_shop.books() == before
    assert await grep_for_card_numbers(None, standing_shop.pool) == []
    bought = await shopper.checkout()
    assert bought.status_code == 201, bought.text
    street = (ADDRESS["street"], ADDRESS["name"])
    assert await grep_for_card_numbers(None, standing_shop.pool, also=street) == []


@pytest.mark.parametrize("can_answer", [True, False])
async def test_sockets_are_refused_before_they_open(
    standing_shop: Shop, *, can_answer: bool
) -> None:
    app = standing_shop.apps["site"]
    for query, headers in (
        (f"last_event_id={VISA}".encode(), []),
        (b"", [(b"last-event-id", VISA.encode())]),
    ):
        scope = {
            "type": "websocket",
            "path": "/api/v1/live",
            "query_string": query,
            "headers": headers,
            "extensions": {"websocket.http.response": {}} if can_answer else {},
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any, sent: list[dict[str, Any]] = sent) -> None:
            sent.append(message)

        await app(scope, receive, send)
        assert VISA not in str(sent)
        if can_answer:
            assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 422)
        else:
            assert sent == [
                {"type": "websocket.close", "code": 1008, "reason": "card_number_refused"}
            ]


async def test_numbers_of_traces_and_ordinary_requests_pass(standing_shop: Shop) -> None:
    shopper = await standing_shop.shopper("TEE-S")
    headers = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-4111111111111111-01",
        "X-Datadog-Trace-Id": VISA,
        "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0",
        "Idempotency-Key": "51234567-8901-4234-8123-123456789012",
    }
    answer = await shopper.call(
        "POST", "orders/checkout", json=shopper.order_body(), headers=headers
    )
    assert answer.status_code == 201, answer.text
    for ean in ("4006381333931", "9780306406157"):
        found = await standing_shop.client.get("/api/v1/products/search", params={"q": ean})
        assert found.status_code == 200


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(number=written_numbers(), data=st.data())
async def test_any_number_in_any_field(number: str, data: st.DataObject) -> None:
    app = new_app("Nothing")
    document: Any = number
    for _ in range(data.draw(st.integers(0, 5))):
        name = data.draw(st.sampled_from(["street", "note", "items", "émail"]))
        document = data.draw(st.sampled_from([{name: document}, [document, 1], [None, [document]]]))
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        answer = await client.post("/any", content=text.encode())
        assert_problem(answer, 422, "card_number_refused")
        answer = await client.get("/any", params={"q": number})
        assert_problem(answer, 422, "card_number_refused")


async def test_the_published_numbers_are_refused() -> None:
    app = new_app("Nothing")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        for number in PUBLISHED:
            assert_refused(await client.post("/any", json={"n": number}), "body")
