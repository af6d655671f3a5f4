"""The pictures that the shop draws itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.pictures import (
    _SHAPES,
    _WORDS_BY_SHAPE,
    PICTURE_BYTES_MAX,
    draw_product,
    shape_of,
)

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("shape", sorted(_WORDS_BY_SHAPE))
def test_every_shape_is_small_well_formed_svg(shape: str) -> None:
    word = _WORDS_BY_SHAPE[shape].split()[0]
    for seed in range(8):
        picture = draw_product(word, "", f"{shape}-{seed}")
        assert len(picture.encode()) <= PICTURE_BYTES_MAX
        root = ET.fromstring(picture)
        assert root.tag == f"{_SVG}svg"
        assert root.get("viewBox") == "0 0 480 480"
        assert "$" not in picture


def test_shapes_and_words_name_the_same_things() -> None:
    assert set(_WORDS_BY_SHAPE) <= set(_SHAPES)
    assert all(shape_of(word, "") == word for word in ("shoe", "laptop", "mug", "lamp", "backpack"))


def test_no_word_calls_for_two_shapes() -> None:
    words = [word for words in _WORDS_BY_SHAPE.values() for word in words.split()]
    assert sorted(words) == sorted(set(words))


def test_the_same_product_always_gets_the_same_picture() -> None:
    assert draw_product("Trail Runner", "Footwear", "a") == draw_product(
        "Trail Runner", "Footwear", "a"
    )
    assert draw_product("Trail Runner", "Footwear", "a") != draw_product(
        "Trail Runner", "Footwear", "b"
    )


@pytest.mark.parametrize(
    ("name", "category", "shape"),
    [
        ("Chic Caramel Leather Backpack", "Accessories", "backpack"),
        ("Coffee Table", "Furniture", "table"),
        ("Wireless Headphones", "Electronics", "headphones"),
        ("Zephyr One", "Footwear", "shoe"),
        ("Zephyr One", "Homedecor", "cushion"),
        ("Zephyr One", "Something else", "box"),
        ("", "", "box"),
    ],
)
def test_the_name_decides_before_the_category(name: str, category: str, shape: str) -> None:
    assert shape_of(name, category) == shape


def test_the_title_is_escaped_and_cut() -> None:
    picture = draw_product("<script>&\"'" + "x" * 1000, "Toys & <Games>", "s")
    root = ET.fromstring(picture)
    title = root.findtext(f"{_SVG}title")
    assert title is not None
    assert title.startswith("<script>&\"'")
    assert len(title) == 160
    assert "<script>" not in picture


@given(name=st.text(max_size=300), category=st.text(max_size=30), seed=st.text(max_size=30))
def test_any_text_gives_well_formed_svg_within_the_bound(
    name: str, category: str, seed: str
) -> None:
    picture = draw_product(name, category, seed)
    assert len(picture.encode()) <= PICTURE_BYTES_MAX
    ET.fromstring(picture.encode())
