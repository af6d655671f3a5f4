"""The shelf: what cart and checkout need of products, kept in the process.

Reads through to Postgres in batches, keeps a bounded number, and drops what has changed there
within a second. Prices may lag by that second; stock is never decided from here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from actors.coalescer import Coalescer
from domain.catalog import ListedProduct, ListedVariant
from domain.places import Site
from storage.catalog import CatalogRepository
from storage.stock_journal import reach

_log = structlog.get_logger(__name__)
KEPT_MAX = 200_000
REFRESH_EVERY_S = 1.0
WAREHOUSES_EVERY = 60
"""Refreshes until it is looked whether warehouses have moved; a new one is found at once."""
_BATCH_MAX = 500

Listed = tuple[ListedProduct, ListedVariant]


class Shelf:
    """Products by id, and variants with their product.

    Raises Unavailable for what is not kept while Postgres cannot be reached.
    """

    def __init__(self, catalog: CatalogRepository) -> None:
        self._catalog = catalog
        self._products: dict[UUID, ListedProduct] = {}
        self._variants: dict[UUID, Listed] = {}
        self._warehouses: dict[UUID, Site] = {}
        self._loading: Coalescer[UUID, ListedProduct | None] = Coalescer(
            self._load_products, batch_max=_BATCH_MAX
        )
        self._loading_variants: Coalescer[UUID, Listed | None] = Coalescer(
            self._load_variants, batch_max=_BATCH_MAX
        )
        self._xmin: int | None = None
        self._refreshes = 0
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch for changes."""
        self._xmin = await self._catalog.horizon()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def refresh(self) -> None:
        """Take over what has changed since the last look."""
        changed, xmin = await self._catalog.changed_since(self._xmin)
        due = (self._refreshes + 1) % WAREHOUSES_EVERY == 0
        await self._know_warehouses(changed, again=due)
        self._xmin = xmin  # only now: what fails before is looked at again
        self._refreshes += 1
        for product in changed:
            if product.product_id in self._products:
                self._drop(product.product_id)
                self._keep([product])

    async def product(self, product_id: UUID) -> ListedProduct | None:
        """An active product, or None."""
        known = self._products.get(product_id)
        return known if known is not None else await self._loading.submit(product_id)

    def variant_at_hand(self, variant_id: UUID) -> Listed | None:
        """A variant that is in memory; None says nothing about whether it exists."""
        return self._variants.get(variant_id)

    def warehouse(self, warehouse_id: UUID) -> Site | None:
        """Where a warehouse is; known of all that variants from here are kept in."""
        return self._warehouses.get(warehouse_id)

    async def variants(self, variant_ids: Sequence[UUID]) -> dict[UUID, Listed]:
        """The variants of active products; unknown ones are left out."""
        found = {one: known for one in variant_ids if (known := self._variants.get(one))}
        missing = [one for one in variant_ids if one not in found]
        futures = [(one, self._loading_variants.submit(one)) for one in missing]
        for one, future in futures:
            listed = await future
            if listed is not None:
                found[one] = listed
        return found

    async def _load_products(self, ids: list[UUID]) -> list[ListedProduct | None]:
        found = await self._load(lambda: self._catalog.by_ids(list(set(ids))))
        by_id = {product.product_id: product for product in found}
        return [by_id.get(one) for one in ids]

    async def _load_variants(self, ids: list[UUID]) -> list[Listed | None]:
        found = await self._load(lambda: self._catalog.by_variant_ids(list(set(ids))))
        by_id: dict[UUID, Listed] = {
            variant.variant_id: (product, variant)
            for product in found
            for variant in product.variants
        }
        return [by_id.get(one) for one in ids]

    async def _load(
        self, read: Callable[[], Awaitable[list[ListedProduct]]]
    ) -> list[ListedProduct]:
        refreshes = self._refreshes
        active = [product for product in await reach(read) if product.status == "active"]
        await self._know_warehouses(active)
        # A change that was handled meanwhile may be newer than what was read.
        if refreshes == self._refreshes:
            self._keep(active)
        return active

    async def _know_warehouses(
        self, products: Sequence[ListedProduct], *, again: bool = False
    ) -> None:
        """Warehouses are few and hardly change: all are read when one is new, and now and then."""
        known = self._warehouses
        if again or any(
            pair.warehouse_id not in known
            for product in products
            for variant in product.variants
            for pair in variant.pairs
        ):
            self._warehouses = await reach(self._catalog.warehouses)

    def _keep(self, products: Sequence[ListedProduct]) -> None:
        if len(self._variants) > KEPT_MAX:
            self._products.clear()
            self._variants.clear()
        for product in products:
            if product.status != "active":
                continue
            self._products[product.product_id] = product
            for variant in product.variants:
                self._variants[variant.variant_id] = (product, variant)

    def _drop(self, product_id: UUID) -> None:
        product = self._products.pop(product_id, None)
        for variant in product.variants if product else ():
            self._variants.pop(variant.variant_id, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except Exception as error:
                _log.warning("shelf_not_refreshed", reason=repr(error))
