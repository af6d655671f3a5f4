"""Saved means of payment over HTTP: a customer's own, as the provider names them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from actors.coalescer import Coalescer
from domain import ids
from domain.payments import SavedMethod
from domain.ports import MethodVault, Unavailable
from serve_apps.http import (
    HotApp,
    NoCardNumber,
    Problem,
    RequestModel,
    add_hot_route,
    json_response,
    problem_answers,
    read_body,
)
from serve_apps.identity import Identities
from serve_apps.payment_choice import KeptMethod
from storage.payment_methods import METHODS_OF_CUSTOMER_MAX, StoredMethod

PREFIX = "method"
PATH = "/api/v1/orders/payment-methods"


class NewMethod(RequestModel):
    """A means of payment to keep: the provider's token for it, made in the buyer's browser."""

    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$"), NoCardNumber]
    default: bool = False

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "pm_card_visa", "default": True}]}
    )


class MethodAnswer(BaseModel):
    """A saved means of payment, as far as it is shown."""

    method_id: str
    type: str
    brand: str
    last_four: str
    expiry_month: int | None
    expiry_year: int | None
    default: bool = Field(description="used unless another one is named")
    created_at: datetime


class MethodsAnswer(BaseModel):
    """All that a customer has saved, the default first."""

    methods: list[MethodAnswer]


class MethodBook(Protocol):
    """Where saved means of payment are (`storage.payment_methods`). Raises Unavailable."""

    async def of_customer(self, user_id: UUID) -> list[StoredMethod]:
        """A customer's own."""
        ...

    async def has_room(self, user_id: UUID, gateway: str, token: str) -> bool:
        """True if this one could be added now."""
        ...

    async def add(
        self, user_id: UUID, gateway: str, method: SavedMethod, *, default: bool = False
    ) -> StoredMethod | None:
        """Keep one; None if there are as many as may be."""
        ...

    async def make_default(self, user_id: UUID, method_id: UUID) -> StoredMethod | None:
        """None if it is not the customer's."""
        ...

    async def remove(self, user_id: UUID, method_id: UUID) -> bool:
        """False if it is not the customer's."""
        ...


class MethodService:
    """A customer's saved means of payment, at the provider `gateway` with its `vault`."""

    def __init__(
        self, *, book: MethodBook, vault: MethodVault, gateway: str, identities: Identities
    ) -> None:
        self._book = book
        self._vault = vault
        self._gateway = gateway
        self.identities = identities

    async def all(self, user_id: UUID) -> dict[str, Any]:
        """What the customer has saved."""
        return _all(await self._book.of_customer(user_id))

    async def save(self, user_id: UUID, new: NewMethod) -> dict[str, Any]:
        """Keep one at the provider, and here what is shown of it.

        Problems `limit_exceeded`; `payment_declined` for a token that the provider does not know.
        """
        if not await self._book.has_room(user_id, self._gateway, new.token):
            raise _too_many()
        method = await self._vault.save_method(str(user_id), new.token)
        if method is None:
            raise Problem(
                "payment_declined",
                "the payment provider does not know this token, or does not let it be kept; "
                "have it make a new one",
                decline_code="unknown_payment_method",
            )
        kept = await self._book.add(user_id, self._gateway, method, default=new.default)
        if kept is None:
            raise _too_many()
        return _shown(kept)

    async def make_default(self, user_id: UUID, text: str) -> dict[str, Any]:
        """Problem `not_found`."""
        kept = await self._book.make_default(user_id, _method_id(text))
        if kept is None:
            raise _no_method(text)
        return _shown(kept)

    async def remove(self, user_id: UUID, text: str) -> dict[str, Any]:
        """What is left. Problem `not_found`."""
        if not await self._book.remove(user_id, _method_id(text)):
            raise _no_method(text)
        return await self.all(user_id)


