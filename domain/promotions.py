"""Promotions: what may be taken off an order, and for whom.

A promotion is automatic, or asked for by its code (then it is called a coupon). How several go
together is in `domain.reductions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from domain.money import AMOUNT_MINOR_MAX, BASIS_POINTS, SCALES
from domain.visible_text import has_control_characters, shows_something

CODE_LENGTH_MAX = 40
LABEL_LENGTH_MAX = 200
COUPONS_MAX = 5  # codes in one order
AUTOMATIC_MAX = 20  # automatic promotions at one time: each is tried for every order
PRIORITY_MAX = 1_000
SCOPE_MAX = 1_000  # products, variants and categories that one promotion names
GROUP_MAX = 100  # units in one group of buy-x-get-y
USES_MAX = 10**9
NO_PRODUCT = UUID(int=0)

_CODE = re.compile(r"[A-Z0-9][A-Z0-9_-]*")

RefusalName = Literal[
    "coupon_expired",
    "coupon_minimum_not_met",
    "coupon_not_applicable",
    "coupon_not_better",
    "coupon_not_stackable",
    "coupon_not_yet_valid",
    "coupon_unknown",
    "coupon_used_up",
    "coupon_wrong_currency",
    "coupons_too_many",
]


class Kind(StrEnum):
    """What a promotion does."""

    PERCENT = "percent"
    AMOUNT = "amount"
    FREE_SHIPPING = "free_shipping"
    BUY_X_GET_Y = "buy_x_get_y"


class PromotionError(ValueError):
    """A promotion that makes no sense; says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponRefusal:
    """Why a coupon takes nothing off: a stable name, the code, and what to do."""

    name: RefusalName
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a customer wants of one variant, and what the catalog says of it."""

    variant_id: UUID
    unit_price_minor: int
    quantity: int
    product_id: UUID = NO_PRODUCT
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The goods that a promotion is for: what any of the three names; without a name, all."""

    product_ids: frozenset[UUID] = frozenset()
    variant_ids: frozenset[UUID] = frozenset()
    categories: frozenset[str] = frozenset()
    """Casefolded."""

    def has(self, line: Line) -> bool:
        """Whether the line is one of them."""
        if not (self.product_ids or self.variant_ids or self.categories):
            return True
        return (
            line.variant_id in self.variant_ids
            or line.product_id in self.product_ids
            or line.category.casefold() in self.categories
        )


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One promotion, with how often it was used when it was last looked at."""

    promotion_id: UUID
    label: str
    """For people: what it is called on the quote."""
    kind: Kind
    code: str | None = None
    """What a customer types, upper case; None: automatic."""
    percent_bps: int = 0
    """PERCENT: off the goods; BUY_X_GET_Y: off the units that are got (10,000: they are free)."""
    amount_minor: int = 0
    """AMOUNT: off the goods, once per order, in `currency`."""
    buy_quantity: int = 0
    get_quantity: int = 0
    """BUY_X_GET_Y: of every buy + get units in scope, the cheapest `get_quantity` are reduced."""
    scope: Scope = EVERYTHING
    minimum_minor: int = 0
    """What the goods in scope must come to before any discount, in `currency`."""
    currency: str | None = None
    """The only currency it is for; needed by an amount and by a minimum."""
    starts_at: datetime
    ends_at: datetime | None = None
    """The first moment at which it is no longer valid."""
    uses_max: int | None = None
    uses_per_customer_max: int | None = None
    exclusive: bool = False
    """Never together with another."""
    priority: int = 100
    """Of several, the smaller is taken off first."""
    used_up: bool = False
    """All uses were taken when it was last looked at; the database decides (`PromotionBook`)."""
    rank: tuple[int, str, int] = field(init=False)
    """The order in which promotions are taken off."""
    whole_order: bool = field(init=False)
    """Whether it is for all goods."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole_order", self.scope == EVERYTHING)
        rank = (self.priority, self.code or "", self.promotion_id.int)
        object.__setattr__(self, "rank", rank)

    @property
    def limited(self) -> bool:
        """Whether its uses have to be counted before an order is taken."""
        return self.uses_max is not None or self.uses_per_customer_max is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """All promotions that there are, as of one look: by code, and the automatic ones."""

    by_code: Mapping[str, Promotion] = field(default_factory=dict[str, Promotion])
    automatic: tuple[Promotion, ...] = ()


NO_OFFERS = Offers()


