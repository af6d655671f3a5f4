"""Live availability over HTTP: snapshots, changes within a second, resuming, and refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain.ids import encode
from serve_apps.live_app import FILTERS_MAX
from serve_apps.live_feed import LiveFeed
from storage.availability_stream import KEY, StreamId
from tests.serve_apps.conftest import OpenShop, Shop, Shopper, until
from tests.serve_apps.listeners import LIVE, WAIT_MAX_S, Told, listening, served

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def port(shop: Shop) -> AsyncIterator[int]:
    async with served(shop.apps["site"]) as opened:
        await until_reading(shop)
        yield opened


def feed_of(shop: Shop) -> LiveFeed:
    return shop.apps["site"].state.live


async def until_reading(shop: Shop) -> None:
    async def reading() -> bool:
        return feed_of(shop).reading

    await until(reading)


async def buy(shop: Shop, sku: str, quantity: int = 1) -> None:
    shopper: Shopper = await shop.shopper(sku, quantity)
    answer = await shopper.checkout()
    assert answer.status_code == 201, answer.text


def skus(told: Told) -> dict[str, int]:
    return {one["sku"]: one["available"] for one in told.data["availability"]}


async def test_a_purchase_is_seen_within_a_second(shop: Shop, port: int) -> None:
    async with listening(port, product_id=shop.product_of["HOT"]) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        first = await stream.event()
        assert (first.kind, skus(first)) == ("snapshot", {"HOT": 20})
        began = time.time()
        await buy(shop, "HOT", 3)
        bought = time.time()
        told = await stream.event()
        while told.data["available"] != 17:  # the pair's loading may be told of first
            told = await stream.event()
        seen = time.time()
    assert told.kind == "availability"
    assert told.data == {
        "product_id": shop.product_of["HOT"],
        "variant_id": shop.variant_ids["HOT"],
        "sku": "HOT",
        "available": 17,
    }
    # Published after the purchase began, and on its way to us for less than a second.
    assert began - 0.002 <= told.ms / 1_000 <= seen
    assert seen - told.ms / 1_000 < 1
    assert told.ms / 1_000 - bought < 1


async def test_the_number_is_the_sum_over_warehouses(shop: Shop, port: int) -> None:
    async with listening(port, variant_id=shop.variant_ids["LAPTOP"]) as stream:
        assert skus(await stream.event()) == {"LAPTOP": 1_000}
        await buy(shop, "LAPTOP", 2)
        told = await stream.event()
        while told.data["available"] != 998:
            told = await stream.event()


async def test_filters_choose_products_and_variants(shop: Shop, port: int) -> None:
    asked: dict[str, Any] = {
        "product_id": [shop.product_of["HOT"], shop.product_of["HOT"]],
        "variant_id": [shop.variant_ids["TEE-M"], encode("var", uuid4())],
    }
    async with listening(port, **asked) as stream:
        assert skus(await stream.event()) == {"HOT": 20, "TEE-M": 50}
        await buy(shop, "TEE-S")
        await buy(shop, "VASE")
        await buy(shop, "TEE-M")
        seen = {(await stream.event()).data["sku"]}
        assert seen == {"TEE-M"}
    async with listening(port, product_id=shop.product_of["TEE-M"]) as stream:
        assert skus(await stream.event()) == {"TEE-S": 49, "TEE-M": 49}


async def test_without_filters_everything_is_told_from_now_on(shop: Shop, port: int) -> None:
    async with listening(port) as stream:
        await stream.comment("doorbuster")
        await buy(shop, "VASE")
        told = await stream.event()
        while told.data["available"]:
            told = await stream.event()
        assert told.data["sku"] == "VASE"


async def _last_id(port: int, **query: Any) -> str:
    async with listening(port, **query) as stream:
        return (await stream.event()).id


async def test_who_comes_back_is_told_what_changed_meanwhile(shop: Shop, port: int) -> None:
    await buy(shop, "TEE-S")
    await until_published(shop, "TEE-S", 49)
    left = await _last_id(port, product_id=shop.product_of["TEE-S"])
    await buy(shop, "TEE-S")
    await buy(shop, "VASE")
    await until_published(shop, "TEE-S", 48)
    await until_published(shop, "VASE", 0)
    asked = {"product_id": shop.product_of["TEE-S"]}
    async with listening(port, resume_at=left, **asked) as stream:
        told = await stream.event()
        assert (told.kind, told.data["sku"], told.data["available"]) == (
            "availability",
            "TEE-S",
            48,
        )
        assert told.id != left
    async with listening(port, **asked | {"last_event_id": left}) as stream:
        assert (await stream.event()).data["available"] == 48
    # The header is what a reconnecting browser knows; the address may be older.
    async with listening(port, resume_at=told.id, **asked | {"last_event_id": left}) as stream:
        await buy(shop, "TEE-S")
        assert (await stream.event()).data["available"] == 47
    async with listening(port, resume_at=left) as stream:
        everything = {(await stream.event()).data["sku"] for _ in range(2)}
        assert everything == {"TEE-S", "VASE"}


async def until_published(shop: Shop, sku: str, units: int) -> None:
    variant_id = shop.variant_ids[sku]

    async def told() -> bool:
        page = (await shop.client.get(f"/api/v1/products/{shop.product_of[sku]}")).json()
        shown = {one["variant_id"]: one["available"] for one in page["variants"]}
        return shown[variant_id] == units

    await until(told)
    newest: Any = await shop.redis.xrevrange(KEY, count=1)
    last = StreamId.parse(newest[0][0].decode())

    async def caught_up() -> bool:
        return feed_of(shop).position >= last

    await until(caught_up)


async def test_an_event_that_is_too_old_gives_a_snapshot(shop: Shop, port: int) -> None:
    await buy(shop, "TEE-S")
    await until_published(shop, "TEE-S", 49)
    for unknown in ("1-1", f"{int(time.time() + 3_600) * 1_000}-0"):
        asked = {"product_id": shop.product_of["TEE-S"]}
        async with listening(port, resume_at=unknown, **asked) as stream:
            assert skus(await stream.event()) == {"TEE-S": 49, "TEE-M": 50}
        async with listening(port, resume_at=unknown) as stream:
            told = await stream.event()
            assert (told.kind, told.data) == ("missed", {"since": unknown})


@pytest.mark.parametrize(
    ("question", "status", "field"),
    [
        (("product_id=prod_nonsense", {}), 422, "product_id"),
        (("variant_id=prod_00000000000000000000000001", {}), 422, "variant_id"),
        (("variant_id=", {}), 422, "variant_id"),
        (("last_event_id=yesterday", {}), 422, "last_event_id"),
        (("", {"Last-Event-ID": "1-x"}), 422, "Last-Event-ID"),
        (("&".join(["product_id=prod_x"] * (FILTERS_MAX + 1)), {}), 422, "product_id"),
        (("product_id=prod_7zzzzzzzzzzzzzzzzzzzzzzzzz", {}), 404, None),
    ],
)
async def test_a_bad_question_is_a_problem(
    shop: Shop, port: int, question: tuple[str, dict[str, str]], status: int, field: str | None
) -> None:
    query, headers = question
    url = f"127.0.0.1:{port}{LIVE}?{query}"
    async with httpx.AsyncClient(timeout=WAIT_MAX_S) as client:
        answer = await client.get(f"http://{url}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field
    if not headers:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{url}")
        assert refused.value.response.status_code == status
        assert orjson.loads(refused.value.response.body or b"") == answer.json()
    assert feed_of(shop).subscribers == 0


async def test_a_websocket_tells_the_same(shop: Shop, port: int) -> None:
    await buy(shop, "TEE-S")
    await until_published(shop, "TEE-S", 49)
    url = f"ws://127.0.0.1:{port}{LIVE}?variant_id={shop.variant_ids['VASE']}"
    async with asyncio.timeout(WAIT_MAX_S), connect(url) as socket:
        first = orjson.loads(await socket.recv())
        assert first["event"] == "snapshot"
        assert [one["available"] for one in first["data"]["availability"]] == [1]
        await buy(shop, "VASE")
        told = orjson.loads(await socket.recv())
        while told["data"]["available"] != 0:
            told = orjson.loads(await socket.recv())
        assert (told["event"], told["data"]["sku"]) == ("availability", "VASE")
    await _until_alone(shop)
    async with asyncio.timeout(WAIT_MAX_S), connect(f"{url}&last_event_id={first['id']}") as socket:
        assert orjson.loads(await socket.recv())["data"]["available"] == 0


async def test_a_websocket_takes_no_messages(shop: Shop, port: int) -> None:
    async with asyncio.timeout(WAIT_MAX_S), connect(f"ws://127.0.0.1:{port}{LIVE}") as socket:
        await socket.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    await _until_alone(shop)


async def _until_alone(shop: Shop) -> None:
    async def alone() -> bool:
        return feed_of(shop).subscribers == 0

    await until(alone)


async def test_who_hangs_up_is_forgotten(shop: Shop, port: int) -> None:
    async with listening(port, product_id=shop.product_of["HOT"]) as stream:
        await stream.event()
        assert feed_of(shop).subscribers == 1
    await _until_alone(shop)


async def test_beyond_the_bound_listeners_are_told_to_come_back(shop_with: OpenShop) -> None:
    async with shop_with(live_subscribers_max=1) as shop, served(shop.apps["site"]) as port:
        await until_reading(shop)
        asked = {"product_id": shop.product_of["HOT"]}
        async with listening(port, **asked) as stream:
            await stream.event()
            async with listening(port, **asked) as refused:
                assert refused.response.status_code == 503
                assert refused.response.headers["retry-after"] == "10"
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{port}{LIVE}")
        await _until_alone(shop)
        async with listening(port, **asked) as stream:
            assert (await stream.event()).kind == "snapshot"
