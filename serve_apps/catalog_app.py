"""Search, product pages and product pictures: what shoppers read before they buy.

Everything here may lag by about a second; nothing is decided from it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Query
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from domain.catalog import ListedProduct
from domain.ids import decode, encode
from domain.money import MoneyError, parse_wire, to_wire
from serve_apps.catalog_service import CatalogService
from serve_apps.http import PROBLEM_JSON, Problem, field_problem, json_response, new_app
from storage.search_facets import Facets
from storage.search_index import (
    HITS_REACHABLE_MAX,
    LIMIT_MAX,
    ListedSummary,
    PageTooDeep,
    SearchQuery,
)

PICTURE_AGE_MAX_S = 86_400


class Seller(BaseModel):
    """Who sells it."""

    seller_id: str
    name: str
    rating: float | None


class SearchHit(BaseModel):
    """A product in a list of results."""

    product_id: str
    name: str
    price: float
    currency: str
    rating: float | None
    review_count: int
    thumbnail: str
    in_stock: bool
    seller: Seller


class NameCount(BaseModel):
    """How many of all results have this name."""

    name: str
    count: int


class PriceRange(BaseModel):
    """A price range; its ends as min_price and max_price give `count` results."""

    label: str
    min: float
    max: float | None
    count: int


class SearchFacets(BaseModel):
    """What all results are made of."""

    brands: list[str]
    price_ranges: list[str]
    categories: list[NameCount]
    price_buckets: list[PriceRange]
    brand_counts: list[NameCount]


class SearchAnswer(BaseModel):
    """A page of results."""

    results: list[SearchHit]
    total_results: int
    page: int
    total_pages: int = Field(description="That can be asked for; deep ones cannot")
    facets: SearchFacets


class ProductVariant(BaseModel):
    """One buyable version."""

    variant_id: str
    sku: str
    price: float
    attributes: dict[str, str]
    available: int


class ProductAnswer(BaseModel):
    """A product page."""

    product_id: str
    name: str
    description: str
    price: float
    currency: str
    category: str
    tags: list[str]
    picture: str
    seller: Seller
    in_stock: bool
    available: int
    options: dict[str, list[str]]
    variants: list[ProductVariant]


def _blank_is_none(value: Any) -> Any:
    return None if value == "" else value


ServiceOf = Callable[[Request], CatalogService]
Price = Annotated[Annotated[Decimal, Field(ge=0)] | None, BeforeValidator(_blank_is_none), Query()]
_PROBLEM: dict[str, Any] = {"content": {PROBLEM_JSON: {}}}


def build_catalog_app(
    open_service: Callable[[], AbstractAsyncContextManager[CatalogService]],
) -> FastAPI:
    """The catalog as an app of its own; the service is open for as long as the app runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service() as service:
            app.state.catalog = service
            yield

    app = new_app("Catalog", lifespan=lifespan)
    add_catalog_routes(app, lambda request: request.app.state.catalog)
    return app


def add_catalog_routes(app: FastAPI, service_of: ServiceOf) -> None:
    """Search, product page and picture."""

    @app.get(
        "/api/v1/products/search",
        summary="Search products",
        response_model=SearchAnswer,
        responses={422: {"description": "A parameter is not valid", **_PROBLEM}},
    )
    async def search_products(
        request: Request,
        *,
        q: Annotated[str, Query(description="Free text; without it, the newest first")] = "",
        category: Annotated[str, Query()] = "",
        brand: Annotated[str, Query()] = "",
        min_price: Price = None,
        max_price: Price = None,
        page: Annotated[int, Query(ge=1)] = 1,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 20,
    ) -> Response:
        service = service_of(request)
        query = SearchQuery(
            text=q,
            category=category or None,
            brand=brand or None,
            min_price_minor=_minor("min_price", min_price, service.currency),
            max_price_minor=_minor("max_price", max_price, service.currency),
            page=page,
            limit=limit,
        )
        return json_response(await _search(service, query))

    @app.get(
        "/api/v1/products/{product_id}",
        summary="A product page",
        response_model=ProductAnswer,
        responses={404: {"description": "No such product is for sale", **_PROBLEM}},
    )
    async def show_product(request: Request, product_id: str) -> Response:
        service = service_of(request)
        product = await service.product(_product_id(product_id))
        if product is None or product.status != "active":
            raise _no_product(product_id)
        return json_response(_product(product, await service.units_by_variant(product)))

    @app.get(
        "/media/{product_id}.svg",
        summary="A product's picture",
        response_class=Response,
        responses={
            200: {"description": "The picture", "content": {"image/svg+xml": {}}},
            404: {"description": "No such product", **_PROBLEM},
        },
    )
    async def show_picture(request: Request, product_id: str) -> Response:
        picture = await service_of(request).picture(_product_id(product_id))
        if picture is None:
            raise _no_product(product_id)
        headers = {
            "ETag": picture.etag,
            "Cache-Control": f"public, max-age={PICTURE_AGE_MAX_S}",
            # A picture opened on its own must never run anything in the shop's name.
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        }
        known = request.headers.get("if-none-match", "")
        if known == "*" or picture.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(picture.svg, media_type="image/svg+xml", headers=headers)


