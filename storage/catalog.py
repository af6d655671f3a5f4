"""The catalog in Postgres: imported in batches, read back by id or by what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import uuid_utils

from domain.catalog import (
    ListedPair,
    ListedProduct,
    ListedVariant,
    Product,
    Variant,
    Warehouse,
)
from domain.places import Coordinates, Site
from storage.sql import load

IMPORT_BATCH_MAX = 500  # products in one transaction
READ_BATCH_MAX = 5000  # products or pairs in one query
CHANGES_PAGE_DEFAULT = 500
READ_TIMEOUT_S = 10.0
IMPORT_TIMEOUT_S = 60.0
_FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A variant that an import left out, and why."""

    handle: str
    sku: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCounts:
    """What became of a batch: products and variants taken in (new, changed or as they were)."""

    products: int
    variants: int
    products_changed: int
    """Products that are new or differ in anything from what was there."""
    pairs_created: int
    rejected: tuple[Rejection, ...]


class CatalogRepository:
    """Products, variants and the pairs they can be bought from.

    Errors: asyncpg's own for an unreachable database, TimeoutError for a statement that
    exceeds its bound. An import that fails leaves nothing of its batch behind.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = load("catalog")

    async def add_warehouses(self, warehouses: Sequence[Warehouse]) -> None:
        """Add warehouses, or bring those with a known code up to date."""
        await self._pool.execute(
            self._sql["add_warehouses"],
            [_new_id() for _ in warehouses],
            [w.code for w in warehouses],
            [w.name for w in warehouses],
            [w.country for w in warehouses],
            [w.lat for w in warehouses],
            [w.lon for w in warehouses],
            timeout=READ_TIMEOUT_S,
        )

    async def warehouses(self) -> dict[UUID, Site]:
        """Where each warehouse is, by its id: a few rows."""
        rows = await self._pool.fetch(self._sql["warehouse_sites"], timeout=READ_TIMEOUT_S)
        return {
            row["warehouse_id"]: Site(row["country"], Coordinates(row["lat"], row["lon"]))
            for row in rows
        }

    async def import_products(self, batch: Sequence[Product]) -> ImportCounts:
        """Put a batch of at most IMPORT_BATCH_MAX products into the catalog, in one transaction.

        A product is known by its handle, a variant by its SKU. What is there already and does
        not differ is not written. A pair that is new receives its stock; one that exists keeps
        what it has. A SKU that belongs to another product, or comes twice, is left out and
        returned. Variants and products that the batch does not mention stay as they are.
        Raises ValueError for a larger batch and for a warehouse that was never added.
        """
        if len(batch) > IMPORT_BATCH_MAX:
            raise ValueError(
                f"{len(batch)} products are too many for one transaction;"
                f" import {IMPORT_BATCH_MAX} at a time"
            )
        async with self._pool.acquire() as connection, connection.transaction():
            return await _Import(connection, self._sql).run(batch)

    async def count(self) -> int:
        """How many products there are, of any status."""
        return await self._pool.fetchval(self._sql["count_products"], timeout=READ_TIMEOUT_S)

    async def by_ids(self, product_ids: Sequence[UUID]) -> list[ListedProduct]:
        """The products with these ids, in order of id; unknown ids are passed over."""
        found: list[ListedProduct] = []
        for ids in _slices(product_ids, CHANGES_PAGE_DEFAULT):
            rows = await self._pool.fetch(self._sql["by_ids"], ids, timeout=READ_TIMEOUT_S)
            found.extend(map(_listed_product, rows))
        return found

    async def by_variant_ids(self, variant_ids: Sequence[UUID]) -> list[ListedProduct]:
        """The products, whole, that have any of these variants; unknown ids are passed over."""
        product_ids: set[UUID] = set()
        for ids in _slices(variant_ids, READ_BATCH_MAX):
            rows = await self._pool.fetch(
                self._sql["product_ids_of_variants"], ids, timeout=READ_TIMEOUT_S
            )
            product_ids.update(row["product_id"] for row in rows)
        return await self.by_ids(sorted(product_ids))

    async def changed_since(
        self, xmin: int | None, limit: int = CHANGES_PAGE_DEFAULT
    ) -> tuple[list[ListedProduct], int]:
        """All products changed since an earlier call, and what to pass as `xmin` next time.

        None stands for the beginning. Reads `limit` products at a time. A change is never
        missed: one made during the call comes in the next, and some come twice. For a large
        catalog read `horizon` first and then `batches_since`.
        """
        next_xmin = await self.horizon()
        products = [p async for batch in self.batches_since(xmin, limit) for p in batch]
        return products, next_xmin

    async def horizon(self) -> int:
        """The oldest transaction that may still be writing: where the next look begins."""
        return int(await self._pool.fetchval(self._sql["changes_horizon"], timeout=READ_TIMEOUT_S))

    async def batches_since(
        self, xmin: int | None, limit: int = CHANGES_PAGE_DEFAULT
    ) -> AsyncIterator[list[ListedProduct]]:
        """The same products as `changed_since`, at most `limit` at a time, oldest change first."""
        if limit < 1:
            raise ValueError(f"cannot read {limit} products at a time; ask for at least 1")
        end = await self._pool.fetchval(self._sql["changes_end"], timeout=READ_TIMEOUT_S)
        xid, product_id = str(xmin or 0), _FIRST_ID
        while True:
            rows = await self._pool.fetch(
                self._sql["changed_ids_page"], xid, product_id, end, limit, timeout=READ_TIMEOUT_S
            )
            if not rows:
                return
            yield await self.by_ids([row["product_id"] for row in rows])
            xid, product_id = rows[-1]["changed_xid"], rows[-1]["product_id"]

    async def availability(
        self, *, product_ids: Sequence[UUID] = (), inventory_ids: Sequence[UUID] = ()
    ) -> dict[UUID, int]:
        """Units that can be reserved now by inventory id, for these pairs or products' pairs.

        For showing only: a reservation is decided by the pair's owner.
        """
        found: dict[UUID, int] = {}
        slices = [(ids, []) for ids in _slices(inventory_ids, READ_BATCH_MAX)]
        slices += [([], ids) for ids in _slices(product_ids, READ_BATCH_MAX)]
        for pairs, products in slices:
            rows = await self._pool.fetch(
                self._sql["availability"], pairs, products, timeout=READ_TIMEOUT_S
            )
            found.update((row["inventory_id"], row["quantity"]) for row in rows)
        return found


class _Import:
    """One batch, within one transaction."""

    def __init__(self, connection: Any, sql: dict[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    async def run(self, batch: Sequence[Product]) -> ImportCounts:
        timeout_ms = str(int(IMPORT_TIMEOUT_S * 1000))
        await self._fetch("set_statement_timeout", timeout_ms)
        await self._fetch("lock_imports")
        warehouses = await self._warehouses(batch)
        products, rejected = await self._split(batch)
        await self._put_sellers(products)
        await self._put_products(products)
        touched = await self._put_variants(products)
        pairs = await self._receive(products, warehouses)
        await self._fetch("mark_changed", list({*touched, *pairs}))
        changed = await self._fetch("count_changed", [p.handle for p in products])
        return ImportCounts(
            products=len(products),
            variants=sum(len(p.variants) for p in products),
            products_changed=changed[0]["count"],
            pairs_created=sum(pairs.values()),
            rejected=tuple(rejected),
        )

    async def _fetch(self, query: str, *values: object) -> list[Any]:
        return await self._connection.fetch(self._sql[query], *values, timeout=IMPORT_TIMEOUT_S)

    async def _warehouses(self, batch: Sequence[Product]) -> dict[str, UUID]:
        codes = {code for product in batch for v in product.variants for code in v.stock}
        rows = await self._fetch("warehouse_ids", sorted(codes))
        known = {row["code"]: row["warehouse_id"] for row in rows}
        if unknown := sorted(codes - set(known)):
            raise ValueError(f"no warehouse has the code {', '.join(unknown)}; add it first")
        return known

    async def _split(self, batch: Sequence[Product]) -> tuple[list[Product], list[Rejection]]:
        """What can be taken, and which SKUs cannot because they are somebody else's."""
        skus = [variant.sku for product in batch for variant in product.variants]
        rows = await self._fetch("handles_of_skus", skus)
        return _without_conflicts(batch, {row["sku"]: row["handle"] for row in rows})

    async def _put_sellers(self, products: Sequence[Product]) -> None:
        names = sorted({product.seller for product in products})
        await self._fetch("add_sellers", [_new_id() for _ in names], names)

    async def _put_products(self, products: Sequence[Product]) -> None:
        await self._fetch(
            "keep_prices_of_other_variants",
            [p.handle for p in products],
            [_price_minor(p) for p in products],
            [v.sku for p in products for v in p.variants],
        )
        await self._fetch("put_products", [_product_record(p) for p in products])

    async def _put_variants(self, products: Sequence[Product]) -> set[UUID]:
        records = [record for product in products for record in _variant_records(product)]
        rows = await self._fetch("put_variants", records)
        return {row["product_id"] for row in rows}

    async def _receive(
        self, products: Sequence[Product], warehouses: dict[str, UUID]
    ) -> dict[UUID, int]:
        """How many pairs were created, by product id."""
        stock = [
            (variant.sku, warehouses[code], quantity)
            for product in products
            for variant in product.variants
            for code, quantity in variant.stock.items()
        ]
        rows = await self._fetch(
            "receive_new_pairs",
            [_new_id() for _ in stock],
            [sku for sku, _, _ in stock],
            [warehouse_id for _, warehouse_id, _ in stock],
            [quantity for _, _, quantity in stock],
        )
        return {row["product_id"]: row["pairs"] for row in rows}


