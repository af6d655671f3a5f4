"""The catalog as one process of the shop knows it: searchable, and kept up to date."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import structlog

from domain.catalog import DEFAULT_CURRENCY, ListedProduct
from domain.pictures import draw_product
from storage.availability import AvailabilityBoard, AvailabilityReader, StockNumbers
from storage.catalog import CatalogRepository
from storage.search_index import (
    ListedSummary,
    PageTooDeep,
    SearchIndex,
    SearchPage,
    SearchQuery,
)

POLL_EVERY_S = 1.0
POLL_BACKOFF_MAX_S = 10.0
SEARCHED_ON_THE_LOOP_MAX = 20_000  # products
INDEX_BATCH_MAX = 5_000  # products indexed in one go
PRODUCTS_KEPT_MAX = 100_000
PRODUCTS_KEPT_AT_START_MAX = 10_000
PICTURES_KEPT_MAX = 10_000  # of at most 4 KiB each

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG and the tag that changes when it does."""

    svg: bytes
    etag: str


class CatalogService:
    """The catalog as this process knows it: searchable, at most about a second old.

    `start` reads all of it; from then on changes are polled for, and while Postgres or Redis
    are gone it answers from what it has.
    """

    def __init__(
        self,
        repository: CatalogRepository,
        index: SearchIndex,
        board: AvailabilityBoard,
        *,
        currency: str = DEFAULT_CURRENCY,
        poll_every_s: float = POLL_EVERY_S,
    ) -> None:
        self.currency = currency
        self.ready = False
        """Whether the whole catalog has been read."""
        self._repository = repository
        self._index = index
        self._availability = AvailabilityReader(
            board, StockNumbers(lambda pairs: repository.availability(inventory_ids=pairs))
        )
        self._poll_every_s = poll_every_s
        self._polling: asyncio.Task[None] | None = None
        self._since = 0
        self._seen: dict[UUID, ListedProduct] = {}
        self._refreshes = 0
        self._products: OrderedDict[UUID, ListedProduct] = OrderedDict()

    async def start(self) -> None:
        """Build the index from Postgres, then keep it up to date until `stop`.

        Raises what the repository raises if the catalog cannot be read.
        """
        self._since = await self._repository.horizon()
        gathered: list[ListedProduct] = []
        async for batch in self._repository.batches_since(None):
            gathered += batch
            if len(gathered) >= INDEX_BATCH_MAX:
                await self._take_over(gathered)
                gathered = []
        await self._take_over(gathered)
        self.ready = True
        self._polling = asyncio.create_task(self._poll())
        _log.info("catalog_ready", products=self._index.size)

    async def stop(self) -> None:
        """Stop polling; safe to call twice, and without a start."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
            self._polling = None

    async def refresh(self) -> int:
        """Take over what changed since the last look; how many products that were."""
        products, since = await self._repository.changed_since(self._since)
        # While an old transaction runs, the same changes are reported every time.
        fresh = [one for one in products if self._seen.get(one.product_id) != one]
        self._refreshes += 1
        for product in fresh:
            if product.product_id in self._products:
                self._products[product.product_id] = product
        if fresh:
            await asyncio.to_thread(self._index.apply, fresh)
        self._since, self._seen = since, {one.product_id: one for one in products}
        return len(fresh)

    async def search(self, query: SearchQuery) -> SearchPage | PageTooDeep:
        """What fits the query; see SearchIndex.search."""
        # Over 2,500 products a search takes 1 ms of CPU (p99 3 to 4 ms), which is no more than
        # a busy loop needs for the way to a thread and back. Over 100,000 it takes 1.4 ms
        # (p99 6 to 9 ms), too long to hold up everybody else.
        if self._index.size <= SEARCHED_ON_THE_LOOP_MAX:
            return self._index.search(query)
        return await asyncio.to_thread(self._index.search, query)

    async def product(self, product_id: UUID) -> ListedProduct | None:
        """The product as it is now, of whatever status; None if there never was one."""
        known = self._products.get(product_id)
        if known is not None:
            self._products.move_to_end(product_id)
            return known
        refreshes = self._refreshes
        found = await self._repository.by_ids([product_id])
        # A change that arrived meanwhile may be newer than what was read.
        if found and refreshes == self._refreshes:
            self._keep(found[0])
        return found[0] if found else None

    async def units(self, hits: Sequence[ListedSummary]) -> dict[UUID, int]:
        """Units that can be bought now by product_id; one round trip to Redis."""
        pairs_of = {variant: pairs for hit in hits for variant, pairs in hit.pairs.items()}
        units = await self._availability.units(pairs_of)
        return {hit.product_id: sum(units[variant] for variant in hit.pairs) for hit in hits}

    async def units_by_variant(self, product: ListedProduct) -> dict[UUID, int]:
        """Units that can be bought now by variant_id."""
        return await self._availability.units(
            {v.variant_id: [pair.inventory_id for pair in v.pairs] for v in product.variants}
        )

    async def picture(self, product_id: UUID) -> Picture | None:
        """The product's drawn picture."""
        product = await self.product(product_id)
        if product is None:
            return None
        return _draw(product.name, product.category, product.handle)

    async def _take_over(self, products: Sequence[ListedProduct]) -> None:
        await asyncio.to_thread(self._index.apply, products)
        for product in products[: max(0, PRODUCTS_KEPT_AT_START_MAX - len(self._products))]:
            self._keep(product)

    def _keep(self, product: ListedProduct) -> None:
        self._products[product.product_id] = product
        if len(self._products) > PRODUCTS_KEPT_MAX:
            self._products.popitem(last=False)

    async def _poll(self) -> None:
        wait_s = self._poll_every_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.refresh()
                wait_s = self._poll_every_s
            except Exception as error:
                wait_s = min(wait_s * 2, max(POLL_BACKOFF_MAX_S, self._poll_every_s))
                _log.warning("catalog_refresh_failed", error=repr(error), retry_in_s=wait_s)


@lru_cache(maxsize=PICTURES_KEPT_MAX)
def _draw(name: str, category: str, seed: str) -> Picture:
    svg = draw_product(name, category, seed).encode()
    return Picture(svg=svg, etag=f'"{hashlib.sha256(svg).hexdigest()[:32]}"')
