"""Webhooks of payment providers over HTTP: verified, kept once, and gone by at once.

An event is a hint: the order's providers are asked what really happened (`actors.settlement`). So
events may come late, twice and in any order, and those that could not be gone by at once are
found by recovery, which asks the database for what was kept and not handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from domain.card_numbers import carries_card_number
from domain.orders import OpenOrder
from domain.payments import ForgedEvent, ProviderEvent
from domain.ports import OrderBook, Unavailable, WebhookSource
from serve_apps.http import HotApp, Problem, field_problem, json_response, problem_answers
from serve_apps.prompt_settling import PromptSettling

PATH = "/api/v1/orders/webhooks"
CHARGE_PREFIX = "charge_"
"""How our own ids of charges begin; what is not known and begins otherwise is not about us."""
NAME_LENGTH_MAX = 255
_log = structlog.get_logger(__name__)


class WebhookAnswer(BaseModel):
    """What became of an event. A provider needs no more than the 200."""

    handled: bool = Field(description="its order was settled, as far as it can be now")
    duplicate: bool = Field(description="it had come before, and nothing was done")


class EventBook(Protocol):
    """Where webhooks are kept. Raises Unavailable."""

    async def note_event(self, gateway: str, event: ProviderEvent) -> bool:
        """Keep a webhook; False if it had come before."""
        ...

    async def event_handled(self, gateway: str, event_id: str) -> None:
        """Nothing is left to be done about it."""
        ...


class WebhookService:
    """Takes webhooks. `sources` by the name of the gateway, as in the address."""

    def __init__(
        self,
        sources: Mapping[str, WebhookSource],
        *,
        events: EventBook,
        orders: OrderBook,
        settling: PromptSettling,
    ) -> None:
        self._sources = sources
        self._events = events
        self._orders = orders
        self._settling = settling

    async def receive(
        self, gateway: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, bool]:
        """Verify, keep and go by one event; `headers` by lower-case name.

        Problems: `webhook_forged`; `validation` for what is signed and no event; `not_found` for
        an unknown gateway, or a charge of ours that nobody knows; `busy`, and then nothing was
        kept, so that the provider's repeat is no duplicate.
        """
        event = self._verified(gateway, headers, body)
        try:
            order = await self._order_of(event)
            if order is None:
                return _answer(handled=False)
            task = self._settling.begin(lambda: self._take(gateway, event, order))
            if task is None:
                raise Problem("busy", "too many webhooks at once; this one was not kept")
            return await asyncio.shield(task)
        except Unavailable:
            raise Problem("busy", "the webhook could not be kept right now") from None

    def signed(self, gateway: str, headers: Mapping[str, str], body: bytes) -> bool:
        """True for an event that its provider has signed; nothing is kept or logged."""
        source = self._sources.get(gateway)
        try:
            return source is not None and bool(source.event(headers, body))
        except (ForgedEvent, ValueError):
            return False

    def _verified(self, gateway: str, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        source = self._sources.get(gateway)
        if source is None:
            raise Problem("not_found", f"no payment provider {gateway[:80]} tells us anything here")
        try:
            event = source.event(headers, body)
        except ForgedEvent as error:
            _log.warning("webhook_forged", gateway=gateway, reason=str(error))
            raise Problem("webhook_forged", f"{error}; nothing was done") from None
        except ValueError as error:
            raise field_problem("body", f"is no event of {gateway} ({str(error)[:200]})") from None
        for name in (event.event_id, event.type, event.transaction_id):
            if name is not None and ("\x00" in name or len(name) > NAME_LENGTH_MAX):
                raise field_problem("body", "the event's names are not text of sensible length")
            # They are kept and logged, the rest of the event is not.
            if name is not None and carries_card_number(name.encode(errors="replace")):
                raise field_problem("body", "the event's names carry a card number")
        return event

    async def _order_of(self, event: ProviderEvent) -> OpenOrder | None:
        """None for an event about something else; Problem if it is about a charge nobody knows."""
        charge = event.transaction_id
        if not charge:
            return None
        order = await self._orders.open_by_charge(charge)
        if order is None and charge.startswith(CHARGE_PREFIX):
            raise Problem("not_found", f"there is no charge {charge[:80]}; nothing was done")
        return order

    async def _take(self, gateway: str, event: ProviderEvent, order: OpenOrder) -> dict[str, bool]:
        if not await self._events.note_event(gateway, event):
            return _answer(handled=False, duplicate=True)
        # From here on it is kept: whatever goes wrong, recovery finds it, and the answer is yes.
        if not await self._settling.settle(order):
            return _answer(handled=False)
        try:
            await self._events.event_handled(gateway, event.event_id)
        except Unavailable as error:
            _log.warning("webhook_handled_later", event_id=event.event_id, reason=str(error))
            return _answer(handled=False)
        return _answer(handled=True)


def _answer(*, handled: bool, duplicate: bool = False) -> dict[str, bool]:
    return {"handled": handled, "duplicate": duplicate}


def add_webhook_routes(app: HotApp, service: Callable[[Request], WebhookService]) -> None:
    """The providers' route; `service` finds the WebhookService of a request.

    Of a signed event only the names are kept and logged, so that numbers in it which pass for a
    card's are let in: the network's ids of transactions have 15 digits.
    """

    def signed(request: Request, body: bytes) -> bool:
        folder, _, gateway = request.scope["path"].rpartition("/")
        if request.method != "POST" or folder != PATH:
            return False
        return service(request).signed(gateway, _headers(request), body)

    app.vouching = signed

    @app.post(
        f"{PATH}/{{gateway}}",
        summary="A payment provider tells of a charge",
        response_model=WebhookAnswer,
        responses=problem_answers("webhook_forged", "not_found", "too_large", "validation", "busy"),
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": "as the provider sends and signs it",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
        tags=["webhooks"],
    )
    async def take_webhook(request: Request, gateway: str) -> Response:
        body = await request.body()
        return json_response(await service(request).receive(gateway, _headers(request), body))

    del take_webhook


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
