"""A sale with a fault in the middle of it, and what must be true when the dust has settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from sim.sale import SalePlan, SaleProgress, SaleResult, run_sale
from tests.shop.running import Hot, Shop, checkout_body, eventually_async

BUYERS = 600
STOCK = 200
CONCURRENCY = 64
FAULT_AFTER_ORDERS = 60
BACK_WITHIN_S = 90.0
SETTLED_WITHIN_S = 40.0
_PROBE_STOCK = 5_000  # ordinary shoppers may come across it as well
_LEFT = """
    SELECT i.quantity AS available, coalesce(sum(r.quantity) FILTER (
               WHERE r.status IN ('allocated', 'shipped')), 0)::int AS allocated,
           coalesce(sum(r.quantity) FILTER (WHERE r.status = 'active'), 0)::int AS held
    FROM stock_now i LEFT JOIN inventory_reservations r USING (inventory_id)
    WHERE i.inventory_id = $1 GROUP BY i.quantity
"""
_OPEN = """
    SELECT (SELECT count(*) FROM orders WHERE status = 'pending') AS pending,
           (SELECT count(*) FROM inventory_reservations WHERE status = 'active') AS held,
           (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS untold
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rush:
    """What is on sale."""

    hot: Hot
    probe: Hot
    """Decided for by the same owner as the hot product, and never sold out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the shoppers saw."""

    result: SaleResult
    first_order_s: float
    """From the fault until a shopper who came right after it had a confirmed order."""
    ready_s: float
    """From the fault until /readyz was 200 and the first order was through."""
    acknowledged: tuple[str, ...]


async def prepare(shop: Shop) -> Rush:
    """New products for one rush."""
    hot = await shop.stock_up(STOCK)
    return Rush(hot=hot, probe=await shop.stock_up(_PROBE_STOCK, owner=hot.owner))


async def sell_through(shop: Shop, rush: Rush, fault: Callable[[], Any]) -> Aftermath:
    """Hold the sale; `fault` runs in a thread once FAULT_AFTER_ORDERS orders are confirmed.

    The shopper who measures comes when `fault` has returned; the time counts from its beginning.
    """
    reached = asyncio.Event()

    def watch(progress: SaleProgress) -> None:
        if progress.orders_confirmed >= FAULT_AFTER_ORDERS:
            reached.set()

    sale = asyncio.create_task(run_sale(_plan(shop, rush.hot, BUYERS), watch))
    trigger = asyncio.create_task(reached.wait())
    await asyncio.wait({sale, trigger}, return_when=asyncio.FIRST_COMPLETED)
    assert reached.is_set(), f"the sale ended before the fault: {sale}"
    assert not sale.done(), "the sale was over before the fault"
    struck = time.monotonic()
    await asyncio.to_thread(fault)
    probe_order = await _buy_patiently(shop, rush.probe)
    first_order_s = time.monotonic() - struck
    await eventually_async(
        lambda: asyncio.to_thread(shop.is_ready), within_s=BACK_WITHIN_S, what="ready again"
    )
    ready_s = time.monotonic() - struck
    result = await sale
    return Aftermath(
        result=result,
        first_order_s=first_order_s,
        ready_s=ready_s,
        acknowledged=(*result.acknowledged, probe_order),
    )


def _plan(shop: Shop, hot: Hot, buyers: int, *, ordinary: int | None = None) -> SalePlan:
    return SalePlan(
        base_url=shop.url,
        hot_product_id=hot.product_id,
        hot_stock=hot.stock,
        buyers=buyers,
        ordinary=ordinary,
        concurrency=CONCURRENCY,
    )


async def _buy_patiently(shop: Shop, product: Hot) -> str:
    """One shopper who repeats every step until it is answered; the order's id."""
    async with httpx.AsyncClient(base_url=shop.url, timeout=5) as http:
        cart = await _ask(
            http, "/api/v1/cart/items", {"product_id": product.product_id, "quantity": 1}, {}
        )
        assert "token" in cart, cart
        headers = {"Authorization": f"Bearer {cart['token']}", "Idempotency-Key": str(uuid4())}
        body = checkout_body(cart["cart_id"])
        while True:
            order = await _ask(http, "/api/v1/orders/checkout", body, headers)
            if "order_id" in order:
                return order["order_id"]
            # Recovery unwound it: a new purchase, as its message says.
            kind = order["type"].removeprefix("/problems/")
            assert kind in ("checkout_interrupted", "hold_expired"), order
            headers["Idempotency-Key"] = str(uuid4())


async def _ask(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    """The first answer that is neither silence nor "come back"."""
    answers: list[str] = []

    async def answered() -> dict[str, Any] | None:
        try:
            answer = await http.post(path, json=body, headers=headers)
        except httpx.HTTPError as error:
            answers.append(type(error).__name__)
            return None
        answers.append(f"{answer.status_code} {answer.text[:80]}")
        in_flight = answer.status_code == 409 and "in_flight" in answer.text
        if answer.status_code >= 500 or in_flight:
            assert "/problems/internal" not in answer.text, answer.text
            return None
        if "json" not in answer.headers.get("content-type", ""):
            return None  # HAProxy's own answer, while it knows of no replica
        return answer.json()

    try:
        return await eventually_async(answered, within_s=BACK_WITHIN_S, what=f"POST {path}")
    except AssertionError as error:
        raise AssertionError(f"{error}; answers: {answers[-20:]}") from None


async def settled(shop: Shop) -> None:
    """Wait until nothing is under way: no pending order, no hold, no event untold."""
    async with shop.parts() as parts:
        last: list[dict[str, int]] = []

        async def nothing_open() -> bool:
            last[:] = [dict(await parts.pool.fetchrow(_OPEN))]
            return not any(last[0].values())

        try:
            await eventually_async(nothing_open, within_s=SETTLED_WITHIN_S, what="nothing open")
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}\n{shop.logs()}") from None


async def stock_of(shop: Shop, hot: Hot) -> dict[str, int]:
    """Units of a pair: `available`, `allocated` and `held`."""
    async with shop.parts() as parts:
        return dict(await parts.pool.fetchrow(_LEFT, hot.inventory_id))


async def check_books(shop: Shop, rush: Rush, after: Aftermath) -> None:
    """Nothing open, nothing lost, nothing oversold; then the rest sells out to the last unit."""
    await settled(shop)
    for product in (rush.hot, rush.probe):
        left = await stock_of(shop, product)
        assert left["available"] >= 0
        assert left["available"] + left["allocated"] == product.stock, left
    told = list(after.acknowledged)
    left = await stock_of(shop, rush.hot)
    assert left["allocated"] >= after.result.hot_sku_sold
    if left["available"]:
        rest = await run_sale(
            _plan(shop, rush.hot, left["available"] + CONCURRENCY, ordinary=10), lambda _: None
        )
        told += rest.acknowledged
        await settled(shop)
    assert (await stock_of(shop, rush.hot)) == {"available": 0, "allocated": STOCK, "held": 0}
    report = await asyncio.to_thread(shop.audit, told)
    assert report["ok"], report
