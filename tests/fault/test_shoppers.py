"""Faults that are not a process's end: shoppers who hang up, owners that hang or wake up late."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable

import httpx
import orjson
import psutil
import pytest

from storage.stock_journal import PostgresStockJournal
from tests.fault.rush import check_books, prepare, sell_through, settled, stock_of
from tests.shop.running import Basket, Shop, checkout_body, eventually, fill_basket

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]

HANG_UPS = 60
_IN_FLIGHT = "idempotency_key_in_flight"
_STOCK = 40  # fewer than shoppers: some hang up on a hold, some on a refusal


async def _hang_up(shop: Shop, basket: Basket) -> None:
    """Send the whole checkout and close the connection without reading a byte."""
    body = orjson.dumps(checkout_body(basket.cart_id))
    head = (
        f"POST /api/v1/orders/checkout HTTP/1.1\r\nHost: 127.0.0.1:{shop.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in basket.headers.items())
    )
    _, writer = await asyncio.open_connection("127.0.0.1", shop.port)
    writer.write(f"{head}\r\n".encode() + body)
    await writer.drain()
    writer.transport.abort()


def _decided(http: httpx.Client, basket: Basket) -> httpx.Response | None:
    """The answer to the same checkout once more; None while the first one is worked on."""
    answer = http.post(
        "/api/v1/orders/checkout", json=checkout_body(basket.cart_id), headers=basket.headers
    )
    under_way = answer.status_code == 409 and answer.json()["type"].endswith(_IN_FLIGHT)
    return None if under_way else answer


@pytest.mark.asyncio
async def test_shoppers_who_hang_up_leave_nothing_open(shop: Shop) -> None:
    hot = await shop.stock_up(_STOCK)
    with httpx.Client(base_url=shop.url, timeout=10) as http:
        baskets = [fill_basket(http, hot.product_id) for _ in range(HANG_UPS)]
    await asyncio.gather(*[_hang_up(shop, basket) for basket in baskets])
    # Their purchases are theirs: the repeat gets the one answer there is, and buys nothing twice.
    # It also tells that the first request has arrived: nothing has happened before that.
    with httpx.Client(base_url=shop.url, timeout=10) as http:
        answers = [
            eventually(
                functools.partial(_decided, http, basket), within_s=30, what="a decided checkout"
            )
            for basket in baskets
        ]
    assert {answer.status_code for answer in answers} <= {201, 409}
    await settled(shop)
    left = await stock_of(shop, hot)
    assert left["held"] == 0
    assert left["available"] + left["allocated"] == _STOCK
    told = [answer.json()["order_id"] for answer in answers if answer.status_code == 201]
    assert len(set(told)) == len(told) == left["allocated"] <= _STOCK
    assert shop.audit(told)["ok"]


@pytest.mark.asyncio
async def test_an_owner_that_wakes_up_late_stops_itself(shop: Shop) -> None:
    """Stopped in the middle of a sale; a successor raises the epoch; then it goes on (P5)."""
    rush = await prepare(shop)
    name = rush.hot.owner
    before = shop.owner(name)
    loop = asyncio.get_running_loop()

    async def succeed() -> int:
        async with shop.parts() as parts:
            return await PostgresStockJournal(parts.pool).raise_epoch(name, "elsewhere", 0)

    raised: list[int] = []

    def stop_and_wake_up() -> None:
        process = psutil.Process(before["pid"])
        process.send_signal(signal.SIGSTOP)
        try:
            raised.append(asyncio.run_coroutine_threadsafe(succeed(), loop).result(20))
        finally:
            process.send_signal(signal.SIGCONT)

    async with asyncio.timeout(100):
        after = await sell_through(shop, rush, stop_and_wake_up)
        eventually(
            lambda: shop.owner(name).get("epoch", 0) > raised[0], within_s=30, what="a new owner"
        )
        assert shop.owner(name)["pid"] != before["pid"]
        assert raised[0] == before["epoch"] + 1
        await check_books(shop, rush, after)


@pytest.mark.asyncio
async def test_an_owner_that_hangs_is_replaced(
    shop: Shop, print_line: Callable[[str], None]
) -> None:
    """Stopped in the middle of a sale, and nobody does anything about it but the shop itself."""
    rush = await prepare(shop)
    name = rush.hot.owner
    before = shop.owner(name)
    process = psutil.Process(before["pid"])
    async with asyncio.timeout(100):
        try:
            after = await sell_through(shop, rush, process.suspend)
            assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        eventually(
            lambda: shop.owner(name).get("epoch", 0) > before["epoch"],
            within_s=30,
            what="a new owner",
        )
        assert shop.owner(name)["pid"] != before["pid"]
        print_line(
            f"owner stopped in a shop: first new order after {after.first_order_s:.2f} s;"
            f" {after.result.orders_confirmed} confirmed, failed {after.result.journeys_failed},"
            f" faults {after.result.faults}"
        )
        await check_books(shop, rush, after)
