"""Addresses and contact data of orders, sealed: one document per order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from storage.key_ring import KeyRing

COUNTRY_LETTERS = 2


class PersonalData(NamedTuple):
    """What an order says of its buyer."""

    shipping_address: Mapping[str, Any]
    billing_address: Mapping[str, Any] | None
    contact: Mapping[str, str] | None
    """`email`, `phone`."""


def seal_personal(ring: KeyRing, order_id: UUID, data: PersonalData) -> bytes:
    """The document for `orders.sealed_personal` of this order and no other."""
    document = {name: value for name, value in data._asdict().items() if value is not None}
    return ring.seal(orjson.dumps(document), bound_to=_bound_to(order_id))


def open_personal(ring: KeyRing, order_id: UUID, sealed: bytes) -> PersonalData:
    """What `seal_personal` sealed. Raises UnknownKeyError, TamperedError."""
    document = orjson.loads(ring.open(sealed, bound_to=_bound_to(order_id)))
    return PersonalData(
        document["shipping_address"], document.get("billing_address"), document.get("contact")
    )


def country_of(address: Mapping[str, Any]) -> str | None:
    """The address's country for `orders.ship_country`; None if it is not a two-letter code."""
    country = address.get("country")
    fits = isinstance(country, str) and len(country) == COUNTRY_LETTERS and country.isascii()
    return country if fits else None


def _bound_to(order_id: UUID) -> bytes:
    return b"orders.sealed_personal:" + order_id.bytes
