"""kill -9 in the middle of a sale, one process after the other, and then all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psutil
import pytest

from tests.fault.rush import Aftermath, Rush, check_books, prepare, sell_through
from tests.shop.running import Shop, eventually

WHOLE_TEST_S = 70.0  # ends before pytest's own limit, and shows where it waited
pytestmark = [pytest.mark.fault, pytest.mark.timeout(240)]


async def _survives(
    shop: Shop,
    name: str,
    fault: Callable[[Rush], object],
    print_line: Callable[[str], None],
) -> None:
    async with asyncio.timeout(WHOLE_TEST_S):
        rush = await prepare(shop)
        after = await sell_through(shop, rush, lambda: fault(rush))
        print_line(_line(name, after))
        await check_books(shop, rush, after)


def _line(name: str, after: Aftermath) -> str:
    result = after.result
    return (
        f"{name}: first new order after {after.first_order_s:.2f} s, ready after"
        f" {after.ready_s:.2f} s; {result.orders_confirmed} confirmed,"
        f" failed {result.journeys_failed}, faults {result.faults}"
    )


def _kill_owner(shop: Shop, name: str) -> int:
    pid = shop.owner(name)["pid"]
    psutil.Process(pid).kill()
    return pid


@pytest.mark.asyncio
async def test_a_stock_owner_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    killed: list[int] = []
    await _survives(
        shop,
        "stock owner",
        lambda rush: killed.append(_kill_owner(shop, rush.hot.owner)),
        print_line,
    )
    assert killed[0] not in [owner["pid"] for owner in shop.overview()["owners"]]


@pytest.mark.asyncio
async def test_the_checkout_replica_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    await _survives(
        shop,
        "checkout replica",
        lambda _: shop.process("ray::ServeReplica:checkout").kill(),
        print_line,
    )


@pytest.mark.asyncio
async def test_postgres_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    await _survives(shop, "Postgres", lambda _: shop.process("postgres").kill(), print_line)


@pytest.mark.asyncio
async def test_redis_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    await _survives(shop, "Redis", lambda _: shop.process("redis-server").kill(), print_line)


@pytest.mark.asyncio
async def test_haproxy_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    await _survives(shop, "HAProxy", lambda _: shop.process("haproxy").kill(), print_line)


def _kill_part_of_ray(shop: Shop, name: str) -> None:
    """Selling goes on for a moment without it; the fault is the end of all on Ray that follows."""
    names = ("haproxy", "ray::ServeReplica:checkout", "ray::ServeController")
    old = [shop.process(one) for one in names]
    shop.process(name).kill()
    eventually(
        lambda: not any(one.is_running() for one in old), within_s=30, what="the old cluster's end"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
async def test_ray_dies(shop: Shop, name: str, print_line: Callable[[str], None]) -> None:
    await _survives(shop, name, lambda _: _kill_part_of_ray(shop, name), print_line)


@pytest.mark.asyncio
async def test_everything_dies(shop: Shop, print_line: Callable[[str], None]) -> None:
    """Supervisor first, so that it mends nothing; then `up` on what is left."""

    def kill_all_and_open_again() -> None:
        psutil.Process(shop.run_file().pid).kill()
        for process in shop.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        eventually(lambda: not shop.processes(), within_s=10, what="all processes gone")
        shop.up()

    await _survives(shop, "everything", lambda _: kill_all_and_open_again(), print_line)
