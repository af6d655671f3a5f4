"""A believable catalog from a seed, for demos, tests and benchmarks.

Only `Random.random()` is used, the one method whose values Python promises to keep, so a seed
gives the same catalog on every version.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from domain.catalog import QUANTITY_MAX, Product, Variant, Warehouse
from sim.catalog_words import AXES, DEPARTMENTS, OPENINGS, Axis, Department, Kind, Option

WAREHOUSES: tuple[Warehouse, ...] = (
    Warehouse(code="US-EAST", name="Newark, New Jersey", country="US", lat=40.7357, lon=-74.1724),
    Warehouse(code="US-WEST", name="Reno, Nevada", country="US", lat=39.5296, lon=-119.8138),
    Warehouse(code="EU-WEST", name="Rotterdam", country="NL", lat=51.9244, lon=4.4777),
)
PRODUCTS_MAX = 10_000_000
STOCK_PER_PAIR_MAX = 240
NAME_DRAWS_MAX = 8  # tries for a fresh name before an older one gets a mark number

HOT_SKU = "HOT-DOORBUSTER-1"
HOT_PRICE_MINOR = 299_99

_T = TypeVar("_T")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


class _Dice:
    """Draws made from `Random.random()` alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, bound: int) -> int:
        return int(self._random.random() * bound)

    def between(self, least: int, most: int) -> int:
        return least + self.below(most - least + 1)

    def low_between(self, least: int, most: int) -> int:
        """Between both, and more often low: cheap goods outnumber dear ones."""
        return least + int(self._random.random() ** 2 * (most - least + 1))

    def one_of(self, items: Sequence[_T]) -> _T:
        return items[self.below(len(items))]

    def run_of(self, items: Sequence[_T], length: int) -> Sequence[_T]:
        """`length` neighbours, as a shop stocks sizes S to XL and not S and XXL."""
        start = self.below(len(items) - length + 1)
        return items[start : start + length]


def generate_catalog(seed: int, products: int = 2000) -> Iterator[Product]:
    """`products` products with unique names, handles and SKUs; the same seed, the same catalog.

    A shorter catalog is the beginning of a longer one. Prices are in US cents, weights in
    grams; each variant is in stock in one to three of `WAREHOUSES`. Raises ValueError for a
    count outside 0..PRODUCTS_MAX.
    """
    if not 0 <= products <= PRODUCTS_MAX:
        raise ValueError(f"cannot generate {products} products; ask for 0 to {PRODUCTS_MAX:,}")
    return _generate(_Dice(seed), products)


def hot_product(stock: int) -> Product:
    """What everybody is after in the flash sale: one variant, all `stock` units in one place."""
    if not 0 <= stock <= QUANTITY_MAX:
        raise ValueError(f"cannot stock {stock} units of {HOT_SKU}; ask for 0 to {QUANTITY_MAX:,}")
    variant = Variant(
        sku=HOT_SKU,
        price_minor=HOT_PRICE_MINOR,
        weight_grams=2900,
        stock={WAREHOUSES[0].code: stock},
    )
    return Product(
        handle="doorbuster-orbix-one-game-console",
        name="Orbix One Game Console",
        description=(
            "Tonight's doorbuster: the Orbix One, with one controller and two games. "
            "Plays in 4K, starts in four seconds and stays quieter than a fridge. "
            "While stock lasts, and it will not last."
        ),
        category="Electronics",
        seller="Doorbuster",
        tags=("doorbuster", "flash sale", "gaming", "console"),
        variants=(variant,),
    )


def _generate(dice: _Dice, products: int) -> Iterator[Product]:
    shares = [d for d in DEPARTMENTS for _ in range(d.share)]
    handles: set[str] = set()
    for number in range(1, products + 1):
        department = dice.one_of(shares)
        yield _product(dice, department, number, handles)


def _product(dice: _Dice, department: Department, number: int, handles: set[str]) -> Product:
    kind, seller, name = _fresh_name(dice, department, handles)
    tags = dict.fromkeys((department.category.lower(), *kind.tags))
    return Product(
        handle=_slug(name),
        name=name,
        description=_description(dice, department, name),
        category=department.category,
        seller=seller,
        tags=tuple(tags),
        variants=tuple(_variants(dice, department, kind, number)),
    )


def _fresh_name(dice: _Dice, department: Department, handles: set[str]) -> tuple[Kind, str, str]:
    """A name whose handle is new, entered into `handles`."""
    for draw in itertools.count(1):
        kind = dice.one_of(department.kinds)
        seller = dice.one_of(department.sellers)
        name = f"{seller} {dice.one_of(department.lines)} {dice.one_of(department.styles)}"
        name = f"{name} {kind.noun}"
        if _slug(name) in handles and draw >= NAME_DRAWS_MAX:
            name = next(
                marked
                for mark in itertools.count(2)
                if _slug(marked := f"{name} Mk {mark}") not in handles
            )
        if (handle := _slug(name)) not in handles:
            handles.add(handle)
            return kind, seller, name
    raise AssertionError("a name with a mark number is always fresh")


def _slug(name: str) -> str:
    return _NOT_SLUG.sub("-", name.lower().replace("'", "")).strip("-")


def _description(dice: _Dice, department: Department, name: str) -> str:
    opening = dice.one_of(OPENINGS).format(name=name, use=dice.one_of(department.uses))
    first = dice.below(len(department.features))
    second = (first + 1 + dice.below(len(department.features) - 1)) % len(department.features)
    return f"{opening} {department.features[first]} {department.features[second]}"


def _variants(dice: _Dice, department: Department, kind: Kind, number: int) -> Iterator[Variant]:
    price_minor = _price_minor(dice.low_between(*kind.dollars), department.cents)
    weight_grams = dice.between(*kind.grams)
    axes = [AXES[name] for name in kind.axes]
    drawn = [_drawn_options(dice, axis) for axis in axes]
    for options in itertools.product(*drawn):
        yield Variant(
            sku="-".join((department.code, f"{number:06d}", *(o.code for o in options))),
            price_minor=price_minor + sum(o.extra_minor for o in options),
            attributes={a.name: o.value for a, o in zip(axes, options, strict=True)},
            weight_grams=weight_grams,
            stock=_stock(dice),
        )


def _drawn_options(dice: _Dice, axis: Axis) -> Sequence[Option]:
    return dice.run_of(axis.options, dice.between(axis.least, axis.most))


def _price_minor(dollars: int, cents: int) -> int:
    """Shop prices: dear things end in a round nine, then in the department's cents."""
    if dollars >= 100:
        dollars = dollars // 10 * 10 + 9
    return dollars * 100 + cents


def _stock(dice: _Dice) -> dict[str, int]:
    """Units by warehouse: one home warehouse, and often a neighbour or two."""
    home = dice.below(len(WAREHOUSES))
    places = 1 + dice.below(len(WAREHOUSES))
    return {
        WAREHOUSES[(home + step) % len(WAREHOUSES)].code: dice.between(12, STOCK_PER_PAIR_MAX)
        for step in range(places)
    }
