"""Coming back from a payment page: the buyer's order is settled at once, and shown."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain.orders import StoredOrder
from domain.ports import OrderBook, Unavailable
from domain.transitions import OrderState
from serve_apps.http import HotApp, Problem, json_response, problem_answers
from serve_apps.identity import Identities
from serve_apps.order_answers import OrderAnswer, order_view
from serve_apps.prompt_settling import PromptSettling

LOOK_EVERY_S = 1.0
"""How often one order's providers are asked, however often its buyer asks us."""
ORDERS_REMEMBERED_MAX = 10_000
_WAITS = frozenset((OrderState.ACCEPTED, OrderState.AWAITING_PAYMENT))


class ResumeService:
    """Settles orders for their buyers. `monotonic` gives seconds."""

    def __init__(
        self,
        *,
        orders: OrderBook,
        settling: PromptSettling,
        identities: Identities,
        monotonic: Callable[[], float],
    ) -> None:
        self._orders = orders
        self._settling = settling
        self._monotonic = monotonic
        self._looked: OrderedDict[UUID, float] = OrderedDict()
        self.identities = identities

    async def resume(self, user_id: UUID, text: str) -> dict[str, Any]:
        """The order as its buyer sees it, after asking the providers if it waits for them.

        Asks once a second at most, and not at all when too many ask at once; recovery does.
        Problem `not_found`. Raises Unavailable.
        """
        order = await self._find(user_id, text)
        if order.status not in _WAITS or not self._is_due(order.order_id):
            return order_view(order)
        task = self._settling.begin(lambda: self._settle(order.order_id))
        if task is None:
            return order_view(order)
        await asyncio.shield(task)
        return order_view(await self._find(user_id, text))

    async def _find(self, user_id: UUID, text: str) -> StoredOrder:
        missing = Problem("not_found", f"there is no order {text[:80]} of yours")
        try:
            order_id = ids.decode("order", text)
        except ValueError:
            raise missing from None
        order = await self._orders.find(order_id, user_id)
        if order is None:
            raise missing
        return order

    def _is_due(self, order_id: UUID) -> bool:
        now = self._monotonic()
        last = self._looked.get(order_id)
        if last is not None and now - last < LOOK_EVERY_S:
            return False
        self._looked[order_id] = now
        self._looked.move_to_end(order_id)
        while len(self._looked) > ORDERS_REMEMBERED_MAX:
            self._looked.popitem(last=False)
        return True

    async def _settle(self, order_id: UUID) -> None:
        order = await self._orders.open_by_id(order_id)
        if order is not None:
            await self._settling.settle(order)


def add_resume_route(app: HotApp, service: Callable[[Request], ResumeService]) -> None:
    """The buyers' route; `service` finds the ResumeService of a request."""

    @app.post(
        "/api/v1/orders/{order_id}/resume",
        summary="Go on with an order after paying elsewhere",
        response_model=OrderAnswer,
        responses=problem_answers("unauthorized", "not_found", "busy"),
    )
    async def resume_order(request: Request, order_id: str) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        try:
            return json_response(await own.resume(user_id, order_id))
        except Unavailable:
            raise Problem("busy", "orders cannot be read right now; try again shortly") from None

    del resume_order
