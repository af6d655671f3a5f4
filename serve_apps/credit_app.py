"""A customer's own credit over HTTP: store credit, terms and open invoices, a card's balance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain.gift_cards import code_hash, last_day
from domain.money import to_wire
from domain.ports import Unavailable
from serve_apps.http import (
    HotApp,
    Problem,
    RequestModel,
    ShortText,
    add_hot_route,
    json_response,
    problem_answers,
    read_body,
)
from serve_apps.identity import Identities
from storage.credit_accounts import CreditAccounts

ATTEMPTS_MAX = 10
ATTEMPTS_WINDOW = timedelta(hours=1)
"""Codes that one customer may ask about. They have over 80 bits: this bounds the noise."""


class GiftCardCode(RequestModel):
    """A gift card's code, as printed or without its hyphens."""

    code: ShortText

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "BCDF-GHJK-LMNP-QRST-VWXZ-BCDF"}]}
    )


class GiftCardBalance(BaseModel):
    """What can be spent from a card."""

    balance: float
    currency: str
    last_four: str
    expires_at: datetime | None = Field(description="from then on it is not good any more")
    good_until: date | None = Field(description="the last day it is good, UTC")
    expired: bool


class CreditService:
    """A customer's view of the ledger. `code_key` is what codes are hashed with."""

    def __init__(
        self,
        accounts: CreditAccounts,
        identities: Identities,
        code_key: bytes,
        now: Callable[[], Any],
    ) -> None:
        self._accounts = accounts
        self._code_key = code_key
        self._now = now
        self.identities = identities

    async def of_customer(self, user_id: UUID) -> dict[str, Any]:
        """Store credit, terms and open invoices, amounts in major units. Raises Unavailable."""
        shown = await self._accounts.of_customer(str(user_id))
        return {
            "store_credit": [_store_credit(row) for row in shown.store_credit],
            "terms": [_terms(row) for row in shown.terms],
            "invoices": [_invoice(row) for row in shown.invoices],
        }

    async def card_balance(self, user_id: UUID, code: str) -> dict[str, Any]:
        """What is on a card. Raises Unavailable; Problems `too_many_attempts` and `not_found`."""
        attempts, remaining = await self._accounts.count_attempt(str(user_id), ATTEMPTS_WINDOW)
        if attempts > ATTEMPTS_MAX:
            wait_s = max(1, ceil(remaining.total_seconds()))
            raise Problem(
                "too_many_attempts",
                f"you have asked about {ATTEMPTS_MAX} codes; come back in {wait_s} s",
                headers={"Retry-After": str(wait_s)},
                retry_after=wait_s,
            )
        token = code_hash(self._code_key, code)
        card = None if token is None else await self._accounts.gift_card(code_hash=token)
        # Unknown and blocked are told alike: an answer is no oracle of which codes exist.
        if card is None or card.blocked_at is not None:
            raise Problem("not_found", "no gift card has this code; check it for typing errors")
        expires_at = card.expires_at
        return {
            "balance": to_wire(card.balance_minor - card.held_minor, card.currency),
            "currency": card.currency,
            "last_four": card.last_four,
            "expires_at": expires_at,
            "good_until": expires_at and last_day(expires_at),
            "expired": expires_at is not None and expires_at <= self._now(),
        }


def _store_credit(row: Mapping[str, Any]) -> dict[str, Any]:
    currency, held = row["currency"], row["held_minor"]
    return {
        "currency": currency,
        "available": to_wire(row["balance_minor"] - held, currency),
        "held": to_wire(held, currency),
    }


def _terms(row: Mapping[str, Any]) -> dict[str, Any]:
    currency, limit = row["currency"], row["limit_minor"]
    owed, held = row["balance_minor"], row["held_minor"]
    return {
        "currency": currency,
        "approved": row["approved"],
        "limit": to_wire(limit, currency),
        "owed": to_wire(owed, currency),
        "held": to_wire(held, currency),
        "available": to_wire(limit - owed - held if row["approved"] else 0, currency),
        "net_days": row["net_days"],
    }


def _invoice(row: Mapping[str, Any]) -> dict[str, Any]:
    currency = row["currency"]
    return {
        "number": invoice_name(row["number"]),
        "order_id": order_name(row["order_id"]),
        "currency": currency,
        "amount": to_wire(row["amount_minor"], currency),
        "open": to_wire(row["open_minor"], currency),
        "issued_at": row["issued_at"],
        "due_on": row["due_on"],
    }


def invoice_name(number: int) -> str:
    """How an invoice is called outside: `INV-000042`."""
    return f"INV-{number:06}"


def order_name(order_id: UUID | None) -> str | None:
    """How its order is called outside; None if it has none."""
    return None if order_id is None else ids.encode("order", order_id)


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Problem("busy", f"the ledger cannot be read right now ({error})") from None


def add_credit_routes(app: HotApp, service: Callable[[Request], CreditService]) -> None:
    """The customers' routes; `service` finds the CreditService of a request."""

    @app.get(
        "/api/v1/credit",
        summary="My store credit, my terms and my open invoices",
        response_model=dict[str, Any],
        responses=problem_answers("unauthorized", "busy"),
        tags=["credit"],
    )
    async def my_credit(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        with _reached():
            return json_response(await own.of_customer(user_id))

    async def gift_card_balance(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        body = await read_body(request, GiftCardCode)
        with _reached():
            return json_response(await own.card_balance(user_id, body.code))

    add_hot_route(
        app,
        "POST",
        "/api/v1/gift-cards/balance",
        gift_card_balance,
        summary="What is on a gift card",
        body=GiftCardCode,
        answers={200: GiftCardBalance},
        problems=(
            "unauthorized",
            "not_found",
            "too_large",
            "unsupported_media_type",
            "validation",
            "too_many_attempts",
            "busy",
        ),
    )

    del my_credit
