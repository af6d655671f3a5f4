"""The generated catalog."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from domain.catalog import HANDLE_LENGTH_MAX, NAME_LENGTH_MAX, SKU_LENGTH_MAX
from domain.pictures import FALLBACK_SHAPE, shape_of
from sim.catalog import HOT_SKU, WAREHOUSES, generate_catalog, hot_product

# The catalog of seed 7, hashed. It changes only when the words or the draws are changed on
# purpose; a difference between two versions of Python would show here.
_SEED_7_SHA256 = "4b8fd181757c0f8f985e409d82d4e201da60012d95a8146fee1c60a69231b496"


def test_the_same_seed_gives_the_same_catalog_to_the_byte() -> None:
    digest = hashlib.sha256()
    for product in generate_catalog(7, 500):
        digest.update(repr(product).encode())
    assert digest.hexdigest() == _SEED_7_SHA256


def test_another_seed_gives_another_catalog() -> None:
    assert list(generate_catalog(1, 20)) != list(generate_catalog(2, 20))


def test_a_shorter_catalog_begins_a_longer_one() -> None:
    assert list(generate_catalog(3, 200))[:50] == list(generate_catalog(3, 50))


def test_what_is_listed_is_unique_and_fits() -> None:
    products = list(generate_catalog(11))
    variants = [variant for product in products for variant in product.variants]
    assert len(products) == 2000
    assert len({product.handle for product in products}) == len(products)
    assert len({product.name for product in products}) == len(products)
    assert len({variant.sku for variant in variants}) == len(variants)
    assert HOT_SKU not in {variant.sku for variant in variants}
    assert max(len(product.handle) for product in products) <= HANDLE_LENGTH_MAX
    assert max(len(product.name) for product in products) <= NAME_LENGTH_MAX
    assert max(len(variant.sku) for variant in variants) <= SKU_LENGTH_MAX


def test_the_catalog_looks_like_a_shop() -> None:
    products = list(generate_catalog(5))
    categories = Counter(product.category for product in products)
    assert len(categories) == 12
    assert min(categories.values()) > 40
    codes = {warehouse.code for warehouse in WAREHOUSES}
    assert codes == {"US-EAST", "US-WEST", "EU-WEST"}
    stocked: Counter[str] = Counter()
    for product in products:
        assert product.description
        assert product.tags
        assert shape_of(product.name, product.category) != FALLBACK_SHAPE
        options = {tuple(sorted(v.attributes.items())) for v in product.variants}
        assert len(options) == len(product.variants)
        for variant in product.variants:
            assert variant.price_minor % 100 in {0, 95, 99}
            assert 500 <= variant.price_minor <= 3_000_00
            assert variant.weight_grams > 0
            assert all(units > 0 for units in variant.stock.values())
            stocked.update(variant.stock.keys())
    assert set(stocked) == codes
    assert min(stocked.values()) > 1000


def test_names_stay_unique_when_the_words_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.catalog.NAME_DRAWS_MAX", 1)
    products = list(generate_catalog(1, 12_000))
    assert len({product.handle for product in products}) == len(products)
    assert any(product.name.endswith(" Mk 2") for product in products)


@pytest.mark.parametrize("products", [-1, 10**9])
def test_an_absurd_size_is_refused_at_once(products: int) -> None:
    with pytest.raises(ValueError, match="cannot generate"):
        generate_catalog(1, products)


def test_the_hot_product_has_all_its_stock_in_one_place() -> None:
    product = hot_product(500)
    (variant,) = product.variants
    assert variant.sku == HOT_SKU
    assert list(variant.stock.values()) == [500]
    assert product.handle not in {p.handle for p in generate_catalog(1, 500)}
    with pytest.raises(ValueError, match=HOT_SKU):
        hot_product(-1)
