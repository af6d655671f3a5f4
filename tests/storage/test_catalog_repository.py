"""The catalog repository against a real Postgres."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from domain.catalog import Product, Variant, Warehouse
from domain.places import Coordinates, Site
from storage.catalog import IMPORT_BATCH_MAX, CatalogRepository

pytestmark = pytest.mark.asyncio

_EAST = Warehouse(code="EAST", name="East", country="US", lat=40.0, lon=-74.0)
_WEST = Warehouse(code="WEST", name="West", country="US", lat=39.5, lon=-119.8)


def _variant(sku: str, *, price_minor: int = 1000, size: str = "", **stock: int) -> Variant:
    return Variant(
        sku=sku,
        price_minor=price_minor,
        attributes={"Size": size} if size else {},
        weight_grams=100,
        stock=stock or {"EAST": 5},
    )


def _product(handle: str, *variants: Variant) -> Product:
    return Product(
        handle=handle,
        name=f"Product {handle}",
        description='Line one\nline "two" ☕',
        category="Kitchen",
        seller="Copper & Clay",
        tags=("a", 'b "c"', "d,e"),
        variants=variants or (_variant(f"{handle}-1"),),
        picture=None,
    )


@pytest_asyncio.fixture
async def catalog(pool: asyncpg.Pool) -> CatalogRepository:
    repository = CatalogRepository(pool)
    await repository.add_warehouses((_EAST, _WEST))
    return repository


async def _id_of(pool: asyncpg.Pool, handle: str) -> UUID:
    return await pool.fetchval("SELECT product_id FROM products WHERE handle = $1", handle)


async def _xid_of(pool: asyncpg.Pool, handle: str) -> str:
    return await pool.fetchval("SELECT changed_xid::text FROM products WHERE handle = $1", handle)


async def test_what_goes_in_comes_out(pool: asyncpg.Pool, catalog: CatalogRepository) -> None:
    given = _product(
        "mug",
        _variant("M-S", price_minor=1500, size="S", WEST=3, EAST=7),
        _variant("M-L", price_minor=1200, size="L", EAST=0),
    )
    counts = await catalog.import_products([given])
    assert (counts.products, counts.variants) == (1, 2)
    assert (counts.products_changed, counts.pairs_created, counts.rejected) == (1, 3, ())
    (listed,) = await catalog.by_ids([await _id_of(pool, "mug"), uuid4()])
    assert (listed.handle, listed.name, listed.description) == (
        given.handle,
        given.name,
        given.description,
    )
    assert (listed.category, listed.seller, listed.tags) == (
        given.category,
        given.seller,
        given.tags,
    )
    assert (listed.price_minor, listed.currency, listed.status) == (1200, "USD", "active")
    assert [(v.sku, v.price_minor, v.attributes) for v in listed.variants] == [
        ("M-S", 1500, {"Size": "S"}),
        ("M-L", 1200, {"Size": "L"}),
    ]
    assert listed.product_id.version == listed.variants[0].variant_id.version == 7
    available = await catalog.availability(product_ids=[listed.product_id])
    assert [[available[p.inventory_id] for p in v.pairs] for v in listed.variants] == [[7, 3], [0]]
    first = listed.variants[0].pairs[0].inventory_id
    assert await catalog.availability(inventory_ids=[first]) == {first: 7}
    by_variant = await catalog.by_variant_ids([v.variant_id for v in listed.variants])
    assert by_variant == [listed]


async def test_warehouses_are_known_by_their_place(
    pool: asyncpg.Pool, catalog: CatalogRepository
) -> None:
    ids = {
        row["code"]: row["warehouse_id"]
        for row in await pool.fetch("SELECT code, warehouse_id FROM warehouses")
    }
    assert await catalog.warehouses() == {
        ids["EAST"]: Site("US", Coordinates(40.0, -74.0)),
        ids["WEST"]: Site("US", Coordinates(39.5, -119.8)),
    }
    await catalog.add_warehouses((replace(_WEST, lat=10.0),))
    assert (await catalog.warehouses())[ids["WEST"]] == Site("US", Coordinates(10.0, -119.8))


async def test_new_pairs_are_received_once(pool: asyncpg.Pool, catalog: CatalogRepository) -> None:
    product = _product("mug", _variant("M", EAST=5, WEST=0))
    await catalog.import_products([product])
    await pool.execute("UPDATE inventory SET quantity = 2, reserved = 3 WHERE quantity = 5")
    more = replace(product, variants=(_variant("M", EAST=50, WEST=9),))
    assert (await catalog.import_products([more])).pairs_created == 0
    stock = await pool.fetch("SELECT quantity FROM inventory ORDER BY quantity")
    assert [row["quantity"] for row in stock] == [0, 2]
    movements = await pool.fetch("SELECT kind, quantity, reason FROM stock_movements")
    assert [tuple(row) for row in movements] == [("received", 5, "import")]


async def test_what_does_not_differ_is_not_written(
    pool: asyncpg.Pool, catalog: CatalogRepository
) -> None:
    batch = [_product("mug"), _product("pan")]
    await catalog.import_products(batch)
    before = await pool.fetch(
        "SELECT p.xmin, p.changed_xid::text, p.updated_at, v.xmin AS vxmin, i.xmin AS ixmin"
        " FROM products p JOIN product_variants v USING (product_id)"
        " JOIN inventory i USING (variant_id) ORDER BY p.handle"
    )
    counts = await catalog.import_products(batch)
    await catalog.add_warehouses((_EAST, _WEST))
    assert (counts.products, counts.variants, counts.products_changed) == (2, 2, 0)
    after = await pool.fetch(
        "SELECT p.xmin, p.changed_xid::text, p.updated_at, v.xmin AS vxmin, i.xmin AS ixmin"
        " FROM products p JOIN product_variants v USING (product_id)"
        " JOIN inventory i USING (variant_id) ORDER BY p.handle"
    )
    assert after == before


@pytest.mark.parametrize(
    "changed",
    [
        replace(_product("mug"), name="Another name"),
        replace(_product("mug"), tags=()),
        replace(_product("mug"), seller="Hearthline"),
        replace(_product("mug"), picture="https://example.com/a.jpg"),
        replace(_product("mug"), status="archived"),
        _product("mug", _variant("mug-1", price_minor=1)),
        _product("mug", _variant("mug-1", size="L")),
        _product("mug", replace(_variant("mug-1"), weight_grams=7)),
        _product("mug", _variant("mug-1"), _variant("mug-2")),
        _product("mug", _variant("mug-1", EAST=5, WEST=1)),
    ],
)
async def test_a_change_marks_its_product_and_no_other(
    pool: asyncpg.Pool, catalog: CatalogRepository, changed: Product
) -> None:
    await catalog.import_products([_product("mug"), _product("pan")])
    mug, pan = await _xid_of(pool, "mug"), await _xid_of(pool, "pan")
    counts = await catalog.import_products([changed, _product("pan")])
    assert counts.products_changed == 1
    assert int(await _xid_of(pool, "mug")) > int(mug)
    assert await _xid_of(pool, "pan") == pan


async def test_a_variant_that_is_not_mentioned_keeps_its_price(
    pool: asyncpg.Pool, catalog: CatalogRepository
) -> None:
    await catalog.import_products(
        [_product("mug", _variant("A", price_minor=1000), _variant("B", price_minor=1300))]
    )
    await catalog.import_products([_product("mug", _variant("A", price_minor=700))])
    (listed,) = await catalog.by_ids([await _id_of(pool, "mug")])
    assert listed.price_minor == 700
    assert {v.sku: v.price_minor for v in listed.variants} == {"A": 700, "B": 1300}


async def test_a_sku_of_another_product_is_left_out(
    pool: asyncpg.Pool, catalog: CatalogRepository
) -> None:
    await catalog.import_products([_product("mug", _variant("A"))])
    counts = await catalog.import_products(
        [
            _product("pan", _variant("A"), _variant("P"), _variant("P")),
            _product("cup", _variant("A")),
            _product("pan", _variant("Q")),
            replace(_product("bare"), variants=()),
        ]
    )
    assert (counts.products, counts.variants) == (1, 1)
    assert [(r.handle, r.sku) for r in counts.rejected] == [
        ("pan", "A"),
        ("pan", "P"),
        ("cup", "A"),
        ("pan", "Q"),
        ("bare", ""),
    ]
    assert "belongs to product 'mug'" in counts.rejected[0].reason
    assert await catalog.count() == 2
    (mug,) = await catalog.by_ids([await _id_of(pool, "mug")])
    assert [v.sku for v in mug.variants] == ["A"]


async def test_imports_that_meet_at_a_sku_leave_it_to_one(catalog: CatalogRepository) -> None:
    batches = [[_product(f"p{n}", _variant("SAME"))] for n in range(6)]
    counts = await asyncio.gather(*(catalog.import_products(batch) for batch in batches))
    assert sum(c.products for c in counts) == 1
    assert sum(len(c.rejected) for c in counts) == 5
    assert await catalog.count() == 1


async def test_an_unknown_warehouse_or_too_large_a_batch_is_refused(
    catalog: CatalogRepository,
) -> None:
    with pytest.raises(ValueError, match="no warehouse has the code MARS"):
        await catalog.import_products([_product("mug", _variant("A", MARS=1))])
    with pytest.raises(ValueError, match="too many for one transaction"):
        await catalog.import_products([_product("mug")] * (IMPORT_BATCH_MAX + 1))
    assert await catalog.count() == 0
    assert (await catalog.import_products([])).products == 0


async def test_changes_are_seen_once_they_are_committed_and_never_missed(
    pool: asyncpg.Pool, catalog: CatalogRepository
) -> None:
    await catalog.import_products([_product(f"p{n}") for n in range(7)])
    everything, mark = await catalog.changed_since(None, limit=3)
    assert [p.handle for p in everything] == [f"p{n}" for n in range(7)]
    nothing, mark = await catalog.changed_since(mark)
    assert nothing == []
    async with pool.acquire() as connection:
        slow = connection.transaction()
        await slow.start()
        await connection.execute(
            "UPDATE products SET name = 'slow', changed_xid = pg_current_xact_id()"
            " WHERE handle = 'p1'"
        )
        await catalog.import_products([replace(_product("p2"), name="quick")])
        quick, mark = await catalog.changed_since(mark)
        assert [p.name for p in quick] == ["quick"]
        await slow.commit()
    later, mark = await catalog.changed_since(mark)
    assert {p.name for p in later} == {"slow", "quick"}
    assert await catalog.changed_since(mark) == ([], mark)


async def test_batches_are_no_larger_than_asked(catalog: CatalogRepository) -> None:
    await catalog.import_products([_product(f"p{n}") for n in range(7)])
    sizes = [len(batch) async for batch in catalog.batches_since(None, 3)]
    assert sizes == [3, 3, 1]
    with pytest.raises(ValueError, match="at least 1"):
        await anext(catalog.batches_since(None, 0))
