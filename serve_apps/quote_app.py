"""Quotes over HTTP: what a cart would cost, with every line explained. Nothing is held by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from actors.coalescer import Coalescer, Overloaded
from domain import ids
from domain.catalog import ListedProduct, ListedVariant
from domain.money import to_wire
from domain.places import LAT_MAX, LON_MAX
from domain.ports import Unavailable
from domain.price_explanations import Entry, explain_line, explain_shipping, explain_totals
from domain.pricing import Quote
from domain.promotions import COUPONS_MAX, Line
from serve_apps.http import (
    HotApp,
    Problem,
    RequestModel,
    ShortText,
    add_hot_route,
    field_problem,
    json_response,
    read_body,
)
from serve_apps.identity import Identities
from serve_apps.price_desk import PriceDesk, Wanted
from serve_apps.shelf import Listed, Shelf
from serve_apps.text_shapes import Country, Currency
from storage.carts import Cart, CartRepository
from storage.promotions import PostgresPromotions

Coupons = Annotated[
    tuple[ShortText, ...],
    Field(max_length=COUPONS_MAX, strict=False, description="codes, in any order"),
]


class QuoteAddress(RequestModel):
    """Where it would go: the country, and the state in the US and Canada. The rest may be left out."""

    country: Country
    state: ShortText | None = None
    zip: ShortText | None = None
    name: ShortText | None = None
    street: ShortText | None = None
    city: ShortText | None = None
    lat: Annotated[float, Field(ge=-LAT_MAX, le=LAT_MAX)] | None = None
    lon: Annotated[float, Field(ge=-LON_MAX, le=LON_MAX)] | None = None


class QuoteRequest(RequestModel):
    """A cart to be priced."""

    cart_id: ShortText
    shipping_address: QuoteAddress
    shipping_method: Literal["standard", "express"] = "standard"
    coupons: Coupons = ()
    currency: Currency | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cart_id": "cart_01k0a5xq2ne0tbq4m7w3f8z1rc",
                    "shipping_address": {"country": "US", "state": "CA"},
                    "shipping_method": "standard",
                    "coupons": ["SAVE10"],
                    "currency": "USD",
                }
            ]
        }
    )


class Step(BaseModel):
    """One step of a price: what it is, and what it adds or, below 0, takes off."""

    kind: str
    code: str
    label: str
    amount: float


class QuotedItem(BaseModel):
    """One line: `net` is `subtotal` less `discount`; `tax` comes on top."""

    product_id: str
    variant_id: str
    sku: str
    name: str
    quantity: int
    price: float
    subtotal: float
    discount: float
    net: float
    tax: float
    explanation: list[Step]


class UnusedCoupon(BaseModel):
    """A valid coupon that takes nothing more off, and is not used up."""

    coupon: str
    reason: str
    detail: str


class ConversionAnswer(BaseModel):
    """The exchange rate that list prices were converted at: units of `charged` for one `listed`."""

    listed: str
    charged: str
    rate: str
    as_of: str


class QuoteAnswer(BaseModel):
    """What a cart would cost now. `total` is the goods before discounts, as in an order."""

    cart_id: str
    items: list[QuotedItem]
    total: float
    discount: float
    tax: float
    shipping: float = Field(description="before discounts")
    grand_total: float = Field(description="total - discount + tax + shipping")
    currency: str
    explanation: list[Step]
    shipping_explanation: list[Step]
    unused_coupons: list[UnusedCoupon]
    conversion: ConversionAnswer | None


class QuoteService:
    """Finds the cart's goods, has them priced, and words the answer."""

    def __init__(
        self,
        *,
        carts: CartRepository,
        shelf: Shelf,
        desk: PriceDesk,
        promotions: PostgresPromotions,
        identities: Identities,
        batch_spacing_s: float = 0.0,
    ) -> None:
        self._shelf = shelf
        self._desk = desk
        self._promotions = promotions
        self.identities = identities
        self._loading: Coalescer[UUID, Cart] = Coalescer(carts.load, spacing_s=batch_spacing_s)

    async def quote(self, user_id: UUID, body: QuoteRequest) -> dict[str, Any]:
        """What the customer's cart would cost. Raises Problem."""
        try:
            return await self._quote(user_id, body)
        except (Unavailable, Overloaded):
            raise Problem("busy", "a part of the shop did not answer in time") from None

    async def _quote(self, user_id: UUID, body: QuoteRequest) -> dict[str, Any]:
        cart = await self._loading.submit(user_id)
        own_cart(cart, body.cart_id)
        listed = await self._listed(cart)
        limited = self._desk.limited_per_customer(body.coupons)
        exhausted = await self._promotions.exhausted(user_id, limited) if limited else frozenset()
        lines = [line_of(*one, quantity) for one, quantity in listed]
        address = body.shipping_address
        priced = await self._desk.price(
            Wanted(
                lines=lines,
                listed_currency=listed[0][0][0].currency,
                currency=body.currency,
                country=address.country,
                state=address.state,
                postal_code=address.zip,
                shipping_method=body.shipping_method,
                coupons=body.coupons,
                exhausted=exhausted,
            )
        )
        return quote_view(priced, body.cart_id, [one for one, _ in listed])

    async def _listed(self, cart: Cart) -> list[tuple[Listed, int]]:
        listed = await self._shelf.variants([variant_id for variant_id, _ in cart.lines])
        for variant_id, _ in cart.lines:
            if variant_id not in listed:
                name = ids.encode("var", variant_id)
                raise field_problem("cart_id", f"{name} is not sold any more; remove it first")
        if len({product.currency for product, _ in listed.values()}) > 1:
            raise field_problem("cart_id", "the items have different currencies; order them apart")
        return [(listed[variant_id], quantity) for variant_id, quantity in cart.lines]


