"""Checkouts that are held between two steps, each at a pause point of its own, and their buyers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from domain import ids
from domain.payments import ProviderEvent
from domain.ports import Unavailable
from serve_apps.composition import Parts
from tests.fault.operators import Operators
from tests.fault.payment_provider import PaymentProvider
from tests.shop.running import ADDRESS, Hot, Shop, checkout_body, eventually_async

HELD_WITHIN_S = 20.0
DECIDED_WITHIN_S = 60.0
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError, Unavailable)
_LEFT = """
    SELECT (SELECT count(*) FROM orders
            WHERE status IN ('pending', 'in_review', 'accepted', 'awaiting_payment')) AS orders,
           (SELECT count(*) FROM orders WHERE status = 'in_review') AS undecided,
           (SELECT count(*) FROM inventory_reservations WHERE status = 'active') AS held,
           (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS untold
"""
_ASKED_FOR = """
    SELECT p.transaction_id FROM payments p JOIN orders o USING (order_id)
    WHERE o.status = 'awaiting_payment' ORDER BY p.payment_id
"""
_CHARGES_OF = """
    SELECT transaction_id FROM payments WHERE order_id = $1 ORDER BY part
"""
_HELD_OF = """
    SELECT count(*) FROM inventory_reservations WHERE inventory_id = $1 AND status = 'active'
"""
_YOUNG = """
    SELECT count(*) FROM orders WHERE status = 'pending' AND created_at > now() - $1::interval
"""
COUPON = "MATRIX"
SPLIT = ({"type": "card", "card_id": "card_1", "amount": 1}, {"type": "card", "card_id": "card_2"})
SPLIT_DECLINED = (SPLIT[0], {"type": "card", "card_id": "card_declined"})

PLAIN: dict[str, Any] = {}
REVIEWED: dict[str, Any] = {"billing_address": {**ADDRESS, "street": "1 Other St"}}
WAYS: dict[str, dict[str, Any]] = {
    "held": PLAIN,
    "recorded": PLAIN,
    "authorized": PLAIN,
    "captured": {"payment_method": None, "payment_methods": SPLIT},
    "confirmed": PLAIN,
    "redeemed": {"coupons": [COUPON]},
    "scored": REVIEWED,
    "undone": {"payment_method": None, "payment_methods": SPLIT_DECLINED},
    "failed": {"payment_method": {"type": "card", "card_id": "card_declined"}},
    "extended": {"payment_method": {"type": "card", "card_id": "card_3ds"}},
    "parked": {"payment_method": {"type": "card", "card_id": "card_3ds"}},
}
"""What is bought how to be held at a point, in this order: each passes the points before its own
because a file there holds but one."""
IN_REVIEW = ("settle.refunded", "settle.held", "review.accepted", "review.declined")
"""Points that an operator's decision leads to; `Buyers.hold_reviews` says how."""
IN_TIME = ("withdrawn", "refunded")
"""Points that nobody comes to before an owner was silent, or a hold has run out."""
THREE_D_SECURE = WAYS["parked"]


class PauseFolder:
    """The files that hold processes (serve_apps/pause_points.py)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, *points: str) -> None:
        """The next process that comes to each of them is held there."""
        for point in points:
            (self._folder / point).touch()

    def is_armed(self, point: str) -> bool:
        """Nobody has come yet."""
        return (self._folder / point).exists()

    def held(self) -> set[str]:
        """Points where somebody is held, or was when it died."""
        return {path.stem for path in self._folder.glob("*.at")}

    def release(self, point: str) -> None:
        """Let those go who are held there."""
        (self._folder / f"{point}.at").unlink()

    def let_go(self) -> None:
        """Hold nobody any more, and nobody who comes."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class Buyers:
    """Everybody who buys in one round, and what they are told in the end."""

    shop: Shop
    hot: Hot
    points: PauseFolder
    http: httpx.AsyncClient
    provider: PaymentProvider
    operators: Operators
    _waiting: list[asyncio.Task[tuple[dict[str, Any], dict[str, str], httpx.Response]]] = field(
        default_factory=list
    )

    async def hold_at(self, *points: str) -> None:
        """A checkout for each of them, held there."""
        self.points.arm(*points)
        for point in points:
            await self.hold(point, WAYS[point])

    async def hold(self, point: str, way: dict[str, Any]) -> None:
        """One checkout of this kind, held at a point; nobody may be held before it."""
        self.points.arm(point)
        task = await self.buy(way)

        async def is_held() -> bool:
            if task.done():
                raise AssertionError(f"{point} was passed over: {task.result()[2].text[:300]}")
            return not self.points.is_armed(point)

        await eventually_async(is_held, within_s=HELD_WITHIN_S, what=f"a checkout held at {point}")

    async def hold_reviews(self) -> None:
        """An operator's decisions, held at each of IN_REVIEW; no point may hold anybody else."""
        way = {**REVIEWED, "payment_method": None, "payment_methods": SPLIT}
        order_id = await self._decide_at("settle.held", "approve", way)
        # A part of the money cannot be taken any more: what was taken is given back.
        await self.provider.let_lapse((await _charges_of(self.shop, order_id))[1])
        self.points.arm("settle.refunded")
        self.points.release("settle.held")
        await self.passed("settle.refunded")
        await self._decide_at("settle.held", "approve", REVIEWED)
        await self._decide_at("review.accepted", "approve", REVIEWED)
        await self._decide_at("review.declined", "decline", REVIEWED)

    async def _decide_at(self, point: str, decision: str, way: dict[str, Any]) -> str:
        """An order that was put up for review, and a decision that is held at a point; its id."""
        await self.buy(way)
        order_id = await self.operators.next_in_review()
        self.points.arm(point)
        self.operators.decide(order_id, decision)
        await self.passed(point)
        return order_id

    async def passed(self, point: str, within_s: float = HELD_WITHIN_S) -> None:
        """Wait until somebody has come to an armed point."""

        async def reached() -> bool:
            return not self.points.is_armed(point)

        await eventually_async(reached, within_s=within_s, what=f"somebody at {point}")

    async def rush(self, count: int) -> None:
        """So many plain checkouts at once, which nothing holds; back when the first has ended."""
        tasks = [await self.buy(PLAIN) for _ in range(count)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def answers(self) -> list[str]:
        """Once every buyer knows: each repeat is answered the same; the orders they were told of."""
        told: list[str] = []
        for body, headers, first in await asyncio.gather(*self._waiting):
            again = await _insist(self.http, body, headers)
            assert _said(again) == _said(first), f"{first.text} and then {again.text}"
            if first.status_code == 201:
                told.append(first.json()["order_id"])
        await self.operators.stand_by_their_decisions()
        return told

    async def buy(
        self, way: dict[str, Any], hot: Hot | None = None
    ) -> asyncio.Task[tuple[dict[str, Any], dict[str, str], httpx.Response]]:
        """One more buyer, who insists on an answer."""
        body, headers = await self._basket(way, hot or self.hot)
        task = asyncio.create_task(self._buy(body, headers))
        self._waiting.append(task)
        return task

    async def _basket(self, way: dict[str, Any], hot: Hot) -> tuple[dict[str, Any], dict[str, str]]:
        wanted = {"product_id": hot.product_id, "quantity": 1}
        answer = await self.http.post("/api/v1/cart/items", json=wanted)
        assert answer.status_code == 200, answer.text
        cart = answer.json()
        headers = {"Authorization": f"Bearer {cart['token']}", "Idempotency-Key": str(uuid4())}
        body = {**checkout_body(cart["cart_id"]), **way}
        return {name: value for name, value in body.items() if value is not None}, headers

    async def _buy(
        self, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str], httpx.Response]:
        return body, headers, await _insist(self.http, body, headers)


def _said(answer: httpx.Response) -> tuple[int, Any]:
    document = answer.json()
    return answer.status_code, document.get("order_id") or document.get("type")


async def _insist(
    http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]
) -> httpx.Response:
    """The first answer that is neither silence, "come back", nor "it waits"."""
    last = "none"

    async def decided() -> httpx.Response | None:
        nonlocal last
        try:
            answer = await http.post("/api/v1/orders/checkout", json=body, headers=headers)
        except httpx.HTTPError as error:
            last = type(error).__name__
            return None
        last = f"{answer.status_code} {answer.text[:200]}"
        assert "/problems/internal" not in answer.text, answer.text
        in_flight = answer.status_code == 409 and "in_flight" in answer.text
        undecided = in_flight or answer.status_code in (202, 404, 429)
        return None if undecided or answer.status_code >= 500 else answer

    try:
        return await eventually_async(decided, within_s=DECIDED_WITHIN_S, what="a decision")
    except AssertionError as error:
        raise AssertionError(f"{error}; the last answer: {last}") from None


