"""Importing a catalog from a file: stream, batch, store, report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import asyncpg

from domain.catalog import RejectedRow, Warehouse
from gateways.shopify_csv import (
    MAIN_WAREHOUSE,
    LocatedProduct,
    open_export,
    read_located_products,
)
from storage.catalog import CatalogRepository, Rejection

BATCH_PRODUCTS = 500
ITEMS_PER_BATCH_MAX = 2000  # products and bad rows together, so that a bad file is cut up too


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import took in, and each row that it left out."""

    products: int
    variants: int
    rejected: tuple[RejectedRow, ...]

    def as_json(self) -> dict[str, Any]:
        """`{"products", "variants", "rejected": [{"line", "reason"}]}`."""
        rejected = [{"line": row.line, "reason": row.reason} for row in self.rejected]
        return {"products": self.products, "variants": self.variants, "rejected": rejected}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """How files of one format are opened and read, and where their stock is received."""

    open: Callable[[Path], TextIO]
    read: Callable[[TextIO], Iterator[LocatedProduct | RejectedRow]]
    warehouses: tuple[Warehouse, ...]


FORMATS = {
    "shopify-csv": _Format(
        open=open_export, read=read_located_products, warehouses=(MAIN_WAREHOUSE,)
    ),
}


@dataclass(slots=True)
class _Batch:
    located: list[LocatedProduct] = field(default_factory=list[LocatedProduct])
    rejected: list[RejectedRow] = field(default_factory=list[RejectedRow])


async def import_catalog(
    pool: asyncpg.Pool,
    path: Path,
    *,
    format: str,
    report: Callable[[int, int, int], None] | None = None,
) -> ImportReport:
    """Bring the catalog in `path` into the shop; running it again changes nothing.

    `format` is a key of FORMATS. `report(products, variants, rejected)` is called after each
    batch with the counts so far. A batch of at most BATCH_PRODUCTS products is stored whole or
    not at all; memory is bounded by one batch and the rejected rows. Raises FileNotFoundError
    for a missing file and ValueError for an unknown format or a file that is not of it.
    """
    chosen = FORMATS.get(format)
    if chosen is None:
        raise ValueError(f"unknown catalog format {format!r}; use {', '.join(sorted(FORMATS))}")
    path = Path(path)
    file = await asyncio.to_thread(_open, chosen, path)
    try:
        return await _import(CatalogRepository(pool), chosen, file, report)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        file.close()


def _open(chosen: _Format, path: Path) -> TextIO:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the path of a catalog file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the path of a catalog file in it")
    return chosen.open(path)


async def _import(
    repository: CatalogRepository,
    chosen: _Format,
    file: TextIO,
    report: Callable[[int, int, int], None] | None,
) -> ImportReport:
    products = variants = 0
    rejected: list[RejectedRow] = []
    items = chosen.read(file)
    # The first batch is read before anything is written: what is no catalog leaves no trace.
    batch = await asyncio.to_thread(_next_batch, items)
    await repository.add_warehouses(chosen.warehouses)
    while batch.located or batch.rejected:
        rejected.extend(batch.rejected)
        if batch.located:
            counts = await repository.import_products([item.product for item in batch.located])
            rejected.extend(_at_their_lines(batch.located, counts.rejected))
            products += counts.products
            variants += counts.variants
        if report:
            report(products, variants, len(rejected))
        batch = await asyncio.to_thread(_next_batch, items)
    rejected.sort(key=lambda row: row.line)
    return ImportReport(products=products, variants=variants, rejected=tuple(rejected))


def _next_batch(items: Iterator[LocatedProduct | RejectedRow]) -> _Batch:
    batch = _Batch()
    for item in islice(items, ITEMS_PER_BATCH_MAX):
        if isinstance(item, RejectedRow):
            batch.rejected.append(item)
            continue
        batch.located.append(item)
        if len(batch.located) == BATCH_PRODUCTS:
            break
    return batch


def _at_their_lines(
    located: list[LocatedProduct], rejections: tuple[Rejection, ...]
) -> Iterator[RejectedRow]:
    """The catalog's rejections as rows of the file."""
    if not rejections:
        return
    lines = {
        (item.product.handle, variant.sku): line
        for item in located
        for variant, line in zip(item.product.variants, item.variant_lines, strict=True)
    }
    for rejection in rejections:
        line = lines[rejection.handle, rejection.sku]
        yield RejectedRow(line=line, reason=rejection.reason)
