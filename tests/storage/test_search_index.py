"""The search index: what is found, in which order, what is counted, and that no text breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalog import ListedPair, ListedProduct, ListedVariant
from domain.ids import new_uuid7
from storage.search_facets import PRICE_BUCKETS_MAX, FacetCount
from storage.search_index import (
    HITS_REACHABLE_MAX,
    LIMIT_MAX,
    WORDS_MAX,
    PageTooDeep,
    SearchIndex,
    SearchPage,
    SearchQuery,
)

SELLER = UUID(int=7)


def product(number: int, name: str, **changes: object) -> ListedProduct:
    """A product; of two, the one with the higher number is newer."""
    pair = ListedPair(inventory_id=UUID(int=number), warehouse_id=UUID(int=1))
    variant = ListedVariant(
        variant_id=UUID(int=number),
        sku=f"S-{number}",
        price_minor=1000,
        attributes={},
        pairs=(pair,),
    )
    plain = ListedProduct(
        product_id=new_uuid7(1_700_000_000_000 + number, bytes(10)),
        handle=f"p-{number}",
        name=name,
        description="",
        category="",
        tags=(),
        seller_id=SELLER,
        seller="House",
        price_minor=1000,
        currency="USD",
        picture=None,
        status="active",
        variants=(variant,),
    )
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def index_of(*products: ListedProduct) -> SearchIndex:
    index = SearchIndex()
    index.apply(products)
    return index


def page(index: SearchIndex, text: str = "", **rest: Any) -> SearchPage:
    found = index.search(SearchQuery(text=text, **rest))
    assert isinstance(found, SearchPage)
    return found


def names(index: SearchIndex, text: str = "", **rest: Any) -> list[str]:
    return [hit.name for hit in page(index, text, **rest).hits]


SHOP: Sequence[ListedProduct] = (
    product(1, "Trail Running Shoes", category="Apparel > Footwear", price_minor=8900),
    product(2, "Leather Shoes", category="Apparel > Footwear", price_minor=14900),
    product(3, "Crème Brûlée Set", category="Home & Kitchen", seller="Café Noir"),
    product(4, "Rain Jacket", category="Apparel", tags=("running", "outdoor"), price_minor=12000),
    product(5, "Desk Lamp", description="A lamp for long evenings beside your running shoes"),
)


@pytest.fixture(scope="module")
def shop() -> SearchIndex:
    return index_of(*SHOP)


def test_a_hit_carries_what_a_list_shows(shop: SearchIndex) -> None:
    (hit,) = page(shop, "leather").hits
    assert hit.product_id == SHOP[1].product_id
    assert (hit.name, hit.price_minor, hit.currency) == ("Leather Shoes", 14900, "USD")
    assert (hit.seller_id, hit.seller) == (SELLER, "House")
    assert hit.pairs == {UUID(int=2): (UUID(int=2),)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("leather shoe", ["Leather Shoes"]),  # stems
        ("CREME brulee", ["Crème Brûlée Set"]),  # letter case and accents
        ("cafe noir", ["Crème Brûlée Set"]),  # brand
        ("kitchen", ["Crème Brûlée Set"]),  # category
        ("outdoor", ["Rain Jacket"]),  # tags
        ("evenings", ["Desk Lamp"]),  # description
        ("leath", ["Leather Shoes"]),  # as one types
        ("leather sh", ["Leather Shoes"]),
        ("the desk with lamp", ["Desk Lamp"]),  # words that say nothing
        ("lether ", ["Leather Shoes"]),  # misspelt
        ("jakcet ", ["Rain Jacket"]),  # swapped
        ("apparel jacket", ["Rain Jacket"]),  # words of several fields
        ("zzzzzz", []),
        ("zz", []),
        ("!!! ???", []),
        ("😀", []),
    ],
)
def test_what_is_found(shop: SearchIndex, text: str, expected: list[str]) -> None:
    assert names(shop, text) == expected


def test_a_finished_word_is_no_prefix(shop: SearchIndex) -> None:
    assert names(shop, "jack") == ["Rain Jacket"]
    assert names(shop, "lam ") == []


def test_all_words_come_before_any_word(shop: SearchIndex) -> None:
    assert set(names(shop, "running shoes")) == {"Trail Running Shoes", "Desk Lamp"}
    assert set(names(shop, "leather jacket")) == {"Leather Shoes", "Rain Jacket"}


def test_the_name_counts_most(shop: SearchIndex) -> None:
    assert names(shop, "running")[0] == "Trail Running Shoes"
    assert names(shop, "lamp running") == ["Desk Lamp"]


def test_whole_words_come_before_beginnings() -> None:
    index = index_of(product(1, "Cap"), product(2, "Capsule Machine"))
    assert names(index, "cap") == ["Cap", "Capsule Machine"]


def test_no_text_lists_the_newest_first(shop: SearchIndex) -> None:
    expected = [listed.name for listed in reversed(SHOP)]
    assert names(shop) == expected
    assert names(shop, "  ") == expected


def test_equal_scores_come_newest_first() -> None:
    index = index_of(*(product(number, "Blue Mug") for number in range(1, 8)))
    hits = page(index, "mug").hits
    assert all(a.product_id > b.product_id for a, b in pairwise(hits))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"category": "apparel"}, {1, 2, 4}),
        ({"category": "Apparel > Footwear"}, {1, 2}),
        ({"category": "home-kitchen"}, {3}),
        ({"category": "nowhere"}, set()),
        ({"category": ""}, set()),
        ({"brand": "CAFE noir"}, {3}),
        ({"min_price_minor": 8900}, {1, 2, 4}),
        ({"max_price_minor": 8900}, {1, 3, 5}),
        ({"min_price_minor": 8901, "max_price_minor": 12000}, {4}),
        ({"min_price_minor": 10**30}, set()),
        ({"max_price_minor": 10**30}, {1, 2, 3, 4, 5}),
        ({"min_price_minor": -5, "max_price_minor": -1}, set()),
        ({"text": "shoes", "max_price_minor": 10000, "category": "footwear"}, set()),
        ({"text": "shoes", "max_price_minor": 10000, "category": "apparel"}, {1}),
    ],
)
def test_filters(shop: SearchIndex, filters: dict[str, Any], expected: set[int]) -> None:
    found = page(shop, **filters)
    assert {next(iter(hit.pairs)).int for hit in found.hits} == expected
    assert found.total == len(expected)


def test_changes_replace_and_withdrawals_leave(shop: SearchIndex) -> None:
    index = index_of(*SHOP)
    index.apply([replace(SHOP[0], name="Road Shoes"), replace(SHOP[1], status="archived")])
    index.apply([replace(SHOP[3], status="draft")])
    assert index.size == 3
    assert names(index, "trail") == []
    assert names(index, "road shoes") == ["Road Shoes"]
    assert names(index, "leather") == []
    index.apply(SHOP)
    assert names(index) == names(shop)


def test_the_last_of_two_states_counts() -> None:
    index = index_of(product(1, "Old"), product(1, "New"))
    assert names(index) == ["New"]
    index.apply([product(1, "Newer"), replace(product(1, "Newest"), status="archived")])
    assert names(index) == []
    index.apply([])
    assert index.size == 0


def test_pages_follow_one_another() -> None:
    index = index_of(*(product(number, f"Mug {number}") for number in range(45)))
    seen = [hit for number in (1, 2, 3) for hit in page(index, "mug", page=number).hits]
    assert len({hit.product_id for hit in seen}) == 45
    assert page(index, "mug", page=3).total == 45
    assert page(index, "mug", page=4).hits == ()
    assert page(index, "mug", page=4).total == 45


def test_depth_is_bounded(shop: SearchIndex) -> None:
    deepest = HITS_REACHABLE_MAX // LIMIT_MAX
    assert isinstance(shop.search(SearchQuery(page=deepest, limit=LIMIT_MAX)), SearchPage)
    refused = shop.search(SearchQuery(page=deepest + 1, limit=LIMIT_MAX))
    assert refused == PageTooDeep(page=deepest + 1, limit=LIMIT_MAX)
    for wrong in (SearchQuery(page=0), SearchQuery(limit=0), SearchQuery(limit=LIMIT_MAX + 1)):
        with pytest.raises(ValueError, match="cannot be shown"):
            shop.search(wrong)


def test_facets_count_all_results_not_the_page(shop: SearchIndex) -> None:
    facets = page(shop, limit=1).facets
    assert facets.brands == (
        FacetCount(name="House", count=4),
        FacetCount(name="Café Noir", count=1),
    )
    assert facets.categories == (
        FacetCount(name="Apparel > Footwear", count=2),
        FacetCount(name="Apparel", count=1),
        FacetCount(name="Home & Kitchen", count=1),
    )
    assert page(shop, "zzzzzz").facets.brands == ()


def test_price_ranges_read_as_in_a_shop() -> None:
    prices = [50000, 64900, 99999, 100000, 129900, 149900, 150000, 189900, 249900]
    index = index_of(*(product(n, "Laptop", price_minor=p) for n, p in enumerate(prices)))
    labels = [bucket.label for bucket in page(index, "laptop").facets.prices]
    assert labels == ["$500-$750", "$750-$1500", "$1500-$2000", "$2000+"]
    one = page(index, max_price_minor=50000).facets.prices
    assert [bucket.label for bucket in one] == ["$500-$750"]


def test_price_ranges_carry_the_currency() -> None:
    for currency, label in (("JPY", "¥1000-¥1500"), ("EUR", "€10-€15"), ("SEK", "SEK 10-SEK 15")):
        index = SearchIndex(currency=currency)
        index.apply([product(1, "Mug", currency=currency)])
        assert [bucket.label for bucket in page(index).facets.prices] == [label]


@settings(deadline=None, max_examples=30)  # each builds an index
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40))
def test_price_ranges_share_out_all_results(prices: list[int]) -> None:
    index = index_of(*(product(n, "Thing", price_minor=price) for n, price in enumerate(prices)))
    buckets = page(index).facets.prices
    assert 1 <= len(buckets) <= PRICE_BUCKETS_MAX
    assert sum(bucket.count for bucket in buckets) == len(prices)
    for bucket in buckets:
        low, high = bucket.min_minor, bucket.max_minor
        assert bucket.count == page(index, min_price_minor=low, max_price_minor=high).total


@pytest.mark.parametrize(
    "text",
    [
        '"trail shoes',
        "name:shoes AND (category:*",
        "shoes^99 ~2 [a TO z] {b} \\ / && || !",
        "shoes\x00\x00",
        "x" * 10_000,
        "shoes " * 2_000,
        " ".join(f"word{number}" for number in range(WORDS_MAX * 3)),
        "\ud83d",
        "日本語 ① ﬁ ß",
    ],
)
def test_hostile_text_is_only_words(shop: SearchIndex, text: str) -> None:
    assert page(shop, text).total <= len(SHOP)
    assert page(shop, category=text).total == 0
    assert page(shop, brand=text).total == 0


@settings(deadline=None)
@given(text=st.text() | st.text(st.sampled_from('abes "*:()[]{}^~\\/-+!\x00é😀')))
def test_no_text_makes_the_search_fail(text: str) -> None:
    assert page(_SHARED, text).total <= len(SHOP)
    assert page(_SHARED, category=text, brand=text).total <= len(SHOP)


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=1, max_size=200), st.text(max_size=200))
def test_any_text_can_be_listed(name: str, other: str) -> None:
    index = index_of(
        product(1, name, description=other, category=other, seller=name, tags=(other,))
    )
    assert names(index) == [name]
    assert page(index, brand=name).total in (0, 1)


_SHARED = index_of(*SHOP)


def test_searching_goes_on_while_changes_are_applied() -> None:
    index = index_of(*SHOP)
    renamed = [replace(listed, name=f"Other {listed.name}") for listed in SHOP]

    def change() -> None:
        for _ in range(10):
            index.apply(renamed)
            index.apply(SHOP)

    worker = Thread(target=change)
    worker.start()
    while worker.is_alive():
        found = names(index)
        assert len(found) == len(SHOP)
        assert len({name.startswith("Other") for name in found}) == 1  # all of a commit or nothing
    worker.join()
    assert names(index) == [listed.name for listed in reversed(SHOP)]


def test_an_index_in_a_folder_is_found_again(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path / "index")
    index.apply(SHOP)
    del index
    again = SearchIndex(tmp_path / "index")
    assert names(again, "leather") == ["Leather Shoes"]
    again.apply([replace(SHOP[1], status="archived")])
    assert names(again, "leather") == []
