"""The shelf: reads through in batches, follows changes, and never keeps what is outdated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from domain.catalog import ListedPair, ListedProduct, ListedVariant
from domain.places import Coordinates, Site
from domain.ports import Unavailable
from serve_apps import shelf as shelf_module
from serve_apps.shelf import Shelf
from storage.catalog import CatalogRepository
from tests.serve_apps.conftest import Shop, until

pytestmark = pytest.mark.asyncio


def listed(number: int, price_minor: int = 1_000, variants: int = 1) -> ListedProduct:
    return ListedProduct(
        product_id=UUID(int=number),
        handle=f"p{number}",
        name=f"Product {number}",
        description="",
        category="",
        tags=(),
        seller_id=UUID(int=1),
        seller="Seller",
        price_minor=price_minor,
        currency="USD",
        picture=None,
        status="active",
        variants=tuple(
            ListedVariant(
                variant_id=UUID(int=number * 100 + place),
                sku=f"SKU-{number}-{place}",
                price_minor=price_minor,
                attributes={},
                pairs=(ListedPair(inventory_id=UUID(int=1), warehouse_id=UUID(int=2)),),
            )
            for place in range(variants)
        ),
    )


class Catalog:
    """The catalog's repository, in memory: a read ends when `gate` is open."""

    def __init__(self, *products: ListedProduct) -> None:
        self.products = {product.product_id: product for product in products}
        self.changed: list[ListedProduct] = []
        self.reads: list[list[UUID]] = []
        self.sites = {UUID(int=2): Site("US", None)}
        self.looks_at_warehouses = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def horizon(self) -> int:
        return 1

    async def warehouses(self) -> dict[UUID, Site]:
        self.looks_at_warehouses += 1
        if self.error:
            raise self.error
        return dict(self.sites)

    async def by_ids(self, product_ids: Sequence[UUID]) -> list[ListedProduct]:
        self.reads.append(sorted(product_ids))
        if self.error:
            raise self.error
        seen = [self.products[one] for one in product_ids if one in self.products]
        await self.gate.wait()
        return seen

    async def by_variant_ids(self, variant_ids: Sequence[UUID]) -> list[ListedProduct]:
        owners = {v.variant_id: p.product_id for p in self.products.values() for v in p.variants}
        return await self.by_ids(sorted({owners[one] for one in variant_ids if one in owners}))

    async def changed_since(self, xmin: int | None) -> tuple[list[ListedProduct], int]:
        del xmin
        changed, self.changed = self.changed, []
        return changed, 1

    def change(self, product: ListedProduct) -> None:
        self.products[product.product_id] = product
        self.changed.append(product)


def shelf_over(catalog: Catalog) -> Shelf:
    return Shelf(cast("CatalogRepository", cast("Any", catalog)))


async def test_a_product_is_read_once() -> None:
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    assert await shelf.product(UUID(int=1)) == await shelf.product(UUID(int=1)) == listed(1)
    assert (await shelf.variants([UUID(int=100)]))[UUID(int=100)][0] == listed(1)
    assert len(catalog.reads) == 1


async def test_many_askers_at_once_read_in_one_batch() -> None:
    catalog = Catalog(*[listed(n) for n in range(1, 9)])
    shelf = shelf_over(catalog)
    found = await asyncio.gather(*[shelf.product(UUID(int=n)) for n in (*range(1, 9), 1, 99)])
    assert [one.handle if one else None for one in found] == [
        *[f"p{n}" for n in range(1, 9)],
        "p1",
        None,
    ]
    assert len(catalog.reads) == 1


async def test_only_what_exists_and_is_active_is_given() -> None:
    catalog = Catalog(listed(1), replace(listed(2), status="archived"))
    shelf = shelf_over(catalog)
    wanted = [UUID(int=100), UUID(int=200), UUID(int=999)]
    assert list(await shelf.variants(wanted)) == [UUID(int=100)]
    assert await shelf.product(UUID(int=2)) is None
    assert shelf.variant_at_hand(UUID(int=100)) is not None
    assert shelf.variant_at_hand(UUID(int=200)) is None


async def test_a_change_replaces_what_is_kept() -> None:
    catalog = Catalog(listed(1, variants=2))
    shelf = shelf_over(catalog)
    await shelf.product(UUID(int=1))
    catalog.change(listed(1, price_minor=900, variants=1))
    await shelf.refresh()
    product = await shelf.product(UUID(int=1))
    assert product is not None
    assert product.price_minor == 900
    assert shelf.variant_at_hand(UUID(int=101)) is None
    catalog.change(replace(listed(1), status="archived"))
    await shelf.refresh()
    assert await shelf.product(UUID(int=1)) is None
    assert await shelf.variants([UUID(int=100)]) == {}