async def everything_settled(buyers: Buyers, since: float, within_s: float) -> float:
    """Wait until nothing is open any more: seconds since `since` (monotonic).

    Buyers who were asked by their bank agree at once, and the provider tells the shop. What else
    is in review is declined.
    """
    left: dict[str, int] = {}

    async def nothing_open() -> bool:
        try:
            async with buyers.shop.parts() as parts:
                await _agree_to_all(parts, buyers.provider)
                left.update(dict(await parts.pool.fetchrow(_LEFT)))
            if left["undecided"]:
                await buyers.operators.decline_the_rest()
        except _AWAY:
            return False
        return not any(left.values())

    try:
        await eventually_async(nothing_open, within_s=within_s, what="everything settled")
    except AssertionError as error:
        logs = f"{buyers.provider.log()}\n{buyers.shop.logs()}"
        raise AssertionError(f"{error}: {left}\n{logs}") from None
    return time.monotonic() - since


async def _agree_to_all(parts: Parts, provider: PaymentProvider) -> None:
    for row in await parts.pool.fetch(_ASKED_FOR):
        name = row["transaction_id"]
        await provider.approve(name)
        told = ProviderEvent(f"evt_{name}", "payment_intent.succeeded", name)
        await parts.orders.note_event("stripe", told)


async def all_stalled(shop: Shop, after_s: float) -> None:
    """Wait until every order that a checkout is still at counts as stalled."""
    async with shop.parts() as parts:

        async def none_young() -> bool:
            return not await parts.pool.fetchval(_YOUNG, timedelta(seconds=after_s))

        await eventually_async(none_young, within_s=after_s + 5, what="every open order stalled")


