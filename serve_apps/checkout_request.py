"""What a checkout asks for: the request's shapes and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from domain.places import LAT_MAX, LON_MAX, Coordinates, Site, site_of
from serve_apps.http import RequestModel, ShortText
from serve_apps.payment_choice import Methods, PaymentMethod
from serve_apps.quote_app import Coupons
from serve_apps.text_shapes import Country, Currency, Email, Phone


# What is None is left out of what is hashed: the hash of a request from before there was such a
# field is what it always was (P6).
def _is_none(value: object) -> bool:
    return value is None


_UNSAID: Any = Field(default=None, exclude_if=_is_none)


class Address(RequestModel):
    """Where to send it. `country` is ISO 3166-1 alpha-2; `state` where the country has them."""

    name: ShortText
    street: ShortText
    city: ShortText
    state: ShortText | None = None
    zip: ShortText
    country: Country


class ShippingAddress(Address):
    """Where to send it; `lat` and `lon` in degrees say it exactly, both or neither."""

    lat: Annotated[float, Field(ge=-LAT_MAX, le=LAT_MAX)] | None = _UNSAID
    lon: Annotated[float, Field(ge=-LON_MAX, le=LON_MAX)] | None = _UNSAID

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("send both lat and lon, or neither")
        return self

    @property
    def site(self) -> Site:
        """Where that is, as far as it is known."""
        if self.lat is not None and self.lon is not None:
            return Site(self.country, Coordinates(self.lat, self.lon))
        return site_of(self.country, self.state)


class Contact(RequestModel):
    """How to reach the buyer about the order."""

    email: Email | None = None
    phone: Phone | None = None


class CheckoutRequest(RequestModel):
    """A cart to turn into an order."""

    cart_id: ShortText
    shipping_address: ShippingAddress
    payment_method: PaymentMethod | None = _UNSAID
    payment_methods: Methods | None = Field(
        default=None,
        exclude_if=_is_none,
        description="instead of payment_method: two to five that pay together, all or none",
    )
    shipping_method: Literal["standard", "express"] = "standard"
    billing_address: Address | None = None
    contact: Contact | None = _UNSAID
    coupons: Coupons = Field(default=(), exclude_if=lambda codes: not codes)
    currency: Currency | None = _UNSAID
    expected_total: float | None = Field(
        default=None,
        exclude_if=_is_none,
        ge=0,
        description="the grand_total that the shopper was shown; another one is refused",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cart_id": "cart_01k0a5xq2ne0tbq4m7w3f8z1rc",
                    "shipping_address": {
                        "name": "John Doe",
                        "street": "123 Main St",
                        "city": "San Francisco",
                        "state": "CA",
                        "zip": "94102",
                        "country": "US",
                    },
                    "payment_method": {"type": "card", "card_id": "card_xyz789"},
                    "shipping_method": "standard",
                }
            ]
        }
    )

    @model_validator(mode="after")
    def _one_way_to_pay(self) -> Self:
        if (self.payment_method is None) == (self.payment_methods is None):
            raise ValueError("send payment_method, or payment_methods if several pay together")
        return self

    @property
    def methods(self) -> tuple[PaymentMethod, ...]:
        """Everything that pays."""
        if self.payment_methods is not None:
            return self.payment_methods
        assert self.payment_method is not None
        return (self.payment_method,)
