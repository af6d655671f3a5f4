"""The cart over HTTP: add, change, remove, look. A guest is made with the first item."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import uuid_utils
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from actors.coalescer import Coalescer, Overloaded
from domain import ids
from domain.cart import LINE_QUANTITY_MAX, Refusal, choose_variant
from domain.money import to_wire
from domain.ports import Unavailable
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
from serve_apps.identity import Identities
from serve_apps.shelf import Shelf
from storage.carts import Cart, CartChange, CartLimitError, CartRepository

Quantity = Annotated[int, Field(ge=1, le=LINE_QUANTITY_MAX, description="units")]


class AddItem(RequestModel):
    """An item to put into the cart."""

    product_id: ShortText
    quantity: Quantity
    options: dict[ShortText, ShortText] | None = Field(default=None, max_length=20)
    variant_id: ShortText | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "product_id": "prod_01k0a5xq2ne0tbq4m7w3f8z1rc",
                    "quantity": 1,
                    "options": {"Color": "Silver"},
                }
            ]
        }
    )


class SetQuantity(RequestModel):
    """The units that a line shall have; 0 removes it."""

    quantity: Annotated[int, Field(ge=0, le=LINE_QUANTITY_MAX)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"quantity": 2}]})


class CartItem(BaseModel):
    """One line of a cart."""

    product_id: str
    variant_id: str
    sku: str
    name: str
    quantity: int
    price: float
    subtotal: float
    attributes: dict[str, str]


class CartView(BaseModel):
    """A cart as it is shown. `token` is there only when this call made a guest."""

    cart_id: str | None
    items: list[CartItem]
    total: float
    currency: str
    item_count: int
    token: str | None = None


class CartService:
    """The cart's rules over its repository and the shelf."""

    def __init__(self, carts: CartRepository, shelf: Shelf, identities: Identities) -> None:
        self._changing: Coalescer[CartChange, Cart | CartLimitError] = Coalescer(carts.change)
        self._loading: Coalescer[UUID, Cart] = Coalescer(carts.load)
        self._shelf = shelf
        self.identities = identities

    async def add(self, user_id: UUID, item: AddItem) -> dict[str, Any]:
        """Put units of a variant into the customer's cart."""
        variant_id = await self._which(item)
        return await self._changed(user_id, variant_id, item.quantity, "add")

    async def set(self, user_id: UUID, variant_id: UUID, quantity: int) -> dict[str, Any]:
        """Set a line's units."""
        if quantity and not await self._shelf.variants([variant_id]):
            raise Problem("not_found", "this item is not sold here (any more)")
        return await self._changed(user_id, variant_id, quantity, "set")

    async def look(self, user_id: UUID) -> dict[str, Any]:
        """The customer's cart."""
        return await self.view(await self._loading.submit(user_id))

    async def _changed(
        self, user_id: UUID, variant_id: UUID, quantity: int, mode: Literal["add", "set"]
    ) -> dict[str, Any]:
        change = CartChange(
            user_id=user_id, variant_id=variant_id, quantity=quantity, mode=mode, fresh_id=_new_id()
        )
        changed = await self._changing.submit(change)
        if isinstance(changed, CartLimitError):
            raise changed
        return await self.view(changed)

    async def view(self, cart: Cart) -> dict[str, Any]:
        """The cart with names and prices; what is not sold any more is left out."""
        listed = await self._shelf.variants([variant_id for variant_id, _ in cart.lines])
        items: list[dict[str, Any]] = []
        total = units = 0
        currency = "USD"
        for variant_id, quantity in sorted(cart.lines):
            if variant_id not in listed:
                continue
            product, variant = listed[variant_id]
            currency = product.currency
            subtotal = variant.price_minor * quantity
            total += subtotal
            units += quantity
            items.append(
                {
                    "product_id": ids.encode("prod", product.product_id),
                    "variant_id": ids.encode("var", variant_id),
                    "sku": variant.sku,
                    "name": product.name,
                    "quantity": quantity,
                    "price": to_wire(variant.price_minor, currency),
                    "subtotal": to_wire(subtotal, currency),
                    "attributes": variant.attributes,
                }
            )
        return {
            "cart_id": ids.encode("cart", cart.cart_id) if cart.cart_id else None,
            "items": items,
            "total": to_wire(total, currency),
            "currency": currency,
            "item_count": units,
        }

    async def _which(self, item: AddItem) -> UUID:
        product_id = _decoded("prod", "product_id", item.product_id)
        variant_id = _decoded("var", "variant_id", item.variant_id) if item.variant_id else None
        product = await self._shelf.product(product_id)
        if product is None:
            raise Problem("not_found", f"there is no product {item.product_id} in this shop")
        chosen = choose_variant(product, item.options, variant_id)
        if isinstance(chosen, Refusal):
            raise field_problem("options", chosen.detail)
        return chosen.variant_id