def line_of(product: ListedProduct, variant: ListedVariant, quantity: int) -> Line:
    """A listed variant as a line to be priced."""
    return Line(
        variant_id=variant.variant_id,
        unit_price_minor=variant.price_minor,
        quantity=quantity,
        product_id=product.product_id,
        category=product.category,
    )


def own_cart(cart: Cart, text: str) -> UUID:
    """The id of a customer's cart that has something in it, named by `text`. Raises Problem."""
    try:
        cart_id = ids.decode("cart", text)
    except ValueError:
        cart_id = None
    if cart.cart_id is None or cart.cart_id != cart_id:
        raise Problem("not_found", f"there is no cart {text[:80]} of yours; add an item first")
    if not cart.lines:
        raise Problem("cart_empty", "there is nothing in the cart; add an item first")
    return cart.cart_id


def quote_view(quote: Quote, cart_id: str, listed: Sequence[Listed]) -> dict[str, Any]:
    """A quote as it is answered; `listed` in the order of its lines."""
    currency = quote.currency

    def steps(entries: list[Entry]) -> list[dict[str, Any]]:
        return [
            {
                "kind": one.kind,
                "code": one.code,
                "label": one.label,
                "amount": to_wire(one.amount_minor, currency),
            }
            for one in entries
        ]

    items: list[dict[str, Any]] = []
    for position, (line, (product, variant)) in enumerate(zip(quote.lines, listed, strict=True)):
        items.append(
            {
                "product_id": ids.encode("prod", product.product_id),
                "variant_id": ids.encode("var", variant.variant_id),
                "sku": variant.sku,
                "name": product.name,
                "quantity": line.quantity,
                "price": to_wire(line.unit_price_minor, currency),
                "subtotal": to_wire(line.gross_minor, currency),
                "discount": to_wire(line.discount_minor, currency),
                "net": to_wire(line.net_minor, currency),
                "tax": to_wire(line.tax_minor, currency),
                "explanation": steps(explain_line(quote, position)),
            }
        )
    return {
        "cart_id": cart_id,
        "items": items,
        "total": to_wire(quote.subtotal_minor, currency),
        "discount": to_wire(quote.discount_minor, currency),
        "tax": to_wire(quote.tax_minor, currency),
        "shipping": to_wire(quote.shipping_minor, currency),
        "grand_total": to_wire(quote.total_minor, currency),
        "currency": currency,
        "explanation": steps(explain_totals(quote)),
        "shipping_explanation": steps(explain_shipping(quote)),
        "unused_coupons": [
            {"coupon": one.code, "reason": one.name, "detail": one.detail} for one in quote.unused
        ],
        "conversion": _conversion_view(quote),
    }


def _conversion_view(quote: Quote) -> dict[str, Any] | None:
    if (one := quote.conversion) is None:
        return None
    rate = f"{one.rate.normalize():f}"
    return {"listed": one.listed, "charged": one.charged, "rate": rate, "as_of": str(one.as_of)}


def add_quote_routes(app: HotApp, service: Callable[[Request], QuoteService]) -> None:
    """The quote's route, over the QuoteService that `service` finds."""

    async def quote(request: Request) -> Response:
        own = service(request)
        user_id = own.identities.required(request)
        body = await read_body(request, QuoteRequest)
        return json_response(await own.quote(user_id, body))

    add_hot_route(
        app,
        "POST",
        "/api/v1/orders/quote",
        quote,
        summary="What a cart would cost",
        body=QuoteRequest,
        answers={200: QuoteAnswer},
        problems=(
            "unauthorized",
            "not_found",
            "cart_empty",
            "coupon_used_up",
            "too_large",
            "unsupported_media_type",
            "validation",
            "coupon_refused",
            "busy",
        ),
    )
