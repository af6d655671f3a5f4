"""Shoppers and what they ask of the shop: pure values, nothing is sent from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from urllib.parse import urlencode

import orjson

from sim.http_messages import Request

LINES_MAX = 3
ZIPF_EXPONENT = 1.1
"""Popularity of the n-th result is n^-1.1: a few products get most of the trade."""

SEARCH_LIMIT = 20
DECLINED_CARD = "card_declined"
"""The simulated provider declines this card."""

_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assortment:
    """What shoppers know to look for."""

    words: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HotProduct:
    """The product of the rush. Without `variant_id` everybody wants its first variant."""

    product_id: str
    query: str = ""
    variant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopper:
    """One person: tastes and address come from `rng`, the key's bytes from `new_key`.

    `rush` shoppers want one unit of the hot product, the others one to three lines of anything
    else. `new_key` must never repeat itself, not even between runs on one shop.
    """

    rng: Random
    new_key: Callable[[], str]
    assortment: Assortment
    hot: HotProduct | None = None
    rush: bool = False
    declined_share: float = 0.0


# requests


def search_request(
    *, query: str = "", category: str = "", page: int = 1, limit: int = SEARCH_LIMIT
) -> Request:
    """A product search."""
    asked = {"q": query, "category": category, "page": page, "limit": limit}
    return Request(
        method="GET",
        path="/api/v1/products/search?"
        + urlencode({name: value for name, value in asked.items() if value != ""}),
    )


def product_request(product_id: str) -> Request:
    """A product page."""
    return Request(method="GET", path=f"/api/v1/products/{product_id}")


def add_request(
    *, product_id: str, variant_id: str | None, quantity: int, token: str | None
) -> Request:
    """Adds units to the cart; without a token the shop makes a guest and answers with one."""
    body: dict[str, object] = {"product_id": product_id, "quantity": quantity}
    if variant_id is not None:
        body["variant_id"] = variant_id
    headers = (_JSON,) if token is None else (_JSON, ("Authorization", f"Bearer {token}"))
    return Request(
        method="POST", path="/api/v1/cart/items", headers=headers, body=orjson.dumps(body)
    )


def checkout_request(
    *,
    cart_id: str,
    token: str,
    idempotency_key: str,
    address: dict[str, str],
    card_id: str,
    shipping_method: str = "standard",
) -> Request:
    """Buys the cart. Sending it again with the same key gives the first answer again."""
    body = {
        "cart_id": cart_id,
        "shipping_address": address,
        "payment_method": {"type": "card", "card_id": card_id},
        "shipping_method": shipping_method,
    }
    return Request(
        method="POST",
        path="/api/v1/orders/checkout",
        headers=(
            _JSON,
            ("Authorization", f"Bearer {token}"),
            ("Idempotency-Key", idempotency_key),
        ),
        body=orjson.dumps(body),
    )


_FIRST_NAMES = ("Ada", "Amara", "Björn", "Chen", "Dilan", "Elif", "Grace", "Hugo", "Ines", "Jamal")
_LAST_NAMES = ("Abara", "Berg", "Costa", "Demir", "Evans", "Fischer", "García", "Ito", "Novak")
_STREETS = ("Oak St", "Maple Ave", "Market St", "Hill Rd", "Lake Dr", "Station Rd", "Mill Ln")
_PLACES = (
    ("New York", "NY", "10001"),
    ("Los Angeles", "CA", "90012"),
    ("Chicago", "IL", "60601"),
    ("Houston", "TX", "77002"),
    ("Seattle", "WA", "98101"),
    ("Denver", "CO", "80202"),
    ("Boston", "MA", "02108"),
    ("Atlanta", "GA", "30303"),
)


def draw_address(rng: Random) -> dict[str, str]:
    """A believable address in the United States, in the checkout's shape."""
    city, state, code = rng.choice(_PLACES)
    return {
        "name": f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}",
        "street": f"{rng.randint(1, 1999)} {rng.choice(_STREETS)}",
        "city": city,
        "state": state,
        "zip": code,
        "country": "US",
    }


def draw_zipf(rng: Random, count: int) -> int:
    """A rank from 0 to `count` - 1, the first the most popular."""
    return rng.choices(range(count), cum_weights=_zipf_weights(count))[0]


@lru_cache(maxsize=SEARCH_LIMIT)
def _zipf_weights(count: int) -> tuple[float, ...]:
    return tuple(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(count)))


def read_assortment(search_body: bytes) -> Assortment:
    """The words and categories of a search answer; the words are of its results' names."""
    document = orjson.loads(search_body)
    words = {
        word.lower()
        for result in document["results"]
        for word in result["name"].split()
        if len(word) > 3 and word.isalpha()
    }
    categories = (entry["name"] for entry in document["facets"]["categories"])
    return Assortment(words=tuple(sorted(words)), categories=tuple(sorted(categories)))
