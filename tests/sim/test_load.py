"""The HTTP client and the two load loops, against a shop that misbehaves."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import repeat

import pytest

from sim import load
from sim.http_client import HttpClient
from sim.http_messages import FailureKind, Request, Response, TransportFailure, prepare
from sim.load import problem_type, run_closed_loop, run_open_loop
from tests.sim.fake_shop import HOT, FakeShop, Reply, problem

SEARCH = "/api/v1/products/search"
PAGE = Request(method="GET", path=f"/api/v1/products/{HOT}")
UNSAFE = Request(method="POST", path="/api/v1/cart/items", body=b'{"variant_id":"var_hot"}')


def test_a_request_becomes_the_bytes_of_http() -> None:
    prepared = prepare(
        Request(method="POST", path="/a?b=c", headers=(("X-One", "1"),), body=b"{}"),
        host="shop:8000",
    )
    assert prepared.payload == (
        b"POST /a?b=c HTTP/1.1\r\nHost: shop:8000\r\nConnection: keep-alive\r\n"
        b"X-One: 1\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert not prepared.repeatable


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [
        (PAGE, True),
        (UNSAFE, False),
        (Request(method="POST", path="/x", headers=(("Idempotency-Key", "k"),)), True),
    ],
)
def test_only_a_get_or_a_keyed_request_may_be_repeated(request_: Request, repeatable: bool) -> None:
    assert request_.repeatable is repeatable


@pytest.mark.parametrize(
    "request_",
    [
        Request(method="GET", path="/a b"),
        Request(method="GET", path="/", headers=(("X", "1\r\nY: 2"),)),
        Request(method="HEAD", path="/"),
    ],
)
def test_what_http_cannot_carry_is_refused(request_: Request) -> None:
    with pytest.raises(ValueError, match=r"HTTP allows|HEAD"):
        prepare(request_, host="shop")


async def _send(client: HttpClient, request: Request = PAGE) -> Response:
    outcome = await client.send(request)
    assert isinstance(outcome, Response), outcome
    return outcome


@pytest.mark.asyncio
async def test_connections_are_used_again_and_bounded() -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=3) as client:
        answers = await asyncio.gather(*(_send(client) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert answers[0].headers["content-type"] == "application/json"
        assert shop.connections <= 3


@pytest.mark.asyncio
async def test_a_stale_connection_is_replaced_only_for_what_may_be_repeated() -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=1) as client:
        await _send(client)
        shop.before["/api/v1"] = deque([Reply(hang_up=True)])
        assert (await _send(client)).status == 200
        assert shop.connections == 2
        shop.before["/api/v1"] = deque([Reply(hang_up=True)])
        outcome = await client.send(UNSAFE)
        assert isinstance(outcome, TransportFailure)
        assert outcome.kind is FailureKind.CLOSED
        assert (await _send(client)).status == 200


@pytest.mark.asyncio
async def test_a_fresh_connection_that_hangs_up_is_a_failure_and_not_repeated() -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=1) as client:
        shop.before["/api/v1"] = deque([Reply(hang_up=True)])
        outcome = await client.send(PAGE)
        assert isinstance(outcome, TransportFailure)
        assert outcome.kind is FailureKind.CLOSED
        assert len(shop.heard) == 1


@pytest.mark.asyncio
async def test_connection_close_ends_the_connection_and_the_next_opens_another() -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=1) as client:
        shop.before["/api/v1"] = deque(
            [Reply(headers={"Connection": "close"}, close_after=True, body=b"bye")]
        )
        assert (await _send(client)).body == b"bye"
        assert (await _send(client)).status == 200
        assert shop.connections == 2


RAW_ANSWERS = [
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"abc",
    ),
    (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("raw", "body"), RAW_ANSWERS)
async def test_every_framing_of_an_answer_is_read(raw: bytes, body: bytes) -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=1) as client:
        shop.before["/api/v1"] = deque([Reply(raw=raw, close_after=True)])
        answer = await _send(client)
        assert (answer.status, answer.body) == (200, body)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"SSH-2.0-OpenSSH\r\n", FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", FailureKind.CLOSED),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", None),
    ],
)
async def test_broken_answers_are_named(raw: bytes, kind: FailureKind | None) -> None:
    async with FakeShop() as shop, HttpClient(base_url=shop.url, connections_max=1) as client:
        shop.before["/api/v1"] = deque([Reply(raw=raw, close_after=True)])
        outcome = await client.send(PAGE)
        assert isinstance(outcome, TransportFailure)
        assert kind is None or outcome.kind is kind
        assert (await _send(client)).status == 200


@pytest.mark.asyncio
async def test_a_slow_answer_times_out_also_for_those_in_line() -> None:
    async with FakeShop() as shop:
        shop.gate = asyncio.Event()
        async with HttpClient(base_url=shop.url, connections_max=1, timeout_s=0.05) as client:
            outcomes = await asyncio.gather(client.send(PAGE), client.send(PAGE))
            assert {type(outcome) for outcome in outcomes} == {TransportFailure}
            assert {outcome.kind for outcome in outcomes if isinstance(outcome, TransportFailure)}
            shop.gate.set()


@pytest.mark.asyncio
async def test_a_shop_that_is_away_and_a_full_line_are_named() -> None:
    async with FakeShop() as shop:
        url = shop.url
    async with HttpClient(base_url=url, connections_max=1, waiting_max=0) as client:
        first, second = await asyncio.gather(client.send(PAGE), client.send(PAGE))
        assert isinstance(first, TransportFailure)
        assert isinstance(second, TransportFailure)
        assert (first.kind, second.kind) == (FailureKind.CONNECT, FailureKind.QUEUE_FULL)


@pytest.mark.asyncio
async def test_closing_answers_everybody() -> None:
    async with FakeShop() as shop:
        shop.gate = asyncio.Event()
        client = HttpClient(base_url=shop.url, connections_max=1)
        asked = [asyncio.ensure_future(client.send(PAGE)) for _ in range(3)]
        while not shop.heard:  # noqa: ASYNC110 -- the shop has no signal for "heard"
            await asyncio.sleep(0)
        await client.close()
        late = await client.send(PAGE)
        outcomes = [*await asyncio.gather(*asked), late]
        assert all(
            isinstance(outcome, TransportFailure) and outcome.kind is FailureKind.SHUT_DOWN
            for outcome in outcomes
        )


@pytest.mark.asyncio
async def test_the_closed_loop_counts_statuses_problems_and_failures() -> None:
    async with FakeShop() as shop:
        shop.before["/api/v1"] = deque(
            [
                problem(409, "out_of_stock"),
                problem(503, "busy", retry_after=1),
                Reply(status=500, body=b"oops"),
                Reply(raw=b"nonsense\r\n\r\n", close_after=True),
            ]
        )
        seen: list[int] = []
        result = await run_closed_loop(
            base_url=shop.url,
            requests=repeat(prepare(PAGE, host="shop")),
            connections=4,
            requests_max=40,
            seconds_max=60.0,
            on_response=lambda _, response: seen.append(response.status),
        )
    assert result.requests == 40
    assert result.by_status == {200: 36, 409: 1, 500: 1, 503: 1}
    assert result.by_problem == {"busy": 1, "out_of_stock": 1, load.UNTYPED_PROBLEM: 1}
    assert result.by_failure == {"malformed": 1}
    assert result.errors == 3
    assert len(seen) == 39
    assert 0 < result.latency_ms_p50 <= result.latency_ms_p99 <= result.latency_ms_max
    assert result.to_json()["by_status"] == {"200": 36, "409": 1, "500": 1, "503": 1}


@pytest.mark.asyncio
async def test_a_load_ends_with_its_source_and_with_its_time() -> None:
    page = prepare(PAGE, host="shop")
    left = deque([page] * 5)
    async with FakeShop() as shop:
        by_source = await run_closed_loop(
            base_url=shop.url,
            requests=lambda: left.popleft() if left else None,
            connections=2,
            requests_max=1_000,
            seconds_max=60.0,
        )
        by_time = await run_closed_loop(
            base_url=shop.url,
            requests=repeat(page),
            connections=2,
            requests_max=1_000,
            seconds_max=0.0,
        )
    assert (by_source.requests, by_time.requests) == (5, 0)


@pytest.mark.asyncio
async def test_the_open_loop_counts_arrivals_it_could_not_send() -> None:
    async with FakeShop() as shop:
        result = await run_open_loop(
            base_url=shop.url,
            requests=repeat(prepare(PAGE, host="shop")),
            # All are due at once, and so are sent or refused before any answer can be read.
            rate_per_s=1e9,
            in_flight_max=2,
            requests_max=10,
            seconds_max=60.0,
        )
    assert result.requests == 10
    assert result.by_status[200] + result.by_failure["overflow"] == 10
    assert result.errors == result.by_failure["overflow"] >= 7


@pytest.mark.asyncio
async def test_the_open_loop_counts_latency_from_when_a_request_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(load, "perf_counter", lambda: now[0])
    tally = load._Tally(None)
    assert tally.start() == 100.0
    now[0] = 103.0
    tally.add(prepare(PAGE, host="shop"), Response(200, {}, b""), 101.0)
    assert tally.result().latency_ms_max == 2_000.0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"type":"/problems/busy"}', "busy"),
        (b'{"type":1}', "untyped"),
        (b"[]", "untyped"),
        (b"<html>", "untyped"),
    ],
)
def test_the_problem_type_is_read_from_any_body(body: bytes, kind: str) -> None:
    assert problem_type(body) == kind


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        asyncio.run(
            run_open_loop(
                base_url="http://127.0.0.1:1",
                requests=[],
                rate_per_s=0.0,
                in_flight_max=1,
                requests_max=1,
                seconds_max=1.0,
            )
        )
