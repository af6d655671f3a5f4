"""Promotions and lines for the tests of prices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st

from domain.cart import LINE_QUANTITY_MAX
from domain.promotions import Kind, Line, Promotion, Scope

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BEGUN = NOW - timedelta(days=1)
CATEGORIES = ("shoes", "hats", "")


def promotion(kind: Kind = Kind.PERCENT, **changes: Any) -> Promotion:
    """A valid promotion: 10 %, free shipping, 5.00 USD off, or the third of three for nothing."""
    of_kind: dict[Kind, dict[str, Any]] = {
        Kind.PERCENT: {"percent_bps": 1_000},
        Kind.AMOUNT: {"amount_minor": 500, "currency": "USD"},
        Kind.FREE_SHIPPING: {},
        Kind.BUY_X_GET_Y: {"buy_quantity": 2, "get_quantity": 1, "percent_bps": 10_000},
    }
    given = {"promotion_id": uuid4(), "label": kind.value, "starts_at": BEGUN, **of_kind[kind]}
    return Promotion(kind=kind, **{**given, **changes})


def line(unit_price_minor: int = 1_000, quantity: int = 1, **changes: Any) -> Line:
    """A line of one variant."""
    given = {"variant_id": uuid4(), "product_id": uuid4(), "category": "Shoes", **changes}
    return Line(unit_price_minor=unit_price_minor, quantity=quantity, **given)


# Few ids, so that scopes and lines meet.
IDS = [UUID(int=number) for number in range(1, 9)]


@st.composite
def some_lines(draw: st.DrawFn, price_max: int = 10**6) -> list[Line]:
    """Lines of different variants."""
    variants = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=6, unique=True))
    return [
        Line(
            variant_id=variant,
            product_id=draw(st.sampled_from(IDS)),
            category=draw(st.sampled_from(CATEGORIES)),
            unit_price_minor=draw(st.integers(0, price_max)),
            quantity=draw(st.integers(1, 12) | st.integers(1, LINE_QUANTITY_MAX)),
        )
        for variant in variants
    ]


@st.composite
def some_promotions(draw: st.DrawFn, currency: str = "USD") -> list[Promotion]:
    """Promotions of all kinds, automatic and with codes, that may or may not fit."""
    made: list[Promotion] = []
    for number in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(list(Kind)))
        changes: dict[str, Any] = {"currency": None}
        match kind:
            case Kind.PERCENT:
                changes["percent_bps"] = draw(st.integers(1, 10_000))
            case Kind.AMOUNT:
                changes |= {"amount_minor": draw(st.integers(1, 10**7)), "currency": currency}
            case Kind.BUY_X_GET_Y:
                changes["percent_bps"] = draw(st.integers(1, 10_000))
                changes["buy_quantity"] = draw(st.integers(1, 4))
                changes["get_quantity"] = draw(st.integers(1, 4))
            case Kind.FREE_SHIPPING:
                pass
        if draw(st.booleans()):
            changes["scope"] = Scope(
                product_ids=frozenset(draw(st.sets(st.sampled_from(IDS), max_size=3))),
                variant_ids=frozenset(draw(st.sets(st.sampled_from(IDS), max_size=3))),
                categories=frozenset(draw(st.sets(st.sampled_from(CATEGORIES[:2])))),
            )
        if draw(st.booleans()):
            changes |= {"minimum_minor": draw(st.integers(0, 10**5)), "currency": currency}
        made.append(
            promotion(
                kind,
                **changes,
                promotion_id=UUID(int=100 + number),
                code=draw(st.sampled_from([None, f"CODE{number}"])),
                exclusive=draw(st.booleans()),
                priority=draw(st.integers(-2, 2)),
            )
        )
    return made