def offers_of(promotions: Iterable[Promotion]) -> Offers:
    """The promotions of one look, in the order in which they are taken off.

    Beyond AUTOMATIC_MAX automatic ones, the last in that order are left out.
    """
    ranked = sorted(promotions, key=lambda one: one.rank)
    automatic = [one for one in ranked if one.code is None]
    by_code = {one.code: one for one in ranked if one.code is not None}
    return Offers(by_code=by_code, automatic=tuple(automatic[:AUTOMATIC_MAX]))


def normal_code(text: str) -> str:
    """A code as a customer may type it, as it is kept: without spaces around, upper case."""
    text = text.strip()
    return text.upper() if text.isascii() else text  # others would become letters of a code


def check(promotion: Promotion) -> Promotion:
    """The promotion, if it makes sense. Raises PromotionError, which says what to change."""
    for wrong, message in (*_wrong_in_general(promotion), *_wrong_of_kind(promotion)):
        if wrong:
            raise PromotionError(message)
    return promotion


def _wrong_in_general(one: Promotion) -> list[tuple[bool, str]]:
    code, scope = one.code, one.scope
    named = len(scope.product_ids) + len(scope.variant_ids) + len(scope.categories)
    limits = (one.uses_max, one.uses_per_customer_max)
    return [
        (
            code is not None and (len(code) > CODE_LENGTH_MAX or not _CODE.fullmatch(code)),
            f"a code is 1 to {CODE_LENGTH_MAX} of A-Z, 0-9, _ and -, and begins with none of the "
            "last two",
        ),
        (
            not 0 < len(one.label) <= LABEL_LENGTH_MAX,
            f"a label has 1 to {LABEL_LENGTH_MAX} letters",
        ),
        (
            has_control_characters(one.label) or not shows_something(one.label),
            "a label is one line of text that can be seen, without control characters",
        ),
        (
            one.currency is not None and one.currency not in SCALES,
            f"currency {one.currency!r} is not sold in; use an ISO 4217 code such as USD",
        ),
        (
            any(has_control_characters(category) for category in scope.categories),
            "a category is one line of text without control characters",
        ),
        (named > SCOPE_MAX, f"a promotion names up to {SCOPE_MAX} products and categories"),
        (
            not 0 <= one.minimum_minor <= AMOUNT_MINOR_MAX,
            f"a minimum is 0 to {AMOUNT_MINOR_MAX} minor units",
        ),
        (one.minimum_minor > 0 and one.currency is None, "a minimum needs a currency"),
        (
            one.ends_at is not None and one.ends_at <= one.starts_at,
            "it ends before it begins; choose a later end",
        ),
        (
            any(limit is not None and not 1 <= limit <= USES_MAX for limit in limits),
            f"a limit of uses is 1 to {USES_MAX}",
        ),
        (
            # A checkout could not tell beforehand that this customer must pay more.
            one.uses_per_customer_max is not None and code is None,
            "a limit per customer needs a code",
        ),
        (abs(one.priority) > PRIORITY_MAX, f"a priority is up to {PRIORITY_MAX}"),
    ]


def _wrong_of_kind(one: Promotion) -> list[tuple[bool, str]]:
    group = (one.buy_quantity, one.get_quantity)
    percent = 1 <= one.percent_bps <= BASIS_POINTS
    match one.kind:
        case Kind.PERCENT:
            return [
                (not percent, "a percentage is above 0 and at most 100, in steps of 0.01"),
                (
                    one.amount_minor != 0 or group != (0, 0),
                    "a percentage has no amount and no group",
                ),
            ]
        case Kind.AMOUNT:
            return [
                (
                    not 1 <= one.amount_minor <= AMOUNT_MINOR_MAX,
                    f"an amount is 1 to {AMOUNT_MINOR_MAX} minor units",
                ),
                (one.currency is None, "an amount needs a currency"),
                (
                    one.percent_bps != 0 or group != (0, 0),
                    "an amount has no percentage and no group",
                ),
            ]
        case Kind.FREE_SHIPPING:
            rest = (one.percent_bps, one.amount_minor, *group)
            return [(any(rest), "free shipping has no amount, percentage or group")]
        case Kind.BUY_X_GET_Y:
            return [
                (
                    not all(1 <= units <= GROUP_MAX for units in group),
                    f"buy and get 1 to {GROUP_MAX}",
                ),
                (
                    not percent,
                    "the units that are got are reduced by more than 0, at most 100 percent",
                ),
                (one.amount_minor != 0, "buy-x-get-y has no amount"),
            ]
