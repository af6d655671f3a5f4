"""Catalog files into an empty and into a filled shop."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from domain.catalog import Product, Variant
from serve_apps import catalog_import
from serve_apps.catalog_import import import_catalog
from storage.catalog import CatalogRepository

_HEADER = (
    "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Variant Inventory Qty\n"
)
_SHARED_CATALOG = Path(__file__).resolve().parents[3] / "shared/data/catalog.shopify.csv"
pytestmark = pytest.mark.asyncio


def _write(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "catalog.csv"
    path.write_text(_HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


async def _fingerprint(pool: asyncpg.Pool) -> list[object]:
    """Everything an import could touch, row versions included."""
    tables = ("products", "product_variants", "sellers", "warehouses", "inventory")
    return [
        await pool.fetchval(
            f"SELECT md5(string_agg(x::text || x.xmin::text, '' ORDER BY x::text)) FROM {table} x"
        )
        for table in tables
    ] + [await pool.fetchval("SELECT count(*) FROM stock_movements")]


async def test_a_file_is_loaded_and_its_bad_rows_reported(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = _write(
        tmp_path,
        "mug,Mug,Title,Default Title,M-1,9.99,5",
        "tee,Tee,Size,S,T-S,20,1",
        "tee,,,M,T-M,20,-1",
        "tee,,,L,T-L,22.50,0",
        "pan,Pan,,,P-1,abc,4",
    )
    seen: list[tuple[int, int, int]] = []
    report = await import_catalog(
        pool, path, format="shopify-csv", report=lambda *counts: seen.append(counts)
    )
    assert report.as_json()["products"] == 2
    assert report.as_json()["variants"] == 3
    assert [row["line"] for row in report.as_json()["rejected"]] == [4, 6]
    assert seen == [(2, 3, 2)]
    assert await CatalogRepository(pool).count() == 2
    stock = await pool.fetch(
        "SELECT sku, quantity FROM inventory JOIN product_variants USING (variant_id) ORDER BY sku"
    )
    assert [tuple(row) for row in stock] == [("M-1", 5), ("T-L", 0), ("T-S", 1)]


async def test_a_sku_of_another_product_is_reported_at_its_line(
    pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_import, "BATCH_PRODUCTS", 1)
    repository = CatalogRepository(pool)
    await repository.import_products(
        [
            Product(
                handle="owner",
                name="Owner",
                description="",
                category="",
                seller="S",
                tags=(),
                variants=(Variant(sku="TAKEN", price_minor=100),),
            )
        ]
    )
    path = _write(tmp_path, "a,A,,,A-1,1,1", "b,B,Size,S,B-1,1,1", "b,,,M,TAKEN,1,1")
    report = await import_catalog(pool, path, format="shopify-csv")
    assert (report.products, report.variants) == (2, 2)
    (row,) = report.rejected
    assert row.line == 4
    assert "belongs to product 'owner'" in row.reason


async def test_a_second_run_changes_nothing(pool: asyncpg.Pool, tmp_path: Path) -> None:
    path = _write(tmp_path, "mug,Mug,,,M-1,9.99,5", "tee,Tee,Size,S,T-S,20,1", "tee,,,M,T-M,25,1")
    first = await import_catalog(pool, path, format="shopify-csv")
    before = await _fingerprint(pool)
    second = await import_catalog(pool, path, format="shopify-csv")
    assert first == second
    assert await _fingerprint(pool) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00", "cannot be read"),
        (b"hello\nworld\n", "missing columns"),
    ],
)
async def test_what_is_no_catalog_is_refused_and_leaves_no_trace(
    pool: asyncpg.Pool, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "catalog.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        await import_catalog(pool, path, format="shopify-csv")
    assert str(path) in str(raised.value)
    assert await pool.fetchval("SELECT count(*) FROM warehouses") == 0


async def test_a_missing_file_a_folder_and_an_unknown_format(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        await import_catalog(pool, tmp_path / "none.csv", format="shopify-csv")
    with pytest.raises(ValueError, match="is a folder"):
        await import_catalog(pool, tmp_path, format="shopify-csv")
    with pytest.raises(ValueError, match="unknown catalog format 'xml'; use shopify-csv"):
        await import_catalog(pool, tmp_path / "none.csv", format="xml")


async def test_a_failing_batch_leaves_nothing_of_itself(
    pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_import, "BATCH_PRODUCTS", 1)
    await pool.execute("ALTER TABLE product_variants ADD CHECK (sku <> 'B-2')")
    path = _write(tmp_path, "a,A,,,A-1,1,1", "b,B,Size,S,B-1,1,1", "b,,,M,B-2,1,1")
    with pytest.raises(asyncpg.CheckViolationError):
        await import_catalog(pool, path, format="shopify-csv")
    handles = await pool.fetch("SELECT handle FROM products")
    assert [row["handle"] for row in handles] == ["a"]


@pytest.mark.skipif(
    not _SHARED_CATALOG.exists(), reason="the shared catalog is not on this machine"
)
async def test_the_shared_catalog_loads_whole_and_twice_the_same(pool: asyncpg.Pool) -> None:
    report = await import_catalog(pool, _SHARED_CATALOG, format="shopify-csv")
    assert report.as_json() == {"products": 2465, "variants": 3722, "rejected": []}
    before = await _fingerprint(pool)
    assert await import_catalog(pool, _SHARED_CATALOG, format="shopify-csv") == report
    assert await _fingerprint(pool) == before