async def holds_run_out(shop: Shop, hot: Hot, within_s: float) -> None:
    """Wait until nothing of a product is held any more."""
    async with shop.parts() as parts:

        async def none_held() -> bool:
            return not await parts.pool.fetchval(_HELD_OF, hot.inventory_id)

        await eventually_async(none_held, within_s=within_s, what="the holds ran out")


async def _charges_of(shop: Shop, order_id: str) -> list[str]:
    async with shop.parts() as parts:
        rows = await parts.pool.fetch(_CHARGES_OF, ids.decode("order", order_id))
    return [row["transaction_id"] for row in rows]


async def unknown_charges(shop: Shop, provider: PaymentProvider) -> set[str]:
    """What the provider's own books have and the shop does not know of."""
    made = await provider.charges()
    async with shop.parts() as parts:
        return made - {
            row[0] for row in await parts.pool.fetch("SELECT transaction_id FROM payments")
        }


async def statuses(shop: Shop, told: list[str]) -> set[str]:
    """The states of orders."""
    async with shop.parts() as parts:
        rows = await parts.pool.fetch(
            "SELECT DISTINCT status::text FROM orders WHERE order_id = ANY ($1::uuid[])",
            [ids.decode("order", one) for one in told],
        )
    return {row["status"] for row in rows}
