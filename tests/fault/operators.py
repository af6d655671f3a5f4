"""Operators who decide about orders in review over HTTP, and insist on being answered."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.shop.running import Shop, eventually_async, run_command

IN_REVIEW_WITHIN_S = 20.0
DECIDED_WITHIN_S = 60.0
_QUEUE = "/api/v1/fraud/reviews"


def operator_token(shop: Shop) -> str:
    """As whoever runs the shop gets one."""
    made = run_command("token", "operator", "kill-matrix", "--home", str(shop.home))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Operators:
    """Everybody who decides in one round."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._seen: set[str] = set()
        self._deciding: list[asyncio.Task[tuple[str, str, dict[str, Any]]]] = []

    async def next_in_review(self) -> str:
        """Wait for an order in the queue that was not there before; its id."""

        async def fresh() -> str | None:
            return next((one for one in await self._queue() if one not in self._seen), None)

        found = await eventually_async(
            fresh, within_s=IN_REVIEW_WITHIN_S, what="one more to review"
        )
        self._seen.add(found)
        return found

    def decide(self, order_id: str, decision: str) -> None:
        """Approve or decline it; the answer may take as long as it does."""
        self._deciding.append(asyncio.create_task(self._decide(order_id, decision)))

    async def decline_the_rest(self) -> None:
        """Whatever waits for a decision. Raises httpx.HTTPError while the queue is away."""
        for order_id in await self._queue():
            await self._ask(order_id, "decline")

    async def stand_by_their_decisions(self) -> None:
        """Once all have their answer: a repeat is told of the same decision, and of an end."""
        for order_id, decision, first in await asyncio.gather(*self._deciding):
            _, _, again = await self._decide(order_id, decision)
            assert again["decision"] == first["decision"], f"{first} and then {again}"
            ends = (
                {"confirmed", "failed"}
                if first["decision"]["decision"] == "approve"
                else {"failed"}
            )
            assert again["status"] in ends, again

    async def _queue(self) -> list[str]:
        answer = await self._http.get(_QUEUE, headers=self._headers)
        return [one["order_id"] for one in answer.raise_for_status().json()["reviews"]]

    async def _decide(self, order_id: str, decision: str) -> tuple[str, str, dict[str, Any]]:
        async def decided() -> dict[str, Any] | None:
            try:
                answer = await self._ask(order_id, decision)
            except httpx.HTTPError:
                return None
            assert "/problems/internal" not in answer.text, answer.text
            assert answer.status_code in (200, 404, 429) or answer.status_code >= 500, answer.text
            return answer.json() if answer.status_code == 200 else None

        what = f"a decision about {order_id}"
        return (
            order_id,
            decision,
            await eventually_async(decided, within_s=DECIDED_WITHIN_S, what=what),
        )

    async def _ask(self, order_id: str, decision: str) -> httpx.Response:
        path = f"{_QUEUE}/{order_id}/decision"
        return await self._http.post(path, json={"decision": decision}, headers=self._headers)