def _without_conflicts(
    batch: Sequence[Product], owners: dict[str, str]
) -> tuple[list[Product], list[Rejection]]:
    """The batch less SKUs that another handle holds; `owners` is SKU → handle in the catalog."""
    rejected: list[Rejection] = []
    taken: list[Product] = []
    owners, seen, handles = dict(owners), set[str](), set[str]()

    def reason_against(product: Product, variant: Variant) -> str | None:
        if product.handle in handles:
            return f"handle {product.handle!r} comes twice in one batch"
        if variant.sku in seen:
            return f"SKU {variant.sku!r} comes twice in one batch"
        if (owner := owners.get(variant.sku, product.handle)) != product.handle:
            return f"SKU {variant.sku!r} belongs to product {owner!r}"
        return None

    for product in batch:
        kept: list[Variant] = []
        if not product.variants:
            reason = f"product {product.handle!r} has no variants"
            rejected.append(Rejection(handle=product.handle, sku="", reason=reason))
        for variant in product.variants:
            if reason := reason_against(product, variant):
                rejected.append(Rejection(handle=product.handle, sku=variant.sku, reason=reason))
                continue
            seen.add(variant.sku)
            kept.append(variant)
        handles.add(product.handle)
        if kept:
            taken.append(replace(product, variants=tuple(kept)))
    return taken, rejected


