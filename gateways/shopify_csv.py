"""Shopify's product export (CSV), read one product at a time.

Format: https://help.shopify.com/en/manual/products/import-export/using-csv. The rows of one
handle follow one another: the first carries the product and its first variant, the next ones
further variants, or only further pictures.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from domain.catalog import (
    HANDLE_LENGTH_MAX,
    NAME_LENGTH_MAX,
    PRICE_MINOR_MAX,
    QUANTITY_MAX,
    SKU_LENGTH_MAX,
    Product,
    RejectedRow,
    Variant,
    Warehouse,
)
from gateways.csv_records import CsvRecord, read_records
from gateways.html_text import text_of_html

DEFAULT_SELLER = "Doorbuster"
SELLER_LENGTH_MAX = 200
VARIANTS_PER_PRODUCT_MAX = 2048  # Shopify's own limit
WEIGHT_GRAMS_MAX = 100_000_000
MAIN_WAREHOUSE = Warehouse(
    code="MAIN", name="Main warehouse", country="US", lat=40.7357, lon=-74.1724
)
"""Where the export's one quantity per variant is received."""

REQUIRED_COLUMNS = ("Handle", "Title", "Variant SKU", "Variant Price", "Variant Inventory Qty")
OPTIONAL_COLUMNS = (
    "Body (HTML)",
    "Vendor",
    "Product Category",
    "Type",
    "Tags",
    "Published",
    "Option1 Name",
    "Option1 Value",
    "Option2 Name",
    "Option2 Value",
    "Option3 Name",
    "Option3 Value",
    "Variant Grams",
    "Image Src",
    "Status",
)
_OPTION_NUMBERS = (1, 2, 3)
_NO_OPTION = "Default Title"  # the value of a product without options
_STATUSES = {"": "active", "active": "active", "draft": "draft", "archived": "archived"}
_PRICE = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,2}))?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_WEIGHT = re.compile(r"([0-9]{1,12})(?:\.[0-9]*)?")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedProduct:
    """A product and, variant by variant, the line of the file that it came from."""

    product: Product
    variant_lines: tuple[int, ...]


class _RowError(Exception):
    """Why a row is left out."""


class _Row:
    """One record's cells by column name."""

    def __init__(self, record: CsvRecord, columns: dict[str, int]) -> None:
        self.line = record.line
        self._cells = record.cells
        self._columns = columns

    def text(self, column: str) -> str:
        """The trimmed cell, empty if the export lacks the column; _RowError if it has a NUL."""
        position = self._columns.get(column)
        if position is None:
            return ""
        value = self._cells[position].strip()
        if "\0" in value:
            raise _RowError(f"{column} contains a NUL character")
        return value

    def has_variant(self) -> bool:
        wanted = ("Variant SKU", "Variant Price", *(f"Option{n} Value" for n in _OPTION_NUMBERS))
        return any(self.text(column) for column in wanted)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """The product in the making."""

    handle: str
    head: Product
    option_names: tuple[str, ...]
    variants: list[Variant] = field(default_factory=list[Variant])
    lines: list[int] = field(default_factory=list[int])

    def finished(self) -> LocatedProduct:
        head = self.head
        product = Product(
            handle=head.handle,
            name=head.name,
            description=head.description,
            category=head.category,
            seller=head.seller,
            tags=head.tags,
            variants=tuple(self.variants),
            picture=head.picture,
            status=head.status,
        )
        return LocatedProduct(product=product, variant_lines=tuple(self.lines))