def _new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)


def _decoded(prefix: str, field: str, text: str) -> UUID:
    try:
        return ids.decode(prefix, text)
    except ValueError:
        if field == "product_id":
            raise Problem("not_found", f"there is no product {text[:80]} in this shop") from None
        raise field_problem(field, f"is not an id of the form {prefix}_…") from None


def add_cart_routes(app: HotApp) -> None:
    """The cart's routes, over the CartService at `app.state.carts`."""

    def service(request: Request) -> CartService:
        return request.app.state.carts

    async def add_item(request: Request) -> Response:
        carts = service(request)
        user_id = carts.identities.customer(request)
        item = await read_body(request, AddItem)
        if user_id is not None:
            return json_response(await _kept(carts.add(user_id, item)))
        guest = _new_id()
        view = await _kept(carts.add(guest, item))
        return json_response({**view, "token": carts.identities.issue(guest)})

    async def change_item(request: Request) -> Response:
        carts = service(request)
        user_id = carts.identities.required(request)
        variant_id = _decoded("var", "variant_id", request.path_params["variant_id"])
        wanted = await read_body(request, SetQuantity)
        return json_response(await _kept(carts.set(user_id, variant_id, wanted.quantity)))

    problems = ("unauthorized", "not_found", "too_large", "unsupported_media_type", "validation")
    add_hot_route(
        app,
        "POST",
        "/api/v1/cart/items",
        add_item,
        summary="Add to cart",
        body=AddItem,
        answers={200: CartView},
        problems=(*problems, "busy"),
    )
    add_hot_route(
        app,
        "PATCH",
        "/api/v1/cart/items/{variant_id}",
        change_item,
        summary="Change a line's quantity",
        body=SetQuantity,
        answers={200: CartView},
        parameters=(
            {"name": "variant_id", "in": "path", "required": True, "schema": {"type": "string"}},
        ),
        problems=(*problems, "busy"),
    )

    @app.get(
        "/api/v1/cart",
        summary="Look at the cart",
        response_model=CartView,
        responses=problem_answers("unauthorized", "busy"),
    )
    async def look(request: Request) -> Response:
        carts = service(request)
        user_id = carts.identities.required(request)
        return json_response(await _kept(carts.look(user_id)))

    @app.delete(
        "/api/v1/cart/items/{variant_id}",
        summary="Remove a line",
        response_model=CartView,
        responses=problem_answers("unauthorized", "validation", "busy"),
    )
    async def remove(request: Request, variant_id: str) -> Response:
        carts = service(request)
        user_id = carts.identities.required(request)
        line = _decoded("var", "variant_id", variant_id)
        return json_response(await _kept(carts.set(user_id, line, 0)))

    del look, remove


async def _kept(change: Any) -> dict[str, Any]:
    """The view after a change; limits and an unreachable Redis as their problems."""
    try:
        return await change
    except CartLimitError as error:
        raise field_problem("quantity", str(error)) from None
    except (Unavailable, Overloaded):
        raise Problem("busy", "carts cannot be reached right now; try again shortly") from None