async def _search(service: CatalogService, query: SearchQuery) -> dict[str, Any]:
    lowest, highest = query.min_price_minor, query.max_price_minor
    if lowest is not None and highest is not None and lowest > highest:
        raise field_problem("min_price", "is above max_price; swap the two or leave one out")
    if not service.ready:
        raise Problem("not_ready", "the catalog is still being read", parts={"search": "starting"})
    found = await service.search(query)
    if isinstance(found, PageTooDeep):
        raise field_problem(
            "page",
            f"only the first {found.hits_max:,} results can be paged through; narrow the search",
        )
    units = await service.units(found.hits)
    reachable = min(found.total, HITS_REACHABLE_MAX - HITS_REACHABLE_MAX % query.limit)
    return {
        "results": [_hit(hit, units[hit.product_id]) for hit in found.hits],
        "total_results": found.total,
        "page": query.page,
        "total_pages": -(-reachable // query.limit),
        "facets": _facets(found.facets, service.currency),
    }


def _minor(field: str, price: Decimal | None, currency: str) -> int | None:
    try:
        return None if price is None else parse_wire(price, currency)
    except MoneyError as error:
        raise field_problem(field, str(error)) from None


def _product_id(text: str) -> UUID:
    try:
        return decode("prod", text)
    except ValueError:
        raise _no_product(text) from None


def _no_product(shown: str) -> Problem:
    return Problem("not_found", f"no product {shown[:80]!r} is for sale; search for another")


def _seller(seller_id: UUID, name: str) -> dict[str, Any]:
    return {"seller_id": encode("seller", seller_id), "name": name, "rating": None}


def _thumbnail(product_id: str) -> str:
    return f"/media/{product_id}.svg"


def _hit(hit: ListedSummary, units: int) -> dict[str, Any]:
    product_id = encode("prod", hit.product_id)
    return {
        "product_id": product_id,
        "name": hit.name,
        "price": to_wire(hit.price_minor, hit.currency),
        "currency": hit.currency,
        "rating": None,
        "review_count": 0,
        "thumbnail": _thumbnail(product_id),
        "in_stock": units > 0,
        "seller": _seller(hit.seller_id, hit.seller),
    }


def _facets(facets: Facets, currency: str) -> dict[str, Any]:
    return {
        "brands": [facet.name for facet in facets.brands],
        "price_ranges": [bucket.label for bucket in facets.prices],
        "categories": [{"name": one.name, "count": one.count} for one in facets.categories],
        "price_buckets": [
            {
                "label": one.label,
                "min": to_wire(one.min_minor, currency),
                "max": None if one.max_minor is None else to_wire(one.max_minor, currency),
                "count": one.count,
            }
            for one in facets.prices
        ],
        "brand_counts": [{"name": one.name, "count": one.count} for one in facets.brands],
    }


def _product(product: ListedProduct, units: dict[UUID, int]) -> dict[str, Any]:
    product_id = encode("prod", product.product_id)
    options: dict[str, dict[str, None]] = {}
    for variant in product.variants:
        for option, value in variant.attributes.items():
            options.setdefault(option, {})[value] = None
    available = sum(units.values())
    # A shop's own picture counts where a browser can reach it; a file name of an import cannot.
    own = product.picture if (product.picture or "").startswith("https://") else None
    return {
        "product_id": product_id,
        "name": product.name,
        "description": product.description,
        "price": to_wire(product.price_minor, product.currency),
        "currency": product.currency,
        "category": product.category,
        "tags": list(product.tags),
        "picture": own or _thumbnail(product_id),
        "seller": _seller(product.seller_id, product.seller),
        "in_stock": available > 0,
        "available": available,
        "options": {option: list(values) for option, values in options.items()},
        "variants": [
            {
                "variant_id": encode("var", variant.variant_id),
                "sku": variant.sku,
                "price": to_wire(variant.price_minor, product.currency),
                "attributes": variant.attributes,
                "available": units[variant.variant_id],
            }
            for variant in product.variants
        ],
    }
