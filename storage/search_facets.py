"""Facets of a search: its brands, categories and price ranges, counted over all results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from domain.money import scale_of

BRANDS_MAX = 20
CATEGORIES_MAX = 50
PRICE_BUCKETS_MAX = 5

# Edges that people use for prices, per power of ten; in minor units from 100 up.
_LADDER = (100, 150, 200, 250, 300, 400, 500, 750)
_PRICE_EDGES_MINOR = (0, *(step * 10**power for power in range(11) for step in _LADDER))
# Any other currency is shown by its code.
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "INR": "₹", "JPY": "¥", "KRW": "₩"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetCount:
    """A brand or a category and how many of all results have it."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBucket:
    """A price range in minor units, both ends included; the last one may be open (None).

    Searching with these ends as filters gives exactly `count` results.
    """

    label: str
    min_minor: int
    max_minor: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """Counts over all results, not only over the page shown; most frequent first."""

    brands: tuple[FacetCount, ...] = ()
    categories: tuple[FacetCount, ...] = ()
    prices: tuple[PriceBucket, ...] = ()


AGGREGATIONS: dict[str, Any] = {
    "brands": {"terms": {"field": "brand_shown", "size": BRANDS_MAX}},
    "categories": {"terms": {"field": "category_shown", "size": CATEGORIES_MAX}},
    "prices": {
        "range": {
            "field": "price_minor",
            "ranges": [
                *({"from": low, "to": high} for low, high in pairwise(_PRICE_EDGES_MINOR)),
                {"from": _PRICE_EDGES_MINOR[-1]},
            ],
        }
    },
}
"""What the index counts for `facets_of`."""


def facets_of(counted: Mapping[str, Any], currency: str) -> tuple[int, Facets]:
    """The number of all results and their facets, from an answer to `AGGREGATIONS`."""
    # The first range has no "from": nothing is cheaper than 0.
    prices = [
        (int(bucket.get("from", 0)), int(bucket["doc_count"]))
        for bucket in counted["prices"]["buckets"]
    ]
    # Every product has one price, so the price ranges add up to all results.
    total = sum(count for _, count in prices)
    return total, Facets(
        brands=_counts(counted["brands"]["buckets"], BRANDS_MAX),
        categories=_counts(counted["categories"]["buckets"], CATEGORIES_MAX),
        prices=tuple(_price_buckets(prices, total, currency)),
    )


def _counts(buckets: Sequence[Mapping[str, Any]], most: int) -> tuple[FacetCount, ...]:
    counted = [FacetCount(name=b["key"], count=int(b["doc_count"])) for b in buckets if b["key"]]
    return tuple(sorted(counted, key=lambda facet: (-facet.count, facet.name))[:most])


def _price_buckets(
    counted: Sequence[tuple[int, int]], total: int, currency: str
) -> Iterator[PriceBucket]:
    """Neighbouring rungs of the ladder put together until each bucket has its fair share.

    `counted` has a rung's lower edge and its number of results, lowest first.
    """
    share = -(-total // PRICE_BUCKETS_MAX)
    low, gathered, seen = None, 0, 0
    for index, (edge, count) in enumerate(counted):
        low = edge if low is None and count else low
        gathered += count
        if low is None or not count or (gathered < share and seen + gathered < total):
            continue
        high = counted[index + 1][0] if index + 1 < len(counted) else None
        seen += gathered
        # The most expensive bucket is open, unless it is the only one and would say nothing.
        if seen == total and low != _first_edge(counted):
            high = None
        yield _bucket(low, high, gathered, currency)
        low, gathered = high, 0
        if high is None or seen == total:
            return


def _first_edge(counted: Sequence[tuple[int, int]]) -> int:
    return next(edge for edge, count in counted if count)


def _bucket(low: int, high: int | None, count: int, currency: str) -> PriceBucket:
    shown = f"{_money(low, currency)}+" if high is None else None
    return PriceBucket(
        label=shown or f"{_money(low, currency)}-{_money(high or 0, currency)}",
        min_minor=low,
        max_minor=None if high is None else high - 1,
        count=count,
    )


def _money(minor: int, currency: str) -> str:
    symbol = _SYMBOLS.get(currency, f"{currency} ")
    scale = scale_of(currency)
    major, rest = divmod(minor, scale)
    return f"{symbol}{major}.{rest:0{len(str(scale)) - 1}}" if rest else f"{symbol}{major}"
