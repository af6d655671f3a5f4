"""From a cart and a request to an order that can be checked out: priced, addressed, paid by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from actors.coalescer import Coalescer
from actors.holding import Demand
from domain import ids, shipping
from domain.catalog import ListedProduct, ListedVariant
from domain.orders import OrderDraft, OrderLine
from domain.places import Site
from domain.price_explanations import record_of
from domain.pricing import Quote
from domain.warehouse_choice import Source, haul
from serve_apps.checkout_request import CheckoutRequest
from serve_apps.http import Problem, field_problem
from serve_apps.payment_choice import KeptMethod, PaymentChoice, kind_of
from serve_apps.price_desk import PriceDesk, Wanted, check_expected_total
from serve_apps.quote_app import line_of, own_cart
from serve_apps.shelf import Listed, Shelf
from storage.carts import Cart, CartRepository

FindMethods = Callable[[UUID, list[str]], Any]
"""A customer's saved means of payment by their ids: an awaitable of those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for what under which key."""

    user_id: UUID
    key: str
    request_hash: bytes
    body: CheckoutRequest


class Drafting:
    """Reads carts in batches; everything else is in the process."""

    def __init__(
        self,
        *,
        carts: CartRepository,
        shelf: Shelf,
        desk: PriceDesk,
        choice: PaymentChoice,
        find_methods: FindMethods,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        batch_spacing_s: float = 0.0,
    ) -> None:
        self._shelf = shelf
        self._desk = desk
        self._choice = choice
        self._find_methods = find_methods
        self._new_id = new_id
        self._now = now
        self._loading: Coalescer[UUID, Cart] = Coalescer(carts.load, spacing_s=batch_spacing_s)

    async def draft(self, asked: Asked) -> tuple[OrderDraft, list[Demand]]:
        """The order and what it asks of the stock. Raises Problem, Unavailable, Overloaded."""
        body = asked.body
        cart = await self._loading.submit(asked.user_id)
        cart_id = own_cart(cart, body.cart_id)
        listed = await self._listed(cart)
        kept_ids = [one.method_id for one in body.methods if one.method_id]
        if kept_ids:
            quote, kept = await asyncio.gather(
                self._quote(body, listed), self._kept(asked.user_id, kept_ids)
            )
        else:  # most orders: two tasks fewer
            quote, kept = await self._quote(body, listed), {}
        check_expected_total(quote, body.expected_total)
        destination = body.shipping_address.site
        demands = [self._demand(*one, quantity, destination) for one, quantity in listed]
        order_id = self._new_id()
        parts = self._choice.parts(
            body.methods,
            order_id=order_id,
            user_id=asked.user_id,
            total_minor=quote.total_minor,
            currency=quote.currency,
            new_id=self._new_id,
            kept=kept,
        )
        draft = OrderDraft(
            order_id=order_id,
            user_id=asked.user_id,
            cart_id=cart_id,
            idempotency_key=asked.key,
            request_hash=asked.request_hash,
            lines=_lines(quote, listed),
            subtotal_minor=quote.subtotal_minor,
            tax_minor=quote.tax_minor,
            shipping_minor=quote.shipping_minor,
            discount_minor=quote.discount_minor,
            total_minor=quote.total_minor,
            currency=quote.currency,
            payment_method=kind_of(parts),
            parts=parts,
            shipping_method=body.shipping_method,
            # Coordinates are no part of the address: they chose the warehouses.
            shipping_address=body.shipping_address.model_dump(
                exclude_none=True, exclude={"lat", "lon"}
            ),
            billing_address=(
                body.billing_address.model_dump(exclude_none=True) if body.billing_address else None
            ),
            contact=body.contact.model_dump(exclude_none=True) if body.contact else None,
            estimated_delivery=shipping.estimated_delivery(
                self._now().date(), body.shipping_method
            ),
            promotions=tuple(
                (one.promotion.promotion_id, one.promotion.code or one.promotion.label)
                for one in quote.applied
            ),
            pricing=record_of(quote) if quote.applied or quote.conversion else None,
        )
        return draft, demands

    async def _quote(self, body: CheckoutRequest, listed: list[tuple[Listed, int]]) -> Quote:
        address = body.shipping_address
        return await self._desk.price(
            Wanted(
                lines=[line_of(*one, quantity) for one, quantity in listed],
                listed_currency=listed[0][0][0].currency,
                currency=body.currency,
                country=address.country,
                state=address.state,
                postal_code=address.zip,
                shipping_method=body.shipping_method,
                coupons=body.coupons,
            )
        )

    async def _kept(self, user_id: UUID, wanted: list[str]) -> dict[str, KeptMethod]:
        found: dict[str, KeptMethod] = await self._find_methods(user_id, wanted)
        for method_id in wanted:
            if method_id not in found:
                raise field_problem("payment_method.method_id", f"you keep no {method_id[:80]}")
        return found

    async def _listed(self, cart: Cart) -> list[tuple[Listed, int]]:
        variant_ids = [variant_id for variant_id, _ in cart.lines]
        listed = await self._shelf.variants(variant_ids)
        for variant_id in variant_ids:
            if variant_id not in listed:
                name = ids.encode("var", variant_id)
                raise field_problem("cart_id", f"{name} is not sold any more; remove it first")
        if any(not variant.pairs for _, variant in listed.values()):
            raise Problem("out_of_stock", "an item of the cart is not kept in any warehouse")
        if len({product.currency for product, _ in listed.values()}) > 1:
            raise field_problem("cart_id", "the items have different currencies; order them apart")
        return [(listed[variant_id], quantity) for variant_id, quantity in cart.lines]

    def _demand(
        self, product: ListedProduct, variant: ListedVariant, quantity: int, destination: Site
    ) -> Demand:
        sources = tuple(
            Source(
                pair.inventory_id.bytes,
                pair.warehouse_id.bytes,
                haul(self._shelf.warehouse(pair.warehouse_id), destination),
            )
            for pair in variant.pairs
        )
        return Demand(variant.sku, ids.encode("prod", product.product_id), quantity, sources)


def _lines(quote: Quote, listed: list[tuple[Listed, int]]) -> tuple[OrderLine, ...]:
    return tuple(
        OrderLine(
            product_id=product.product_id,
            variant_id=variant.variant_id,
            sku=variant.sku,
            name=product.name,
            quantity=priced.quantity,
            unit_price_minor=priced.unit_price_minor,
            discount_minor=priced.discount_minor,
            tax_minor=priced.tax_minor,
        )
        for priced, ((product, variant), _) in zip(quote.lines, listed, strict=True)
    )
