"""The Shopify product export, read row by row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog import Product, RejectedRow
from gateways.html_text import text_of_html
from gateways.shopify_csv import (
    DEFAULT_SELLER,
    MAIN_WAREHOUSE,
    LocatedProduct,
    open_export,
    read_located_products,
    read_products,
)

_COLUMNS = (
    "Handle",
    "Title",
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
    "Variant SKU",
    "Variant Grams",
    "Variant Inventory Qty",
    "Variant Price",
    "Image Src",
    "Status",
)
_SHARED_CATALOG = Path(__file__).resolve().parents[3] / "shared/data/catalog.shopify.csv"


def _row(handle: str = "mug", **cells: str) -> dict[str, str]:
    """A whole first row of a product; `Variant_SKU` names the column `Variant SKU`."""
    row = {
        "Handle": handle,
        "Title": "A Mug",
        "Variant SKU": f"SKU-{handle}",
        "Variant Price": "9.99",
        "Variant Inventory Qty": "5",
        "Status": "active",
        "Published": "TRUE",
    }
    return row | {name.replace("_", " "): value for name, value in cells.items()}


def _more(handle: str = "mug", **cells: str) -> dict[str, str]:
    """A further row of the same product."""
    return _row(handle, Title="", Published="", **cells)


def _file(*rows: dict[str, str], end: str = "\r\n") -> io.StringIO:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _COLUMNS, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return io.StringIO(out.getvalue(), newline="")


def _read(*rows: dict[str, str]) -> tuple[list[Product], list[RejectedRow]]:
    return _split(_file(*rows))


def _split(file: io.TextIOBase) -> tuple[list[Product], list[RejectedRow]]:
    items = list(read_products(file))  # type: ignore[arg-type]
    products = [item for item in items if isinstance(item, Product)]
    return products, [item for item in items if isinstance(item, RejectedRow)]


def test_a_product_with_variants() -> None:
    products, rejected = _read(
        _row(
            **{"Body (HTML)": "<p>Warm &amp; <b>dry</b>.</p><ul><li>Light</li></ul>"},
            Vendor="Tarn & Tor",
            Product_Category="Apparel > Jackets",
            Tags="jacket, rain, jacket",
            Option1_Name="Size",
            Option1_Value="S",
            Option2_Name="Colour",
            Option2_Value="Red",
            Variant_Grams="420",
            Image_Src="https://cdn.example/jacket.jpg",
        ),
        _more(Option1_Value="M", Option2_Value="Red", Variant_SKU="J-M", Variant_Price="12"),
        _more(Variant_SKU="", Variant_Price="", Image_Src="https://cdn.example/back.jpg"),
        _more(Option1_Value="L", Option2_Value="Red", Variant_SKU="J-L", Variant_Price="12.5"),
    )
    assert rejected == []
    (product,) = products
    assert product.name == "A Mug"
    assert product.description == "Warm & dry.\n• Light"
    assert product.seller == "Tarn & Tor"
    assert product.category == "Apparel"
    assert product.tags == ("jacket", "rain")
    assert product.picture == "https://cdn.example/jacket.jpg"
    assert [v.sku for v in product.variants] == ["SKU-mug", "J-M", "J-L"]
    assert [v.price_minor for v in product.variants] == [999, 1200, 1250]
    assert product.variants[2].attributes == {"Size": "L", "Colour": "Red"}
    assert product.variants[0].weight_grams == 420
    assert product.variants[0].stock == {MAIN_WAREHOUSE.code: 5}


def test_a_product_without_options_gets_the_defaults() -> None:
    products, _ = _read(
        _row(Option1_Name="Title", Option1_Value="Default Title", Type="mugs", Image_Src="a.jpg")
    )
    (product,) = products
    assert product.variants[0].attributes == {}
    assert product.seller == DEFAULT_SELLER
    assert product.category == "mugs"
    assert product.picture is None


def test_a_missing_sku_is_derived_and_stable() -> None:
    rows = (
        _row(Variant_SKU="", Option1_Name="Size", Option1_Value="S/M"),
        _more(Variant_SKU="", Option1_Value="S M"),
        _row("ü" * 200, Variant_SKU=""),
    )
    (first, second), _ = _read(*rows)
    again, _ = _read(*rows)
    skus = [v.sku for p in (first, second) for v in p.variants]
    assert skus == [v.sku for p in again for v in p.variants]
    assert len(set(skus)) == 3
    assert skus[0].startswith("MUG-S-M-")
    assert max(map(len, skus)) <= 100


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"Variant_Price": "abc"}, "'abc' is not an amount"),
        ({"Variant_Price": "12,99"}, "is not an amount"),
        ({"Variant_Price": "1.999"}, "is not an amount"),
        ({"Variant_Price": "1e3"}, "is not an amount"),
        ({"Variant_Price": "٣"}, "is not an amount"),
        ({"Variant_Price": "-1"}, "negative"),
        ({"Variant_Price": "99999999999.99"}, "above"),
        ({"Variant_Price": ""}, "Variant Price is missing"),
        ({"Variant_Inventory_Qty": "-3"}, "not within"),
        ({"Variant_Inventory_Qty": "1000000001"}, "not within"),
        ({"Variant_Inventory_Qty": "many"}, "not a whole number"),
        ({"Variant_Inventory_Qty": "1.5"}, "not a whole number"),
        ({"Variant_Grams": "-2"}, "not a weight"),
        ({"Variant_Grams": "9" * 12}, "not a weight"),
        ({"Variant_SKU": "x" * 101}, "101 characters"),
        ({"Variant_SKU": "a\0b"}, "Variant SKU contains a NUL"),
        ({"Variant_SKU": "SKU-first"}, "already given to line 2"),
        ({"Title": ""}, "Title is missing"),
        ({"Title": "x" * 501}, "501 characters"),
        ({"Title": "a\0"}, "Title contains a NUL"),
        ({"Handle": ""}, "Handle is missing"),
        ({"Handle": "h" * 256}, "256 characters"),
        ({"Handle": "first"}, "came before"),
        ({"Vendor": "v" * 201}, "201 characters"),
        ({"Status": "sold"}, "'sold' is none of"),
        ({"Published": "maybe"}, "neither TRUE nor FALSE"),
    ],
)
def test_a_bad_row_is_reported_and_skips_only_itself(cells: dict[str, str], reason: str) -> None:
    products, rejected = _read(
        _row("first"), _row("between"), _row("bad") | _renamed(cells), _row("last")
    )
    assert [p.handle for p in products] == ["first", "between", "last"]
    (row,) = rejected
    assert row.line == 4
    assert reason in row.reason


def _renamed(cells: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): value for name, value in cells.items()}


def test_a_bad_first_variant_leaves_the_product_its_others() -> None:
    products, rejected = _read(_row(Variant_Price="x"), _more(Variant_SKU="B"))
    assert [v.sku for v in products[0].variants] == ["B"]
    assert [row.line for row in rejected] == [2]


def test_rows_whose_product_was_left_out_say_so() -> None:
    products, rejected = _read(
        _row(Title=""), _more(Variant_SKU="B"), _row(Variant_SKU="C"), _row("next")
    )
    assert [(p.handle, len(p.variants)) for p in products] == [("mug", 1), ("next", 1)]
    assert [row.line for row in rejected] == [2, 3]
    assert "left out at line 2" in rejected[1].reason


def test_status_and_published() -> None:
    products, _ = _read(
        _row("a"),
        _row("b", Status="draft"),
        _row("c", Status="archived", Published="FALSE"),
        _row("d", Published="false"),
        _row("e", Status=""),
    )
    statuses = {p.handle: p.status for p in products}
    assert statuses == {"a": "active", "b": "draft", "c": "archived", "d": "draft", "e": "active"}


def test_lines_are_physical_lines() -> None:
    file = _file(
        _row("a", **{"Body (HTML)": "one\r\ntwo\r\nthree"}),
        _row("b", Variant_Price="x"),
        _row("c", Option1_Name="Size", Option1_Value="S"),
        _more("c", Option1_Value="M", Variant_SKU="c-m"),
    )
    items = list(read_located_products(file))
    assert [i.line for i in items if isinstance(i, RejectedRow)] == [5]
    located = [i.variant_lines for i in items if isinstance(i, LocatedProduct)]
    assert located == [(2,), (6, 7)]


def test_blank_lines_and_empty_rows_are_passed_over() -> None:
    text = _file(_row("a"), _row("b", Variant_Price="x")).getvalue()
    lines = text.splitlines(keepends=True)
    lines[2:2] = ["\r\n", "," * (len(_COLUMNS) - 1) + "\r\n"]
    products, rejected = _split(io.StringIO("".join(lines), newline=""))
    assert [p.handle for p in products] == ["a"]
    assert [row.line for row in rejected] == [5]


@pytest.mark.parametrize(
    "broken",
    [
        'x,"unclosed\r\n',
        'x,"closed"tail\r\n',
        "x,too,few\r\n",
        "x" + "," * 40 + "\r\n",
        "x," + "y" * 200_000 + "\r\n",
        "x," + "y" * 1_200_000 + "\r\n",
    ],
    ids=["unclosed", "tail", "few", "many", "long cell", "long line"],
)
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_row_that_is_not_csv_skips_only_itself(broken: str, place: int) -> None:
    lines = _file(_row("a"), _row("b", **{"Body (HTML)": 'a "quoted", word'})).getvalue()
    parts = lines.splitlines(keepends=True)
    parts.insert(place, broken)
    products, rejected = _split(io.StringIO("".join(parts), newline=""))
    assert [p.handle for p in products] == ["a", "b"]
    assert [row.line for row in rejected] == [place + 1]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends(tmp_path: Path, end: str) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(
        _file(_row("a", Title="Tasse für Süßes ☕"), end=end).getvalue().encode("utf-8-sig")
    )
    with open_export(path) as file:
        (product,) = read_products(file)
    assert isinstance(product, Product)
    assert product.name == "Tasse für Süßes ☕"


def test_another_encoding_costs_the_rows_that_show_it(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(
        _file(_row("a"), _row("b", Title="Café"), _row("c")).getvalue().encode("cp1252")
    )
    with open_export(path) as file:
        items = list(read_products(file))
    assert [i.handle for i in items if isinstance(i, Product)] == ["a", "c"]
    (rejected,) = [i for i in items if isinstance(i, RejectedRow)]
    assert rejected.line == 3
    assert "0xe9" in rejected.reason
    assert "UTF-8" in rejected.reason


def test_a_strictly_decoded_file_in_another_encoding_is_refused() -> None:
    raw = io.BytesIO(_file(_row("a", Title="Café")).getvalue().encode("cp1252"))
    with pytest.raises(ValueError, match=r"0xe9 somewhere after line \d is not UTF-8"):
        list(read_products(io.TextIOWrapper(raw, encoding="utf-8", newline="")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b'{"products": []}', "missing columns 'Handle', 'Title'"),
        (b"Handle;Title;Variant SKU\r\n", "missing columns"),
        (b"Handle,Title,Variant SKU,Variant Price\n", "missing column 'Variant Inventory Qty'"),
        (b"Handle,Handle,Title\n", "'Handle' is there twice"),
        (b"PK\x03\x04\xff\xfe\x00\x01", "cannot be read"),
        ("Handle,Title".encode("utf-16"), "cannot be read"),
        (b"\x00\x00\x00", "missing columns"),
    ],
)
def test_what_is_no_export_is_refused_whole(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(content)
    with open_export(path) as file, pytest.raises(ValueError, match=message):
        list(read_products(file))


def test_columns_come_in_any_order_and_unknown_ones_are_ignored() -> None:
    text = (
        "Variant Price,Colour (metafield),Title,Variant Inventory Qty,Variant SKU,handle\n"
        "5,blue,A Cup,1,C-1,cup\n"
    )
    products, rejected = _split(io.StringIO(text))
    assert rejected == []
    assert products[0].variants[0].price_minor == 500


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused_with_a_value_error(text: str) -> None:
    header = "Handle,Title,Variant SKU,Variant Price,Variant Inventory Qty\n"
    _split(io.StringIO(header + text, newline=""))


@given(st.text(alphabet="<>&;/p brli=\"'!-\n#x3", max_size=200))
def test_any_markup_becomes_text(html: str) -> None:
    assert isinstance(text_of_html(html), str)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain\n words", "plain words"),
        ("<p>One</p>\n<p>Two<br>Three</p>", "One\nTwo\nThree"),
        ("a<script>alert('x')</script>b<style>p{}</style>c", "abc"),
        ("<table><tr><td>Width</td><td>3&nbsp;cm</td></tr></table>", "Width 3 cm"),
        ("5 < 6 & 7", "5 < 6 & 7"),
        ("<b>un<i>closed", "unclosed"),
        ("&lt;script&gt;", "<script>"),
    ],
)
def test_the_text_of_a_description(html: str, text: str) -> None:
    assert text_of_html(html) == text


@pytest.mark.skipif(
    not _SHARED_CATALOG.exists(), reason="the shared catalog is not on this machine"
)
def test_the_shared_catalog_loads_whole() -> None:
    with open_export(_SHARED_CATALOG) as file:
        items = list(read_products(file))
    products = [item for item in items if isinstance(item, Product)]
    assert len(products) == len(items) == 2465
    assert sum(len(product.variants) for product in products) == 3722