def _price_minor(product: Product) -> int:
    """What a product is listed at: its cheapest variant's price."""
    return min(variant.price_minor for variant in product.variants)


def _product_record(product: Product) -> dict[str, Any]:
    return {
        "product_id": str(_new_id()),
        "seller": product.seller,
        "handle": product.handle,
        "name": product.name,
        "description": product.description,
        "category": product.category,
        "tags": list(product.tags),
        "price_minor": _price_minor(product),
        "currency": product.currency,
        "picture": product.picture,
        "status": product.status,
    }


def _variant_records(product: Product) -> Iterator[dict[str, Any]]:
    for position, variant in enumerate(product.variants):
        yield {
            "variant_id": str(_new_id()),
            "handle": product.handle,
            "sku": variant.sku,
            "attributes": variant.attributes,
            "price_minor": variant.price_minor,
            "weight_grams": variant.weight_grams,
            "position": position,
        }


def _listed_product(row: Any) -> ListedProduct:
    return ListedProduct(
        product_id=row["product_id"],
        handle=row["handle"],
        name=row["name"],
        description=row["description"],
        category=row["category"],
        tags=tuple(row["tags"]),
        seller_id=row["seller_id"],
        seller=row["seller"],
        price_minor=row["price_minor"],
        currency=row["currency"],
        picture=row["picture"],
        status=row["status"],
        variants=tuple(_listed_variants(row["variants"])),
    )


def _listed_variants(variants: Iterable[list[Any]]) -> Iterator[ListedVariant]:
    for variant_id, sku, price_minor, attributes, pairs in variants:
        yield ListedVariant(
            variant_id=UUID(variant_id),
            sku=sku,
            price_minor=price_minor,
            attributes=attributes,
            pairs=tuple(
                ListedPair(inventory_id=UUID(pair), warehouse_id=UUID(warehouse))
                for pair, warehouse in pairs
            ),
        )


def _slices(ids: Sequence[UUID], size: int) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])


def _new_id() -> UUID:
    return UUID(int=uuid_utils.uuid7().int)
