"""Live availability through the front door: HAProxy, Serve, a real owner and a real Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect

from tests.shop.running import Shop, check_out, fill_basket

pytestmark = [pytest.mark.shop, pytest.mark.asyncio, pytest.mark.timeout(180)]

LIVE = "/api/v1/live"
SEEN_WITHIN_S = 1.0
WAIT_MAX_S = 10.0


async def buy(shop: Shop, product_id: str) -> float:
    """One unit, by a new guest; the unix time at which the order was confirmed."""

    def bought() -> float:
        with httpx.Client(base_url=shop.url, timeout=WAIT_MAX_S) as http:
            answer = check_out(http, fill_basket(http, product_id))
            assert answer.status_code == 201, answer.text
            return time.time()

    return await asyncio.to_thread(bought)


async def test_a_purchase_is_seen_by_others_within_a_second(shop: Shop) -> None:
    hot = await shop.stock_up(4)
    loop = asyncio.get_running_loop()
    arrivals = {left: loop.create_future() for left in (4, 3, 2, 1)}

    async def follow() -> None:
        async with (
            httpx.AsyncClient(base_url=shop.url, timeout=WAIT_MAX_S) as http,
            http.stream("GET", LIVE, params={"variant_id": hot.variant_id}) as stream,
        ):
            published = 0.0
            async for line in stream.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    published = int(value.partition("-")[0]) / 1_000
                if name == "data":
                    told = orjson.loads(value)
                    [shown] = told.get("availability", [told])
                    if not arrivals[shown["available"]].done():
                        arrivals[shown["available"]].set_result((published, time.time()))

    following = asyncio.create_task(follow())
    async with asyncio.timeout(6 * WAIT_MAX_S):
        await arrivals[4]
        for left in (3, 2, 1):
            confirmed = await buy(shop, hot.product_id)
            published, arrived = await arrivals[left]
            # Published may be before the buyer is told: the order was paid meanwhile.
            assert published - confirmed < SEEN_WITHIN_S
            assert arrived - published < SEEN_WITHIN_S
            assert arrived - confirmed < SEEN_WITHIN_S
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_websocket_resumes_where_it_was_cut(shop: Shop) -> None:
    hot = await shop.stock_up(3)
    await buy(shop, hot.product_id)
    url = f"{shop.url.replace('http', 'ws')}{LIVE}?product_id={hot.product_id}"

    async def first_with(left: int, url: str) -> dict[str, Any]:
        async with connect(url) as socket:
            while True:
                told = orjson.loads(await socket.recv())
                shown = told["data"].get("availability", [told["data"]])
                if shown[0]["available"] == left:
                    return told

    async with asyncio.timeout(3 * WAIT_MAX_S):
        before = await first_with(2, url)
        await buy(shop, hot.product_id)
        after = await first_with(1, f"{url}&last_event_id={before['id']}")
    assert after["data"]["sku"] == hot.sku


@pytest.mark.parametrize(
    ("query", "status"), [("product_id=x", 422), ("last_event_id=x", 422), ("", 200)]
)
async def test_bad_questions_are_refused_at_the_front_door(
    shop: Shop, query: str, status: int
) -> None:
    async with (
        httpx.AsyncClient(base_url=shop.url, timeout=WAIT_MAX_S) as http,
        http.stream("GET", f"{LIVE}?{query}") as stream,
    ):
        assert stream.status_code == status
