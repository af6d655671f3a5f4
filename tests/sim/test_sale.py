"""A whole sale against a small shop, its screen, and the same journey under Locust."""

from __future__ import annotations

import asyncio
import io
import sys
from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from domain.promises import PROMISES
from sim import journey as journeys
from sim.sale import SaleNotPossibleError, SalePlan, SaleProgress, SaleResult, run_sale
from sim.sale_screen import SaleScreen, plain_line, render_audit, render_report
from tests.sim.fake_shop import HOT, HOT_VARIANT, FakeShop, Reply, problem

ROOT = Path(__file__).parents[2]


def _plan(shop: FakeShop, **changes: object) -> SalePlan:
    values: dict[str, object] = {
        "base_url": shop.url,
        "hot_product_id": HOT,
        "hot_stock": shop.stock[HOT_VARIANT],
        "buyers": 60,
        "concurrency": 8,
        "seed": 11,
        "declined_share": 0.0,
    }
    return SalePlan(**(values | changes))  # pyright: ignore[reportArgumentType]


async def _run(shop: FakeShop, **changes: object) -> tuple[SaleResult, list[SaleProgress]]:
    seen: list[SaleProgress] = []
    result = await run_sale(_plan(shop, **changes), seen.append)
    return result, seen


@pytest.mark.asyncio
async def test_a_sale_sells_what_there_is_and_collects_every_order() -> None:
    async with FakeShop(hot_stock=25) as shop:
        result, seen = await _run(shop)
    assert result.shoppers == result.finished == 75
    assert result.hot_sku_sold == shop.sold[HOT_VARIANT] == 25
    assert result.orders_rejected == {"out_of_stock": 35}
    assert result.orders_confirmed == len(result.acknowledged) == 40
    assert set(result.acknowledged) == {order["order_id"] for order in shop.orders.values()}
    assert (result.errors, result.faults, result.journeys_failed) == (0, {}, {})
    assert result.sold_out_after_s is not None
    assert 0 < result.checkout_ms_p50 <= result.checkout_ms_p99 <= result.checkout_ms_max
    assert seen[-1].finished == 75
    assert seen[-1].stock_left == 0
    assert set(result.to_json()) >= {
        "orders_confirmed",
        "orders_rejected",
        "hot_sku_sold",
        "orders_per_second",
        "checkout_ms",
        "errors",
    }


@pytest.mark.asyncio
async def test_faults_are_counted_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "RETRY_PAUSE_S_FIRST", 0.0)
    monkeypatch.setattr(journeys, "RETRY_AFTER_S_MAX", 0.0)
    async with FakeShop(hot_stock=25) as shop:
        shop.after["/api/v1/orders/checkout"] = deque(
            [Reply(hang_up=True), problem(503, "busy", retry_after=1)] * 10
        )
        shop.before["/api/v1/cart"] = deque([Reply(hang_up=True)] * 3)
        result, _ = await _run(shop)
    assert result.hot_sku_sold == 25
    assert set(result.acknowledged) == {order["order_id"] for order in shop.orders.values()}
    assert result.errors == sum(result.faults.values())
    assert result.faults["503 busy"] == 10
    assert result.faults["closed"] >= 3
    assert result.journeys_failed == {}


@pytest.mark.asyncio
async def test_time_up_lets_nobody_else_in() -> None:
    async with FakeShop() as shop:
        result, _ = await _run(shop, seconds_max=0.0)
    assert result.finished == 8


@pytest.mark.asyncio
async def test_the_traffic_is_of_the_seed() -> None:
    asked = []
    for _ in range(2):
        async with FakeShop() as shop:
            await _run(shop, concurrency=1, buyers=10)
            asked.append([(heard.method, heard.path, heard.body) for heard in shop.heard])
    assert asked[0] == asked[1]


@pytest.mark.asyncio
async def test_a_sale_without_its_product_says_so() -> None:
    async with FakeShop() as shop:
        with pytest.raises(SaleNotPossibleError, match=r"prod_none .* gave 404"):
            await _run(shop, hot_product_id="prod_none")
        url = shop.url
    with pytest.raises(SaleNotPossibleError, match="no connection"):
        await run_sale(SalePlan(base_url=url, hot_product_id=HOT), lambda _: None)


def _progress(**changes: object) -> SaleProgress:
    values: dict[str, object] = {
        "elapsed_s": 2.0,
        "shoppers": 2_500,
        "finished": 1_250,
        "inside": 128,
        "orders_confirmed": 700,
        "orders_rejected": 550,
        "errors": 0,
        "hot_sold": 400,
        "hot_stock": 500,
        "orders_per_second": 812.0,
        "checkout_ms_p50": 31.0,
        "checkout_ms_p99": 88.0,
        "sold_out_after_s": None,
    }
    return SaleProgress(**(values | changes))  # pyright: ignore[reportArgumentType]


