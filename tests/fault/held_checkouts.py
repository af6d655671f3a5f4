"""Checkouts that are held between two steps, each at a pause point of its own, and their buyers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from domain import ids
from domain.payments import ProviderEvent
from domain.ports import Unavailable
from serve_apps.composition import Parts
from tests.shop.running import ADDRESS, Hot, Shop, checkout_body, eventually_async

HELD_WITHIN_S = 20.0
DECIDED_WITHIN_S = 60.0
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
_LEFT = """
    SELECT (SELECT count(*) FROM orders
            WHERE status IN ('pending', 'in_review', 'accepted', 'awaiting_payment')) AS orders,
           (SELECT count(*) FROM inventory_reservations WHERE status = 'active') AS held,
           (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS untold
"""
_OPEN_CHARGES = """
    SELECT transaction_id FROM simulated_provider.charges WHERE status = 'requires_action'
"""
COUPON = "MATRIX"
SPLIT = ({"type": "card", "card_id": "card_1", "amount": 1}, {"type": "card", "card_id": "card_2"})
SPLIT_DECLINED = (SPLIT[0], {"type": "card", "card_id": "card_declined"})

PLAIN: dict[str, Any] = {}
WAYS: dict[str, dict[str, Any]] = {
    "held": PLAIN,
    "recorded": PLAIN,
    "authorized": PLAIN,
    "captured": {"payment_method": None, "payment_methods": SPLIT},
    "confirmed": PLAIN,
    "redeemed": {"coupons": [COUPON]},
    "scored": {"billing_address": {**ADDRESS, "country": "FR"}},
    "undone": {"payment_method": None, "payment_methods": SPLIT_DECLINED},
    "failed": {"payment_method": {"type": "card", "card_id": "card_declined"}},
    "extended": {"payment_method": {"type": "card", "card_id": "card_3ds"}},
    "parked": {"payment_method": {"type": "card", "card_id": "card_3ds"}},
}
"""What is bought how to be held at a point, in this order: each passes the points before its own
because a file there holds but one."""
NOT_OVER_HTTP = {
    "withdrawn": "an owner would have to be asked for too much",
    "refunded": "a hold would have to run out between two steps",
    "settle.held": "an operator would have to let an order pass",
    "settle.refunded": "a hold on money or stock would have to run out between two steps",
    "review.accepted": "an operator's decision: tests/actors/test_reviews.py dies there",
    "review.declined": "an operator's decision: tests/actors/test_reviews.py dies there",
}
"""Points that only tests/actors/test_pause_points.py dies at, and why."""
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

    def let_go(self) -> None:
        """Hold nobody any more, and nobody who comes."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


@dataclass(slots=True)
class Buyers:
    """Everybody who buys in one round, and what they are told in the end."""

    shop: Shop
    hot: Hot
    points: PauseFolder
    http: httpx.AsyncClient
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
        body, headers = await self._basket(way)
        task = asyncio.create_task(self._buy(body, headers))
        self._waiting.append(task)

        async def is_held() -> bool:
            if task.done():
                raise AssertionError(f"{point} was passed over: {task.result()[2].text[:300]}")
            return not self.points.is_armed(point)

        await eventually_async(is_held, within_s=HELD_WITHIN_S, what=f"a checkout held at {point}")

    async def answers(self) -> list[str]:
        """Once every buyer knows: each repeat is answered the same; the orders they were told of."""
        told: list[str] = []
        for body, headers, first in await asyncio.gather(*self._waiting):
            again = await _insist(self.http, body, headers)
            assert _said(again) == _said(first), f"{first.text} and then {again.text}"
            if first.status_code == 201:
                told.append(first.json()["order_id"])
        return told

    async def _basket(self, way: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        wanted = {"product_id": self.hot.product_id, "quantity": 1}
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


async def everything_settled(shop: Shop, since: float, within_s: float) -> float:
    """Wait until nothing is open any more: seconds since `since` (monotonic).

    Buyers who were asked by their bank agree at once, and the provider tells the shop.
    """
    left: dict[str, int] = {}

    async def nothing_open() -> bool:
        try:
            async with shop.parts() as parts:
                await _agree_to_all(parts)
                left.update(dict(await parts.pool.fetchrow(_LEFT)))
        except (*_AWAY, Unavailable):
            return False
        return not any(left.values())

    try:
        await eventually_async(nothing_open, within_s=within_s, what="everything settled")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}\n{shop.logs()}") from None
    return time.monotonic() - since


async def _agree_to_all(parts: Parts) -> None:
    for row in await parts.pool.fetch(_OPEN_CHARGES):
        name = row["transaction_id"]
        await parts.providers.simulated.approve(name)
        told = ProviderEvent(f"evt_{name}", "payment_intent.succeeded", name)
        await parts.orders.note_event("simulated", told)


async def statuses(shop: Shop, told: list[str]) -> set[str]:
    """The states of orders."""
    async with shop.parts() as parts:
        rows = await parts.pool.fetch(
            "SELECT DISTINCT status::text FROM orders WHERE order_id = ANY ($1::uuid[])",
            [ids.decode("order", one) for one in told],
        )
    return {row["status"] for row in rows}