async def test_a_read_that_a_change_overtook_is_not_kept() -> None:
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    catalog.gate.clear()
    reading = asyncio.create_task(shelf.product(UUID(int=1)))
    await until(_has_read(catalog))
    catalog.change(listed(1, price_minor=900))
    await shelf.refresh()
    catalog.gate.set()
    await reading
    product = await shelf.product(UUID(int=1))
    assert product is not None
    assert product.price_minor == 900


async def test_warehouses_are_read_when_one_is_new_and_not_for_each_product() -> None:
    catalog = Catalog(*[listed(n) for n in range(1, 5)])
    shelf = shelf_over(catalog)
    assert shelf.warehouse(UUID(int=2)) is None
    for number in range(1, 5):
        await shelf.product(UUID(int=number))
    assert shelf.warehouse(UUID(int=2)) == Site("US", None)
    assert catalog.looks_at_warehouses == 1
    pair = ListedPair(inventory_id=UUID(int=5), warehouse_id=UUID(int=6))
    catalog.sites[UUID(int=6)] = Site("NL", None)
    [variant] = listed(1).variants
    catalog.change(replace(listed(1), variants=(replace(variant, pairs=(pair,)),)))
    await shelf.refresh()
    assert shelf.warehouse(UUID(int=6)) == Site("NL", None)
    assert catalog.looks_at_warehouses == 2


async def test_a_warehouse_that_moves_is_noticed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf_module, "WAREHOUSES_EVERY", 3)
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    await shelf.product(UUID(int=1))
    moved = catalog.sites[UUID(int=2)] = Site("US", Coordinates(40.0, -74.0))
    await shelf.refresh()
    await shelf.refresh()
    assert shelf.warehouse(UUID(int=2)) != moved
    await shelf.refresh()
    assert shelf.warehouse(UUID(int=2)) == moved


async def test_a_change_is_not_lost_when_warehouses_cannot_be_read() -> None:
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    await shelf.product(UUID(int=1))
    asked_from: list[int | None] = []

    async def changed_since(xmin: int | None) -> tuple[list[ListedProduct], int]:
        asked_from.append(xmin)
        pair = ListedPair(inventory_id=UUID(int=5), warehouse_id=UUID(int=6))
        [variant] = listed(1).variants
        return [replace(listed(1), variants=(replace(variant, pairs=(pair,)),))], 7

    catalog.changed_since = changed_since  # type: ignore[method-assign]
    catalog.error = OSError("gone")
    with pytest.raises(Unavailable):
        await shelf.refresh()
    catalog.error = None
    catalog.sites[UUID(int=6)] = Site("NL", None)
    await shelf.refresh()
    assert asked_from == [None, None]
    assert shelf.warehouse(UUID(int=6)) == Site("NL", None)


def _has_read(catalog: Catalog) -> Any:
    async def has_read() -> bool:
        return bool(catalog.reads)

    return has_read


async def test_no_more_is_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "KEPT_MAX", 5)
    catalog = Catalog(*[listed(n) for n in range(1, 20)])
    shelf = shelf_over(catalog)
    for number in range(1, 20):
        assert await shelf.product(UUID(int=number)) is not None
    kept = [n for n in range(1, 20) if shelf.variant_at_hand(UUID(int=n * 100))]
    assert 1 <= len(kept) <= 6


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError()])
async def test_an_unreachable_database_is_told_as_such(error: Exception) -> None:
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    catalog.error = error
    with pytest.raises(Unavailable):
        await shelf.product(UUID(int=1))
    with pytest.raises(Unavailable):
        await shelf.variants([UUID(int=100)])
    catalog.error = None
    assert await shelf.product(UUID(int=1)) is not None


async def test_watching_goes_on_after_a_failed_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf_module, "REFRESH_EVERY_S", 0.001)
    catalog = Catalog(listed(1))
    shelf = shelf_over(catalog)
    looks = 0

    async def failing_once(xmin: int | None) -> tuple[list[ListedProduct], int]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("gone")
        return await Catalog.changed_since(catalog, xmin)

    monkeypatch.setattr(catalog, "changed_since", failing_once)
    await shelf.product(UUID(int=1))
    catalog.change(listed(1, price_minor=900))
    await shelf.start()

    async def new_price() -> bool:
        product = await shelf.product(UUID(int=1))
        return product is not None and product.price_minor == 900

    await until(new_price)
    await shelf.stop()
    await shelf.stop()


async def test_a_shop_whose_database_is_gone_is_busy(shop: Shop) -> None:
    shopper = await shop.shopper("LAPTOP")
    for app in (shop.apps["cart"].state.carts, shop.apps["checkout"].state.checkout._drafting):
        broken = Catalog()
        broken.error = ConnectionRefusedError("gone")
        app._shelf = shelf_over(broken)
    added = await shopper.call(
        "POST", "cart/items", json={"product_id": shop.product_of["VASE"], "quantity": 1}
    )
    for answer in (added, await shopper.checkout(), await shopper.call("GET", "cart")):
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"] == "1"
    assert (await shop.books())["orders"] == 0