def _show(*, force_terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=force_terminal, width=100)
    with SaleScreen(console, product_name="Turbo Blender") as screen:
        screen.update(_progress())
        screen.update(_progress(elapsed_s=2.1))
        screen.update(_progress(elapsed_s=3.5, hot_sold=500, sold_out_after_s=3.2))
    return out.getvalue()


def test_the_screen_draws_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    drawn = _show(force_terminal=True)
    assert "SOLD OUT at 3.2 s" in drawn
    assert "DOORBUSTER" in drawn


@pytest.mark.parametrize("terminal", [False, True])
def test_the_screen_is_plain_lines_elsewhere(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = _show(force_terminal=terminal).splitlines()
    assert len(lines) == 3
    assert "1250/2500 shoppers, 700 orders, 812/s, p99 88 ms, p50 31 ms, 100 left" in lines[0]
    assert ", 0 left, 0 errors" in lines[-1]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_plain_line_fits_and_keeps_what_matters(width: int) -> None:
    line = plain_line(
        _progress(elapsed_s=12.0, orders_confirmed=1_700, finished=2_500, checkout_ms_p99=1_288.0),
        width,
    )
    assert len(line) <= max(width, 65)
    assert line.startswith(" 12.0 s  2500/2500 shoppers, 1700 orders, ")
    assert line.endswith("100 left, 0 errors")
    assert ("p99 1288 ms" in line) == (width >= 80)
    assert ("p50" in line) == (width > 80)


@pytest.mark.parametrize("width", [80, 92, 120])
def test_no_promises_name_is_cut(width: int) -> None:
    verdict = {"ok": True, "checked": 1_250_000, "violations": []}
    audit = {"ok": True, "promises": {one.id: verdict for one in PROMISES}}
    out = io.StringIO()
    Console(file=out, width=width).print(render_audit(audit))
    text = out.getvalue()
    assert all(one.title in text for one in PROMISES)
    assert len(text.splitlines()) == (14 if width < 92 else 9)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("oversold", "audit_ok", "verdict"),
    [
        (0, True, "SOLD EXACTLY WHAT IT HAD"),
        (0, None, "NOT AUDITED"),
        (1, True, "BROKE A PROMISE"),
        (0, False, "BROKE A PROMISE"),
    ],
)
def test_the_report_gives_a_verdict(oversold: int, audit_ok: bool | None, verdict: str) -> None:
    promise = {"ok": audit_ok, "checked": 2_500, "violations": [] if audit_ok else ["x"]}
    promises = {f"P{n}": promise for n in range(1, 11)}
    audit = None if audit_ok is None else {"ok": audit_ok, "promises": promises}
    out = io.StringIO()
    Console(file=out, width=100).print(
        render_report(
            {
                "orders_confirmed": 1_000,
                "orders_rejected": {"out_of_stock": 1_500},
                "hot_sku_stock": 500,
                "hot_sku_sold": 500 + oversold,
                "oversold": oversold,
                "orders_per_second": 812.0,
                "checkout_ms": {"p50": 31.0, "p99": 88.0, "max": 120.0},
                "errors": 0,
                "seconds_to_ready": 11.7,
                "audit": audit,
            }
        )
    )
    text = out.getvalue()
    assert verdict in text
    assert "1,500  out of stock" in text
    if audit is not None:
        assert "Never oversold" in text
        assert text.count("2,500" if audit_ok else "1 broken") == 10


async def _locust(shop: FakeShop, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", "sim/locustfile.py", "--host", shop.url),
        *("--headless", "--users", "3", "--spawn-rate", "100", "--think-seconds", "0"),
        *("--journeys", "12", "--run-time", "60s", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.asyncio
async def test_locust_drives_the_same_journey_and_sold_out_is_no_failure() -> None:
    async with FakeShop(hot_stock=2) as shop:
        status, out = await _locust(shop, "--hot-product", HOT, "--hot-share", "1")
    assert status == 0, out
    assert shop.sold[HOT_VARIANT] == 2
    assert len(shop.heard_at("/api/v1/orders/checkout")) == 12
    assert "sold out" in out


@pytest.mark.asyncio
async def test_locust_reports_a_broken_shop_as_a_failure() -> None:
    async with FakeShop() as shop:
        shop.before["/api/v1/orders"] = deque([problem(500, "internal")])
        status, out = await _locust(shop)
    assert status == 1, out
    assert shop.sold.total() >= 11