def open_export(path: Path) -> TextIO:
    """Open an export such that a bad byte costs its row only (see `read_records`)."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_products(lines: TextIO) -> Iterator[Product | RejectedRow]:
    """The products of an export, and the rows that were left out with line and reason.

    Prices become integer cents, weights grams, quantities units at MAIN_WAREHOUSE. Memory is
    bounded by one product and the handles and SKUs seen so far. Raises ValueError if the file
    is empty, is no CSV, or lacks one of REQUIRED_COLUMNS.
    """
    for item in read_located_products(lines):
        yield item if isinstance(item, RejectedRow) else item.product


def read_located_products(lines: TextIO) -> Iterator[LocatedProduct | RejectedRow]:
    """As `read_products`, with the line that each variant came from."""
    records = read_records(lines)
    header = next(records, None)
    columns = _columns(header)
    width = len(header.cells) if isinstance(header, CsvRecord) else 0
    assembler = _Assembler()
    for record in records:
        if isinstance(record, RejectedRow):
            yield record
        elif not any(cell.strip() for cell in record.cells):
            continue
        elif len(record.cells) != width:
            yield RejectedRow(
                line=record.line,
                reason=f"the row has {len(record.cells)} cells where the header has {width};"
                " put quotes around a cell with commas",
            )
        else:
            yield from assembler.take(_Row(record, columns))
    yield from assembler.finish()


def _columns(header: CsvRecord | RejectedRow | None) -> dict[str, int]:
    """Positions of the columns we read, by name."""
    if header is None:
        raise ValueError("the file is empty: a Shopify export begins with a row of column names")
    if isinstance(header, RejectedRow):
        raise ValueError(f"line {header.line}: the column names cannot be read: {header.reason}")
    known = {name.casefold(): name for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)}
    columns: dict[str, int] = {}
    for position, cell in enumerate(header.cells):
        name = known.get(cell.strip().lstrip("\ufeff").casefold())
        if name in columns:
            raise ValueError(f"line {header.line}: the column {name!r} is there twice; remove one")
        if name:
            columns[name] = position
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise ValueError(
            f"line {header.line}: not a Shopify product export: missing column"
            f"{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))};"
            " export the products from Shopify as CSV, with commas between the cells"
        )
    return columns


class _Assembler:
    """Puts rows together to products; every row either goes in or is reported."""

    def __init__(self) -> None:
        self._draft: _Draft | None = None
        self._last_handle = ""
        self._last_line = 0
        self._finished: set[str] = set()
        self._line_of_sku: dict[str, int] = {}

    def take(self, row: _Row) -> Iterator[LocatedProduct | RejectedRow]:
        try:
            handle = _handle(row)
        except _RowError as error:
            yield RejectedRow(line=row.line, reason=str(error))
            return
        if handle != self._last_handle:
            yield from self.finish()
        try:
            self._place(row, handle)
        except _RowError as error:
            yield RejectedRow(line=row.line, reason=str(error))

    def finish(self) -> Iterator[LocatedProduct | RejectedRow]:
        """Hand out the product in the making, unless all its variants were left out."""
        draft, self._draft = self._draft, None
        if draft:
            self._finished.add(draft.handle)
        if draft and draft.variants:
            yield draft.finished()

    def _place(self, row: _Row, handle: str) -> None:
        begins = self._draft is None
        if begins:
            self._draft = self._begin(row, handle)
        draft = self._draft
        assert draft is not None
        if not begins and not row.has_variant():
            return  # only a further picture
        if len(draft.variants) >= VARIANTS_PER_PRODUCT_MAX:
            raise _RowError(
                f"product {handle!r} has more than {VARIANTS_PER_PRODUCT_MAX:,} variants"
            )
        variant = _variant(row, draft)
        if earlier := self._line_of_sku.get(variant.sku):
            raise _RowError(f"SKU {variant.sku!r} was already given to line {earlier}")
        self._line_of_sku[variant.sku] = row.line
        draft.variants.append(variant)
        draft.lines.append(row.line)

    def _begin(self, row: _Row, handle: str) -> _Draft:
        follows = handle == self._last_handle
        self._last_handle = handle
        if handle in self._finished:
            raise _RowError(f"handle {handle!r} came before; put its rows one after the other")
        if follows and not row.text("Title"):
            raise _RowError(f"product {handle!r} was left out at line {self._last_line}")
        self._last_line = row.line
        names = tuple(row.text(f"Option{n} Name") or f"Option {n}" for n in _OPTION_NUMBERS)
        return _Draft(handle=handle, head=_head(row, handle), option_names=names)


def _handle(row: _Row) -> str:
    return _bounded(row, "Handle", HANDLE_LENGTH_MAX)


def _bounded(row: _Row, column: str, length_max: int) -> str:
    value = row.text(column)
    if not value:
        raise _RowError(f"{column} is missing")
    if len(value) > length_max:
        raise _RowError(f"{column} is {len(value):,} characters long; the most is {length_max}")
    return value


def _head(row: _Row, handle: str) -> Product:
    """What the first row says of the product; its variants follow."""
    seller = row.text("Vendor") or DEFAULT_SELLER
    if len(seller) > SELLER_LENGTH_MAX:
        raise _RowError(
            f"Vendor is {len(seller):,} characters long; the most is {SELLER_LENGTH_MAX}"
        )
    # A taxonomy path such as "Apparel > Shirts" is filed under its first part.
    category = row.text("Product Category").partition(">")[0].strip() or row.text("Type")
    tags = [tag.strip() for tag in row.text("Tags").split(",")]
    return Product(
        handle=handle,
        name=_bounded(row, "Title", NAME_LENGTH_MAX),
        description=text_of_html(row.text("Body (HTML)")),
        category=category,
        seller=seller,
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        variants=(),
        picture=_picture(row.text("Image Src")),
        status=_status(row),
    )


def _picture(source: str) -> str | None:
    """An address that a browser can load; a bare file name leads nowhere, so we draw instead."""
    return source if source.startswith(("https://", "http://")) else None


def _status(row: _Row) -> str:
    text = row.text("Status").lower()
    status = _STATUSES.get(text)
    if status is None:
        raise _RowError(f"Status {text[:40]!r} is none of active, draft, archived")
    published = row.text("Published").lower()
    if published not in {"", "true", "false"}:
        raise _RowError(f"Published {published[:40]!r} is neither TRUE nor FALSE")
    return "draft" if status == "active" and published == "false" else status


def _variant(row: _Row, draft: _Draft) -> Variant:
    values = [row.text(f"Option{n} Value") for n in _OPTION_NUMBERS]
    options = [(n, v) for n, v in zip(draft.option_names, values, strict=True) if v]
    sku = row.text("Variant SKU") or _derived_sku(draft.handle, values)
    if len(sku) > SKU_LENGTH_MAX:
        raise _RowError(
            f"Variant SKU is {len(sku):,} characters long; the most is {SKU_LENGTH_MAX}"
        )
    return Variant(
        sku=sku,
        price_minor=_price_minor(row.text("Variant Price")),
        attributes={name: value for name, value in options if value != _NO_OPTION},
        weight_grams=_weight_grams(row.text("Variant Grams")),
        stock={MAIN_WAREHOUSE.code: _quantity(row.text("Variant Inventory Qty"))},
    )


def _derived_sku(handle: str, values: list[str]) -> str:
    """A SKU that the same handle and options get each time, and no others do."""
    parts = [handle, *(v for v in values if v and v != _NO_OPTION)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
    slug = _NOT_SLUG.sub("-", "-".join(parts).lower()).strip("-")
    return f"{slug[: SKU_LENGTH_MAX - 11].rstrip('-')}-{digest}".lstrip("-").upper()


def _price_minor(text: str) -> int:
    if not text:
        raise _RowError("Variant Price is missing")
    if text.startswith("-"):
        raise _RowError(f"Variant Price {text[:40]!r} is negative")
    found = _PRICE.fullmatch(text)
    if not found:
        raise _RowError(f"Variant Price {text[:40]!r} is not an amount such as 129.99")
    price_minor = int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))
    if price_minor > PRICE_MINOR_MAX:
        raise _RowError(f"Variant Price {text[:40]!r} is above {PRICE_MINOR_MAX // 100:,}")
    return price_minor


def _quantity(text: str) -> int:
    if not text:
        return 0
    if not _INTEGER.fullmatch(text):
        raise _RowError(f"Variant Inventory Qty {text[:40]!r} is not a whole number")
    quantity = int(text)
    if not 0 <= quantity <= QUANTITY_MAX:
        raise _RowError(f"Variant Inventory Qty {text[:40]} is not within 0 to {QUANTITY_MAX:,}")
    return quantity


def _weight_grams(text: str) -> int:
    if not text:
        return 0
    found = _WEIGHT.fullmatch(text)
    if not found or int(found[1]) > WEIGHT_GRAMS_MAX:
        raise _RowError(
            f"Variant Grams {text[:40]!r} is not a weight within 0 to {WEIGHT_GRAMS_MAX:,}"
        )
    return int(found[1])
