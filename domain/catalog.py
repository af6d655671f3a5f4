"""What a shop sells: products, their variants, and the stock an import brings along."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

DEFAULT_CURRENCY = "USD"
NAME_LENGTH_MAX = 500
SKU_LENGTH_MAX = 100
HANDLE_LENGTH_MAX = 255
QUANTITY_MAX = 1_000_000_000  # of one pair; fits Postgres' int with room to spare
PRICE_MINOR_MAX = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One buyable version of a product.

    Prices are integer minor units of the product's currency; weight is in grams.
    """

    sku: str
    price_minor: int
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    weight_grams: int = 0
    stock: dict[str, int] = field(default_factory=dict[str, int])
    """Units to receive on first import, by warehouse code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is listed: one name, one or more variants."""

    handle: str
    name: str
    description: str
    category: str
    seller: str
    tags: tuple[str, ...]
    variants: tuple[Variant, ...]
    currency: str = DEFAULT_CURRENCY
    picture: str | None = None
    """Where the shop's own picture is (URL or path), or None: then one is drawn."""
    status: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """A place that holds stock; lat and lon in degrees."""

    code: str
    name: str
    country: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row of an import that was left out: its line in the file (1-based) and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPair:
    """A warehouse in which a variant may be reserved."""

    inventory_id: UUID
    warehouse_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVariant:
    """A variant as the shop sells it now: with ids, its price and its pairs."""

    variant_id: UUID
    sku: str
    price_minor: int
    attributes: dict[str, str]
    pairs: tuple[ListedPair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedProduct:
    """A product as the shop lists it now, read back from the catalog."""

    product_id: UUID
    handle: str
    name: str
    description: str
    category: str
    tags: tuple[str, ...]
    seller_id: UUID
    seller: str
    price_minor: int
    currency: str
    picture: str | None
    status: str
    variants: tuple[ListedVariant, ...]
