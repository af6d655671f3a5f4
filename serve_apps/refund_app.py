"""Refunds over HTTP, for operators. What one comes to is `domain.refunds`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from actors.refunds import Refunds
from domain import ids
from domain.money import MoneyError, parse_wire, to_wire
from domain.ports import Unavailable
from domain.refunds import RefundDraft, RefundRefusal, RefundScope, UnitsOf
from serve_apps.checkout_app import REPLAYED
from serve_apps.checkout_parts import new_id
from serve_apps.http import (
    HotApp,
    Problem,
    RequestModel,
    ShortText,
    add_hot_route,
    field_problem,
    json_response,
    problem_answers,
    read_body,
)
from serve_apps.idempotency_header import IDEMPOTENCY_KEY_LENGTH_MAX, idempotency_key
from serve_apps.operators import Operators
from serve_apps.refund_answers import RefundAnswer, RefundsAnswer, refund_view
from storage.refunds import PostgresRefunds

LINES_MAX = 100
QUANTITY_MAX = 1_000_000
PATH = "/api/v1/orders/{order_id}/refunds"


class RefundedUnits(RequestModel):
    """Units of one line of the order, by `sku` or by `variant_id`."""

    sku: ShortText | None = None
    variant_id: ShortText | None = None
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    restock: Annotated[bool, Field(description="they came back and can be sold again")] = False

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.sku is None) == (self.variant_id is None):
            raise ValueError("name the line by its sku or by its variant_id, not both")
        return self


class OrderRefundRequest(RequestModel):
    """What to give back: an `amount`, or `lines` and `shipping`, or the `whole` order."""

    amount: Annotated[float, Field(description="in major units")] | None = None
    lines: Annotated[tuple[RefundedUnits, ...], Field(max_length=LINES_MAX)] = ()
    shipping: Annotated[bool, Field(description="also what was paid for shipping")] = False
    whole: Annotated[bool, Field(description="all that is left of the order")] = False
    restock: Annotated[
        bool, Field(description="all units of it came back and can be sold again")
    ] = False
    reason: Annotated[ShortText, Field(description="the buyer sees it")]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"lines": [{"sku": "MUG", "quantity": 1}], "reason": "broken on arrival"},
                {"amount": 5.0, "reason": "late delivery"},
                {"whole": True, "restock": True, "reason": "sent back"},
            ]
        }
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        by_line = bool(self.lines) or self.shipping
        if (self.amount is not None) + by_line + self.whole != 1:
            raise ValueError("send an amount, or lines and shipping, or whole: exactly one of them")
        if self.restock and not (self.lines or self.whole):
            raise ValueError(
                "only units of lines go back into stock; send lines or whole with restock"
            )
        return self


class RefundService:
    """Reads the request, hands over to `Refunds`, words the answer."""

    def __init__(self, refunds: Refunds, book: PostgresRefunds, operators: Operators) -> None:
        self._refunds = refunds
        self._book = book
        self.operators = operators

    async def refund(
        self, operator: str, key: str, order: str, body: OrderRefundRequest
    ) -> Response:
        """Give back. Raises Unavailable; Problems `not_found`, `refund_refused`, `validation`."""
        order_id, currency = await self._order(order)
        made = await self._refunds.refund(
            RefundDraft(
                refund_id=new_id(),
                order_id=order_id,
                scope=_scope(body, currency),
                reason=body.reason,
                requested_by=operator,
                idempotency_key=key,
                request_hash=hashlib.sha256(body.model_dump_json().encode()).digest(),
            )
        )
        if made is None:
            raise _no_order(order)
        if isinstance(made, RefundRefusal):
            raise refusal_problem(made)
        refund = await self._book.find(made.refund.refund_id) or made.refund
        headers = REPLAYED if made.repeated else None
        return json_response(refund_view(refund), status=201, headers=headers)

    async def of_order(self, order: str) -> Response:
        """All refunds of an order. Raises Unavailable; the Problem `not_found`."""
        order_id, _ = await self._order(order)
        refunds = [refund_view(one) for one in await self._book.of_order(order_id)]
        return json_response({"order_id": order, "refunds": refunds})

    async def _order(self, text: str) -> tuple[UUID, str]:
        try:
            order_id = ids.decode("order", text)
        except ValueError:
            raise _no_order(text) from None
        currency = await self._book.currency_of(order_id)
        if currency is None:
            raise _no_order(text)
        return order_id, currency


def refusal_problem(refusal: RefundRefusal) -> Problem:
    """The answer to who asked for a refund that is refused."""
    if refusal.name == "idempotency_key_reused":
        return Problem("idempotency_key_reused", refusal.detail)
    balance = to_wire(refusal.balance_minor, refusal.currency)
    about = {"reason": refusal.name, "balance": balance, "currency": refusal.currency}
    return Problem("refund_refused", refusal.detail, **about)


def _scope(body: OrderRefundRequest, currency: str) -> RefundScope:
    if body.amount is None:
        return RefundScope(
            units=_units(body), shipping=body.shipping, whole=body.whole, restock=body.restock
        )
    try:
        amount_minor = parse_wire(body.amount, currency)
    except MoneyError as error:
        raise field_problem("amount", str(error)) from None
    if not amount_minor:
        raise field_problem("amount", "must be above 0")
    return RefundScope(amount_minor=amount_minor)


def _units(body: OrderRefundRequest) -> tuple[UnitsOf, ...]:
    units: list[UnitsOf] = []
    for at, line in enumerate(body.lines):
        item: str | UUID | None = line.sku
        if line.variant_id is not None:
            try:
                item = ids.decode("var", line.variant_id)
            except ValueError as error:
                raise field_problem(f"lines.{at}.variant_id", str(error)) from None
        assert item is not None
        units.append(UnitsOf(item=item, quantity=line.quantity, restock=line.restock))
    return tuple(units)


def _no_order(text: str) -> Problem:
    return Problem("not_found", f"there is no order {text[:80]}")


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        detail = f"the books cannot be reached ({error}); repeat it with the same Idempotency-Key"
        raise Problem("busy", detail) from None


def add_refund_routes(app: HotApp, service: Callable[[Request], RefundService]) -> None:
    """The operators' routes; `service` finds the RefundService of a request."""

    async def refund_order(request: Request) -> Response:
        own = service(request)
        operator = await own.operators.operator(request)
        key = idempotency_key(request, of="refund")
        body = await read_body(request, OrderRefundRequest)
        with _reached():
            return await own.refund(operator, key, request.path_params["order_id"], body)

    add_hot_route(
        app,
        "POST",
        PATH,
        refund_order,
        summary="Refund an order, in full or in part",
        body=OrderRefundRequest,
        answers={201: RefundAnswer},
        parameters=(
            {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "maxLength": IDEMPOTENCY_KEY_LENGTH_MAX},
                "description": "names this refund; a repeat gives nothing back again",
            },
        ),
        problems=(
            "idempotency_key_missing",
            "idempotency_keys_differ",
            "unauthorized",
            "forbidden",
            "not_found",
            "too_large",
            "unsupported_media_type",
            "validation",
            "idempotency_key_reused",
            "refund_refused",
            "busy",
        ),
    )

    @app.get(
        PATH,
        summary="An order's refunds",
        response_model=RefundsAnswer,
        responses=problem_answers("unauthorized", "forbidden", "not_found", "busy"),
    )
    async def refunds_of_order(request: Request, order_id: str) -> Response:
        own = service(request)
        await own.operators.operator(request)
        with _reached():
            return await own.of_order(order_id)

    del refunds_of_order
