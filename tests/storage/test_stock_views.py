"""What operators read of pairs: pages that meet without gaps, and never the whole table."""

from __future__ import annotations

import json
import uuid
from typing import Any

import asyncpg
import pytest

from domain.owners import Homes, pool_names
from storage.sql import load
from storage.stock_views import PairFilter, StockViews
from tests.actors.postgres import add_pair

pytestmark = pytest.mark.asyncio
HOMES = Homes(pool_names(2))
OTHERS = 20_000


async def _all(views: StockViews, wanted: PairFilter, limit: int) -> list[uuid.UUID]:
    seen: list[uuid.UUID] = []
    after = None
    while True:
        page = await views.pairs(wanted, limit=limit, after=after)
        assert len(page.rows) <= limit
        seen += [row["inventory_id"] for row in page.rows]
        if page.next_after is None:
            return seen
        after = page.next_after


@pytest.mark.parametrize("limit", [1, 3, 12, 13, 200])
async def test_pages_meet_without_gaps(pool: asyncpg.Pool, limit: int) -> None:
    views = StockViews(pool, HOMES)
    pairs = sorted([uuid.UUID(bytes=await add_pair(pool, 5)) for _ in range(12)])
    assert await _all(views, PairFilter(), limit) == pairs
    by_home = {
        name: await _all(views, PairFilter(owner=name), limit) for name in ("pool-0", "pool-1")
    }
    assert by_home == {
        name: [pair for pair in pairs if HOMES.home_of(pair.bytes) == name] for name in by_home
    }


async def test_filters_narrow_together(pool: asyncpg.Pool) -> None:
    views = StockViews(pool, HOMES)
    one, other = [uuid.UUID(bytes=await add_pair(pool, 5)) for _ in range(2)]
    rows = {
        row["inventory_id"]: row
        for row in (await views.pairs(PairFilter(), limit=9, after=None)).rows
    }
    await pool.execute("UPDATE inventory SET owner_name = 'hot-3' WHERE inventory_id = $1", one)
    sku, warehouse = rows[one]["sku"], rows[one]["warehouse"]
    product = rows[one]["product_id"]
    for wanted in (
        PairFilter(sku=sku),
        PairFilter(sku=sku, warehouse=warehouse, product_id=product, owner="hot-3"),
        PairFilter(product_id=product, warehouse=warehouse),
        PairFilter(owner="hot-3"),
        PairFilter(owner="hot-3", warehouse=warehouse),
    ):
        assert await _all(views, wanted, 1) == [one], wanted
    assert one in await _all(views, PairFilter(warehouse=warehouse), 1)
    for nothing in (
        PairFilter(sku=sku, owner="hot-4"),
        PairFilter(sku=sku, owner=HOMES.home_of(one.bytes)),
        PairFilter(sku="?"),
        PairFilter(warehouse="?"),
        PairFilter(sku=rows[other]["sku"], product_id=product),
    ):
        assert await _all(views, nothing, 1) == [], nothing
    page = await views.pairs(PairFilter(sku=sku), limit=1, after=None)
    assert page.rows[0]["owner"] == "hot-3"


async def test_no_page_reads_the_whole_table(pool: asyncpg.Pool) -> None:
    """Among thousands of pairs every way in goes along an index."""
    pair = uuid.UUID(bytes=await add_pair(pool, 5))
    [row] = (await StockViews(pool, HOMES).pairs(PairFilter(), limit=1, after=None)).rows
    await pool.execute(
        "INSERT INTO product_variants (variant_id, product_id, sku)"
        " SELECT md5(n::text)::uuid, $1, 'S' || n FROM generate_series(1, $2::int) n",
        row["product_id"],
        OTHERS,
    )
    await pool.execute(
        "INSERT INTO inventory (inventory_id, product_id, variant_id, warehouse_id, quantity)"
        " SELECT md5(v.sku)::uuid, v.product_id, v.variant_id, i.warehouse_id, 1"
        " FROM product_variants v, inventory i WHERE i.inventory_id = $1"
        " ON CONFLICT DO NOTHING",
        pair,
    )
    await pool.execute("ANALYZE")
    sql = load("stock_views")
    start = uuid.UUID(int=0)
    asked: dict[str, tuple[Any, ...]] = {
        "ids": (start, 50, None),
        "ids_of_warehouse": (start, 50, None, row["warehouse"]),
        "ids_of_sku": (start, 50, None, None, None, row["sku"]),
        "ids_of_dedicated": (start, 50, "hot-0", None),
        "pairs": ([pair] * 50,),
    }
    for name, values in asked.items():
        shown = await pool.fetchval(f"EXPLAIN (FORMAT json) {sql[name]}", *values)
        scanned = [
            node["Relation Name"]
            for node in _nodes(json.loads(shown)[0]["Plan"])
            if node["Node Type"] == "Seq Scan"
        ]
        assert not {"inventory", "product_variants", "products"} & set(scanned), (name, shown)


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", ()) for node in _nodes(inner))]
