"""Shoppers: the same seed is the same person, and a journey survives what may be repeated."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter, deque
from pathlib import Path
from random import Random

import orjson
import pytest

from sim import journey as journeys
from sim.http_client import HttpClient
from sim.journey import (
    Answer,
    Journey,
    JourneyOutcome,
    Step,
    StepName,
    go_shopping,
    journey_steps,
    read_retry_after,
)
from sim.shoppers import (
    LINES_MAX,
    Assortment,
    HotProduct,
    Shopper,
    draw_address,
    draw_zipf,
    read_assortment,
    search_request,
)
from tests.sim.fake_shop import HOT, HOT_VARIANT, FakeShop, Reply, problem

CHECKOUT = "/api/v1/orders/checkout"
WORLD = Assortment(words=("quiet", "kettle"), categories=("Kitchen",))


def _shopper(seed: int = 1, *, rush: bool = True, declined_share: float = 0.0) -> Shopper:
    numbers = itertools.count(1)
    return Shopper(
        rng=Random(seed),
        new_key=lambda: f"key-{seed}-{next(numbers)}",
        assortment=WORLD,
        hot=HotProduct(product_id=HOT, query="turbo"),
        rush=rush,
        declined_share=declined_share,
    )


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "RETRY_PAUSE_S_FIRST", 0.0)
    monkeypatch.setattr(journeys, "RETRY_AFTER_S_MAX", 0.0)


async def _go(shop: FakeShop, shopper: Shopper, *, timeout_s: float = 10.0) -> Journey:
    async with HttpClient(base_url=shop.url, connections_max=1, timeout_s=timeout_s) as client:
        return await go_shopping(client, shopper)


@pytest.mark.asyncio
async def test_a_rush_buyer_searches_looks_adds_and_buys_one_unit() -> None:
    async with FakeShop() as shop:
        journey = await _go(shop, _shopper())
    assert journey.outcome is JourneyOutcome.CONFIRMED
    assert journey.order_id in {order["order_id"] for order in shop.orders.values()}
    assert [line.variant_id for line in journey.lines] == [HOT_VARIANT]
    assert [name for name, _ in journey.step_ms] == list(StepName)
    assert [heard.path.split("?")[0].split("/")[3] for heard in shop.heard] == [
        "products",
        "products",
        "cart",
        "orders",
    ]
    assert shop.heard[-1].headers["authorization"] == "Bearer token_1"
    assert len({heard.connection for heard in shop.heard}) == 1


@pytest.mark.asyncio
async def test_an_ordinary_shopper_never_takes_the_hot_product() -> None:
    async with FakeShop(hot_stock=0) as shop:
        ended = [await _go(shop, _shopper(seed, rush=False)) for seed in range(20)]
    assert {journey.outcome for journey in ended} == {JourneyOutcome.CONFIRMED}
    assert HOT_VARIANT not in shop.sold
    assert 20 < len(shop.heard_at("/api/v1/cart")) <= 20 * LINES_MAX


@pytest.mark.asyncio
async def test_the_same_seed_asks_the_same() -> None:
    asked = []
    for _ in range(2):
        async with FakeShop() as shop:
            await _go(shop, _shopper(7, rush=False))
            asked.append([(heard.method, heard.path, heard.body) for heard in shop.heard])
    assert asked[0] == asked[1]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (problem(503, "busy", retry_after=1), "503 busy"),
        (Reply(hang_up=True), "closed"),
    ],
)
async def test_a_checkout_is_repeated_with_its_own_key(fault: Reply, named: str) -> None:
    async with FakeShop() as shop:
        # The work is done and the answer lost; on a used connection the client repeats it once
        # by itself, so two answers are lost in a row.
        shop.after[CHECKOUT] = deque([fault, fault])
        journey = await _go(shop, _shopper())
        keys = {heard.headers["idempotency-key"] for heard in shop.heard_at(CHECKOUT)}
    assert journey.outcome is JourneyOutcome.CONFIRMED
    assert keys == {"key-1-1"}
    assert len(shop.orders) == 1
    assert len(shop.heard_at(CHECKOUT)) == 3
    assert named in journey.faults


@pytest.mark.asyncio
async def test_a_timeout_is_repeated_and_the_order_placed_once() -> None:
    async with FakeShop() as shop:
        shop.after[CHECKOUT] = deque([Reply(raw=b"")])
        journey = await _go(shop, _shopper(), timeout_s=0.3)
    assert journey.outcome is JourneyOutcome.CONFIRMED
    assert "timeout" in journey.faults
    assert len(shop.orders) == 1


@pytest.mark.asyncio
async def test_repeats_are_bounded_and_a_busy_shop_is_a_named_refusal() -> None:
    async with FakeShop() as shop:
        shop.before[CHECKOUT] = deque([problem(503, "busy", retry_after=1)] * 100)
        journey = await _go(shop, _shopper())
    assert (journey.outcome, journey.problem) == (JourneyOutcome.REJECTED, "busy")
    assert len(shop.heard_at(CHECKOUT)) == journeys.TRIES_MAX == len(journey.faults)


@pytest.mark.asyncio
async def test_refusals_are_named_and_not_repeated() -> None:
    async with FakeShop(hot_stock=0) as shop:
        sold_out = await _go(shop, _shopper())
        declined = await _go(shop, _shopper(rush=False, declined_share=1.0))
    assert (sold_out.outcome, sold_out.problem, sold_out.refused_at) == (
        JourneyOutcome.REJECTED,
        "out_of_stock",
        StepName.CHECKOUT,
    )
    assert (declined.outcome, declined.problem) == (JourneyOutcome.REJECTED, "payment_declined")
    assert len(shop.heard_at(CHECKOUT)) == 2
    assert sold_out.faults == declined.faults == ()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=500, body=b"oops"), "untyped"),
        (Reply(body=b"not json"), "200 without a JSON object"),
        (Reply(body=b"{}"), "unexpected answer: KeyError('variants')"),
    ],
)
async def test_a_broken_answer_ends_the_journey_as_an_error(reply: Reply, reason: str) -> None:
    async with FakeShop() as shop:
        shop.before[f"/api/v1/products/{HOT}"] = deque([reply])
        journey = await _go(shop, _shopper())
    assert (journey.outcome, journey.problem) == (JourneyOutcome.ERROR, reason)


def _answer_all(status: int, document: object) -> tuple[list[Step], Journey]:
    steps = journey_steps(_shopper())
    asked: list[Step] = []
    step = next(steps)
    while True:
        asked.append(step)
        try:
            step = steps.send(Answer(status=status, body=orjson.dumps(document), retry_after_s=2.0))
        except StopIteration as stopped:
            return asked, stopped.value


def test_retry_after_is_honoured_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "RETRY_AFTER_S_MAX", 1.5)
    asked, journey = _answer_all(503, {"type": "/problems/busy"})
    assert [step.pause_s for step in asked] == [0.0] + [1.5] * (journeys.TRIES_MAX - 1)
    assert journey.step_ms == ((StepName.SEARCH, 1_500.0 * (journeys.TRIES_MAX - 1)),)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)],
)
def test_retry_after_is_read_in_seconds(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_addresses_are_whole_and_of_the_seed() -> None:
    assert draw_address(Random(3)) == draw_address(Random(3))
    assert set(draw_address(Random(3))) == {"name", "street", "city", "state", "zip", "country"}


def test_popularity_falls_with_rank() -> None:
    rng = Random(5)
    drawn = Counter(draw_zipf(rng, 20) for _ in range(4_000))
    assert drawn[0] > drawn[3] > drawn[19] > 0


def test_a_search_names_only_what_was_asked() -> None:
    assert search_request(query="tea pot & cup").path == (
        "/api/v1/products/search?q=tea+pot+%26+cup&page=1&limit=20"
    )


def test_the_assortment_is_read_from_a_search() -> None:
    body = orjson.dumps(
        {
            "results": [{"name": "Quiet Kettle 2 of us"}, {"name": "Quiet Lamp"}],
            "facets": {"categories": [{"name": "Kitchen", "count": 2}]},
        }
    )
    assert read_assortment(body) == Assortment(
        words=("kettle", "lamp", "quiet"), categories=("Kitchen",)
    )


def test_the_parts_that_locust_shares_do_not_bring_gevent_in() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, sim.sale, sim.journey, sim.load; assert 'gevent' not in sys.modules",
        ],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
