"""Which promotions an order gets, and what each takes off every line.

The rule, which is the whole rule:

1. Those that go together (not exclusive) are taken off one after the other, by priority, then
   code, then id; each is reckoned on what the ones before it have left.
2. An exclusive one stands alone.
3. The customer gets the cheapest of these: all that go together, or one exclusive one. If two come
   to the same, those that go together win, then the exclusive ones by priority.
4. A coupon that is asked for must be valid by itself, or the order is refused and told why; two
   coupons of which one is exclusive are refused. A valid one that the cheapest way does without
   is named in `unused` and is not used up.

Nothing is ever taken off twice: no line goes below 0, nor does the shipping.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from domain.allocation import allocate
from domain.money import BASIS_POINTS, amount_text, apply_rate
from domain.promotions import (
    COUPONS_MAX,
    CouponRefusal,
    Kind,
    Line,
    Offers,
    Promotion,
    RefusalName,
    normal_code,
)


class Applied(NamedTuple):
    """What one promotion takes off, in minor units."""

    promotion: Promotion
    by_line: tuple[int, ...]
    """In the order of the lines."""
    shipping_minor: int
    total_minor: int


class Reductions(NamedTuple):
    """All that is taken off an order, in minor units."""

    by_line: tuple[int, ...]
    applied: tuple[Applied, ...] = ()
    shipping_minor: int = 0
    total_minor: int = 0
    unused: tuple[CouponRefusal, ...] = ()


NOTHING_OFF = Reductions(by_line=())


class Basket(NamedTuple):
    """What promotions are tried on: lines, what each comes to, and the shipping."""

    lines: Sequence[Line]
    gross: Sequence[int]
    shipping_minor: int
    currency: str


def reduce(
    basket: Basket,
    offers: Offers,
    coupons: Sequence[str],
    *,
    now: datetime,
    exhausted: Collection[UUID] = (),
) -> Reductions | CouponRefusal:
    """The best of `offers` for the customer who names `coupons`, or why a coupon is refused.

    `exhausted` are promotions of which this customer has had all uses.
    """
    asked = _asked(basket, offers, coupons, now, exhausted)
    if isinstance(asked, CouponRefusal):
        return asked
    together = [one for one in asked if not one.exclusive]
    alone = [one for one in asked if one.exclusive]
    for one in offers.automatic:
        if not one.used_up and _refusal(one, basket, now, exhausted) is None:
            (alone if one.exclusive else together).append(one)
    together.sort(key=_rank)
    alone.sort(key=_rank)
    best = _taken_off(basket, together)
    for one in alone:
        other = _taken_off(basket, [one])
        if other.total_minor > best.total_minor:
            best = other
    used = {one.promotion.promotion_id for one in best.applied}
    unused = [_not_better(one) for one in asked if one.promotion_id not in used]
    if not unused:
        return best
    return best._replace(unused=tuple(unused))


def _rank(promotion: Promotion) -> tuple[int, str, int]:
    return promotion.rank


def _asked(
    basket: Basket,
    offers: Offers,
    coupons: Sequence[str],
    now: datetime,
    exhausted: Collection[UUID],
) -> list[Promotion] | CouponRefusal:
    codes = list(dict.fromkeys(normal_code(code) for code in coupons))
    if len(codes) > COUPONS_MAX:
        detail = f"an order takes up to {COUPONS_MAX} coupons; leave some out"
        return CouponRefusal(name="coupons_too_many", code=codes[COUPONS_MAX][:40], detail=detail)
    asked: list[Promotion] = []
    for code in codes:
        promotion = offers.by_code.get(code)
        if promotion is None:
            return _refused("coupon_unknown", code[:40], "is not known; check how it is written")
        refusal = _refusal(promotion, basket, now, exhausted)
        if refusal is not None:
            return _refused(refusal, code, _reason(refusal, promotion, basket))
        asked.append(promotion)
    if len(asked) > 1:
        for one in asked:
            if one.exclusive:
                detail = "cannot be used with another coupon; choose one"
                return _refused("coupon_not_stackable", one.code or "", detail)
    return asked


def _refused(name: RefusalName, code: str, detail: str) -> CouponRefusal:
    return CouponRefusal(name=name, code=code, detail=f"coupon {code} {detail}")


def _refusal(
    promotion: Promotion, basket: Basket, now: datetime, exhausted: Collection[UUID]
) -> RefusalName | None:
    if now < promotion.starts_at:
        return "coupon_not_yet_valid"
    if promotion.ends_at is not None and now >= promotion.ends_at:
        return "coupon_expired"
    if promotion.used_up or promotion.promotion_id in exhausted:
        return "coupon_used_up"
    if promotion.currency is not None and promotion.currency != basket.currency:
        return "coupon_wrong_currency"
    here = basket.gross
    if not promotion.whole_order:
        has = promotion.scope.has
        here = [gross for line, gross in zip(basket.lines, here, strict=True) if has(line)]
    if not here:
        return "coupon_not_applicable"
    return "coupon_minimum_not_met" if sum(here) < promotion.minimum_minor else None


def _reason(name: RefusalName, promotion: Promotion, basket: Basket) -> str:
    currency = promotion.currency or basket.currency
    match name:
        case "coupon_not_yet_valid":
            return f"is valid from {promotion.starts_at.isoformat()} on; try it then"
        case "coupon_expired":
            return "is not valid any more; leave it out"
        case "coupon_used_up":
            return "has no uses left; leave it out"
        case "coupon_wrong_currency":
            return f"is for orders in {currency}; choose that currency"
        case "coupon_minimum_not_met":
            least = amount_text(promotion.minimum_minor, currency)
            return f"needs goods for {least} or more; add some"
        case _:
            return "is for other goods; add one of them or leave it out"


def _not_better(promotion: Promotion) -> CouponRefusal:
    detail = "takes nothing more off than what you get without it; it is not used up"
    return _refused("coupon_not_better", promotion.code or "", detail)


def _taken_off(basket: Basket, promotions: Sequence[Promotion]) -> Reductions:
    """These promotions, one after the other."""
    left = list(basket.gross)
    shipping_left = basket.shipping_minor
    applied: list[Applied] = []
    for promotion in promotions:
        if promotion.kind is Kind.FREE_SHIPPING:
            parts, shipping = [0] * len(left), shipping_left
        else:
            parts, shipping = _off_the_goods(promotion, basket.lines, left), 0
        total = sum(parts) + shipping
        if not total:
            continue
        left = [had - part for had, part in zip(left, parts, strict=True)]
        shipping_left -= shipping
        applied.append(
            Applied(
                promotion=promotion,
                by_line=tuple(parts),
                shipping_minor=shipping,
                total_minor=total,
            )
        )
    off_lines = [gross - rest for gross, rest in zip(basket.gross, left, strict=True)]
    assert min(left, default=0) >= 0
    off_shipping = basket.shipping_minor - shipping_left
    return Reductions(
        applied=tuple(applied),
        by_line=tuple(off_lines),
        shipping_minor=off_shipping,
        total_minor=sum(off_lines) + off_shipping,
    )


def _off_the_goods(promotion: Promotion, lines: Sequence[Line], left: Sequence[int]) -> list[int]:
    """What a promotion takes off each line, of what is `left` of it."""
    if promotion.kind is Kind.BUY_X_GET_Y:
        return _cheapest_units(promotion, lines, left)
    weights = left
    if not promotion.whole_order:
        has = promotion.scope.has
        weights = [rest if has(line) else 0 for line, rest in zip(lines, left, strict=True)]
    goods = sum(weights)
    if promotion.kind is Kind.PERCENT:
        total = apply_rate(goods, promotion.percent_bps)
    else:
        total = min(promotion.amount_minor, goods)
    return allocate(total, weights, [line.variant_id for line in lines])


def _cheapest_units(promotion: Promotion, lines: Sequence[Line], left: Sequence[int]) -> list[int]:
    """Of whole groups over all lines in scope, the cheapest units; half up within a line."""
    here = [one for one, line in enumerate(lines) if promotion.scope.has(line)]
    units = sum(lines[one].quantity for one in here)
    group = promotion.buy_quantity + promotion.get_quantity
    wanted = units // group * promotion.get_quantity
    off = [0] * len(lines)
    # By list prices: in another currency the cheaper one is never the dearer one.
    for one in sorted(here, key=lambda at: (lines[at].unit_price_minor, lines[at].variant_id)):
        line = lines[one]
        reduced = min(wanted, line.quantity)
        numerator, denominator = (
            left[one] * reduced * promotion.percent_bps,
            line.quantity * BASIS_POINTS,
        )
        off[one] = (2 * numerator + denominator) // (2 * denominator)
        wanted -= reduced
    return off