class MethodFinder:
    """What a checkout's `method_id`s name; the questions of many checkouts travel together."""

    def __init__(
        self,
        load_many: Callable[[list[tuple[UUID, UUID]]], Awaitable[list[StoredMethod | None]]],
        *,
        batch_spacing_s: float = 0.0,
    ) -> None:
        self._loading: Coalescer[tuple[UUID, UUID], StoredMethod | None] = Coalescer(
            load_many, spacing_s=batch_spacing_s
        )

    async def find(self, user_id: UUID, names: list[str]) -> dict[str, KeptMethod]:
        """By name; what is not this customer's is left out. Raises Unavailable, Overloaded."""
        asked = {name: _uuid(name) for name in names}
        loading = {
            name: self._loading.submit((user_id, method_id))
            for name, method_id in asked.items()
            if method_id is not None
        }
        found = {name: await stored for name, stored in loading.items()}
        return {
            name: KeptMethod(
                gateway=one.gateway, token=one.method.token, customer=one.method.customer
            )
            for name, one in found.items()
            if one is not None
        }


def _all(kept: Sequence[StoredMethod]) -> dict[str, Any]:
    return {"methods": [_shown(one) for one in kept]}


def _shown(kept: StoredMethod) -> dict[str, Any]:
    method = kept.method
    return {
        "method_id": ids.encode(PREFIX, kept.method_id),
        "type": method.kind,
        "brand": method.brand,
        "last_four": method.last_four,
        "expiry_month": method.expiry_month,
        "expiry_year": method.expiry_year,
        "default": kept.is_default,
        "created_at": kept.created_at,
    }


def _uuid(text: str) -> UUID | None:
    try:
        return ids.decode(PREFIX, text)
    except ValueError:
        return None


def _method_id(text: str) -> UUID:
    method_id = _uuid(text)
    if method_id is None:
        raise _no_method(text)
    return method_id


def _no_method(text: str) -> Problem:
    return Problem("not_found", f"there is no payment method {text[:80]} of yours")


def _too_many() -> Problem:
    return Problem(
        "limit_exceeded",
        f"one customer may save {METHODS_OF_CUSTOMER_MAX} payment methods; remove one first",
    )


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except Unavailable:
        raise Problem("busy", "payment methods cannot be reached now; try again shortly") from None


def add_method_routes(app: HotApp, service: Callable[[Request], MethodService]) -> None:
    """The customers' routes; `service` finds the MethodService of a request."""

    async def list_payment_methods(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        with _reached():
            return json_response(await own.all(user_id))

    async def save_payment_method(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        body = await read_body(request, NewMethod)
        with _reached():
            return json_response(await own.save(user_id, body), status=201)

    app.get(
        PATH,
        summary="My saved payment methods",
        response_model=MethodsAnswer,
        responses=problem_answers("unauthorized", "busy"),
        tags=["payment methods"],
    )(list_payment_methods)
    # Found before `/api/v1/orders/{order_id}`, in whatever order the routes are added.
    app.hot["GET", PATH] = list_payment_methods
    add_hot_route(
        app,
        "POST",
        PATH,
        save_payment_method,
        summary="Save a payment method",
        body=NewMethod,
        answers={201: MethodAnswer},
        problems=(
            "unauthorized",
            "payment_declined",
            "too_large",
            "unsupported_media_type",
            "validation",
            "limit_exceeded",
            "busy",
        ),
    )
    _add_routes_of_one(app, service)


def _add_routes_of_one(app: HotApp, service: Callable[[Request], MethodService]) -> None:
    refusals = problem_answers("unauthorized", "not_found", "busy")

    @app.put(
        f"{PATH}/{{method_id}}/default",
        summary="Use this payment method unless another is named",
        response_model=MethodAnswer,
        responses=refusals,
        tags=["payment methods"],
    )
    async def make_payment_method_default(request: Request, method_id: str) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        with _reached():
            return json_response(await own.make_default(user_id, method_id))

    @app.delete(
        f"{PATH}/{{method_id}}",
        summary="Remove a payment method",
        response_model=MethodsAnswer,
        responses=refusals,
        tags=["payment methods"],
    )
    async def remove_payment_method(request: Request, method_id: str) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        with _reached():
            return json_response(await own.remove(user_id, method_id))

    del make_payment_method_default, remove_payment_method
