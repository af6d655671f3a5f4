"""What the fake shop sells, and its search."""

from __future__ import annotations

import itertools
import math
import uuid
from collections import Counter
from typing import Any

from domain.ids import encode

XSS_NAME = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script> Lamp"
HOT_NAME = "Northwind Noise-Cancelling Headphones"
_EXTRA_COUNT = 24

Entry = tuple[str, str, str, int, int, dict[str, list[str]]]
"""name, category, brand, price in minor units, stock per variant, options"""
_CATALOG: list[Entry] = [
    (HOT_NAME, "Audio", "Northwind", 19900, 500, {}),
    ("Trail Runner Shoe", "Shoes", "Fernway", 12450, 7, {"Size": ["40", "41", "42"]}),
    ("Merino Crew Sweater", "Clothing", "Harrow & Lane", 8900, 40, {"Size": ["S", "M", "L"]}),
    ("Copper Pour-Over Kettle", "Kitchen", "Morning Ritual", 6400, 25, {}),
    ("Canvas Weekender Bag", "Bags", "Fernway", 11900, 12, {"Color": ["Sand", "Ink"]}),
    ("Walnut Desk Lamp", "Home", "Harrow & Lane", 14900, 3, {}),
    ("Field Watch 38 mm", "Watches", "Aldine", 24900, 0, {}),
    ("Stoneware Mug, Set of Four", "Kitchen", "Morning Ritual", 4800, 80, {}),
    ("Ultralight Daypack 18 L", "Bags", "Fernway", 7950, 60, {"Color": ["Moss", "Slate"]}),
    (XSS_NAME, "Home", "Aldine", 3500, 9, {}),
    ("Mechanical Keyboard, 75 %", "Electronics", "Northwind", 13900, 30, {}),
    ("Cast-Iron Skillet 26 cm", "Kitchen", "Morning Ritual", 5200, 44, {}),
]


def products() -> list[dict[str, Any]]:
    """A fresh copy of all products, as the product page shows them."""
    listed = [_product(i, entry) for i, entry in enumerate(_CATALOG)]
    for n in range(_EXTRA_COUNT):
        name, category, brand, price, stock, options = _CATALOG[n % 8]
        entry = (f"{name} No. {n + 2}", category, brand, price + 500 * n, stock + 5, options)
        listed.append(_product(len(listed), entry))
    return listed


def _product(n: int, entry: Entry) -> dict[str, Any]:
    name, category, brand, price, stock, options = entry
    product_id = encode("prod", uuid.UUID(int=n + 1))
    names = list(options)
    combos = list(itertools.product(*options.values())) if options else [()]
    variants = [
        {
            "variant_id": encode("var", uuid.UUID(int=n * 100 + k + 1)),
            "sku": f"{category[:3].upper()}-{n:03}-{k}",
            "price": price / 100,
            "attributes": dict(zip(names, combo, strict=True)),
            "available": 0 if options and k == 1 else stock,
        }
        for k, combo in enumerate(combos)
    ]
    return {
        "product_id": product_id,
        "name": name,
        "description": (
            f"Made by {brand} to be used every day and repaired when it finally needs it. "
            "Shipped in plain paper, with nothing in the box that you would throw away."
        ),
        "price": price / 100,
        "currency": "USD",
        "category": category,
        "tags": [category.lower(), "everyday", "gift"],
        "picture": f"/media/{product_id}.svg",
        "seller": {"seller_id": encode("seller", uuid.UUID(int=7)), "name": brand, "rating": None},
        "options": options,
        "variants": variants,
    }


def search(listed: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """The seed's search answer over the fake's products."""
    limit, page = int(query.get("limit", 20)), int(query.get("page", 1))
    words = query.get("q", "").lower().split()
    low, high = float(query.get("min_price", 0)), float(query.get("max_price", "inf"))
    found = [
        p
        for p in listed
        if all(word in f"{p['name']} {p['category']} {p['tags']}".lower() for word in words)
        and query.get("category", p["category"]) == p["category"]
        and query.get("brand", p["seller"]["name"]) == p["seller"]["name"]
        and low <= p["price"] <= high
    ]
    brands = Counter(p["seller"]["name"] for p in found)
    buckets = [("Under $50", None, 50), ("$50-$100", 50, 100), ("$100-$200", 100, 200)]
    buckets.append(("$200+", 200, None))
    shown = found[(page - 1) * limit : page * limit]
    return {
        "results": [_result(p) for p in shown],
        "total_results": len(found),
        "page": page,
        "total_pages": math.ceil(len(found) / limit),
        "facets": {
            "brands": list(brands),
            "price_ranges": [label for label, _, _ in buckets],
            "categories": [
                {"name": name, "count": n}
                for name, n in Counter(p["category"] for p in found).most_common()
            ],
            "price_buckets": [
                {
                    "label": label,
                    "min": a,
                    "max": b,
                    "count": sum((a or 0) <= p["price"] < (b or math.inf) for p in found),
                }
                for label, a, b in buckets
            ],
            "brand_counts": [{"name": name, "count": n} for name, n in brands.most_common()],
        },
    }


def _result(product: dict[str, Any]) -> dict[str, Any]:
    same = ("product_id", "name", "price", "currency", "seller")
    return {
        **{name: product[name] for name in same},
        "rating": None,
        "review_count": 0,
        "thumbnail": f"/media/{product['product_id']}.svg",
        "in_stock": any(v["available"] for v in product["variants"]),
    }
