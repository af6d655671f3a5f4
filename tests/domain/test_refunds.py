"""Refunds never give back more than was taken, and bit by bit they come to exactly that."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.refunds import (
    PaidPart,
    RefundPlan,
    RefundRefusal,
    RefundScope,
    SoldLine,
    SoldOrder,
    UnitsOf,
    plan_refund,
    split_over_parts,
    worth_of_lines,
)

WHOLE = RefundScope(whole=True)
SHIPPING = RefundScope(shipping=True)


def line(number: int = 1, **changes: Any) -> SoldLine:
    values: dict[str, Any] = {
        "line": number,
        "variant_id": UUID(int=number),
        "sku": f"SKU-{number}",
        "quantity": 3,
        "subtotal_minor": 3_000,
        "discount_minor": 100,
        "tax_minor": 240,
    }
    return SoldLine(**{**values, **changes})


def paid(*amounts: int) -> tuple[PaidPart, ...]:
    return tuple(
        PaidPart(payment_id=UUID(int=part), part=part, captured_minor=amount, refunded_minor=0)
        for part, amount in enumerate(amounts, 1)
    )


def order(lines: tuple[SoldLine, ...], shipping_minor: int = 500, **changes: Any) -> SoldOrder:
    """A confirmed order, paid by one means if nothing else is said."""
    tax = changes.pop("tax_minor", sum(one.tax_minor or 0 for one in lines))
    discount = changes.pop("discount_minor", sum(one.discount_minor for one in lines))
    total = sum(one.subtotal_minor for one in lines) + tax + shipping_minor - discount
    values: dict[str, Any] = {
        "status": "confirmed",
        "currency": "USD",
        "total_minor": total,
        "tax_minor": tax,
        "discount_minor": discount,
        "lines": lines,
        "parts": paid(total),
    }
    return SoldOrder(**{**values, **changes})


def after(before: SoldOrder, plan: RefundPlan) -> SoldOrder:
    """The order once the plan is written down."""
    units = {one.line: one.quantity for one in plan.lines}
    amounts = {one.payment_id: one.amount_minor for one in plan.parts}
    return replace(
        before,
        lines=tuple(
            replace(one, refunded_quantity=one.refunded_quantity + units.get(one.line, 0))
            for one in before.lines
        ),
        parts=tuple(
            replace(one, refunded_minor=one.refunded_minor + amounts.get(one.payment_id, 0))
            for one in before.parts
        ),
        shipping_refunded=before.shipping_refunded or plan.shipping_minor > 0,
    )


def planned(before: SoldOrder, scope: RefundScope) -> RefundPlan:
    plan = plan_refund(before, scope)
    assert isinstance(plan, RefundPlan), plan
    return plan


def refused(before: SoldOrder, scope: RefundScope) -> RefundRefusal:
    refusal = plan_refund(before, scope)
    assert isinstance(refusal, RefundRefusal), refusal
    assert refusal.balance_minor == before.balance_minor
    return refusal


def units(quantity: int, item: str | UUID = "SKU-1") -> RefundScope:
    return RefundScope(units=(UnitsOf(item=item, quantity=quantity),))


@st.composite
def lines(draw: st.DrawFn) -> tuple[SoldLine, ...]:
    made: list[SoldLine] = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        quantity = draw(st.integers(1, 9))
        gross = quantity * draw(st.integers(0, 5_000))
        discount = draw(st.integers(0, gross))
        tax = draw(st.integers(0, gross))
        about = {"subtotal_minor": gross, "discount_minor": discount, "tax_minor": tax}
        made.append(line(number, quantity=quantity, **about))
    return tuple(made)


@st.composite
def orders(draw: st.DrawFn) -> SoldOrder:
    """Any order that adds up, of today or from before shares were kept, split over 1 to 4 parts."""
    made = order(draw(lines()), draw(st.integers(0, 2_000)))
    if draw(st.booleans()):
        old = tuple(replace(one, discount_minor=0, tax_minor=None) for one in made.lines)
        made = replace(made, lines=old)
    cuts = sorted(draw(st.lists(st.integers(0, made.total_minor), max_size=3)))
    edges = [0, *cuts, made.total_minor]
    amounts = [high - low for low, high in pairwise(edges)]
    return replace(made, parts=paid(*amounts))


def check(before: SoldOrder, plan: RefundPlan) -> None:
    """What holds of every plan."""
    assert 0 < plan.amount_minor <= before.balance_minor
    assert sum(one.amount_minor for one in plan.parts) == plan.amount_minor
    lefts = {one.payment_id: one.left_minor for one in before.parts}
    assert all(0 < one.amount_minor <= lefts[one.payment_id] for one in plan.parts)
    accounted = sum(one.amount_minor for one in plan.lines) + plan.shipping_minor
    assert accounted <= plan.amount_minor
    rest = {one.line: one.quantity - one.refunded_quantity for one in before.lines}
    assert all(0 < one.quantity <= rest[one.line] for one in plan.lines)


@given(orders(), st.data())
def test_unit_by_unit_and_the_shipping_come_to_exactly_the_order(
    sold: SoldOrder, data: st.DataObject
) -> None:
    worth, given_back, now = worth_of_lines(sold), [0] * len(sold.lines), sold
    todo = [at for at, one in enumerate(sold.lines) for _ in range(one.quantity)]
    for at in data.draw(st.permutations(todo)):
        plan = plan_refund(now, units(1, sold.lines[at].sku))
        if isinstance(plan, RefundRefusal):  # a unit that was free, or worth less than a cent
            assert plan.name == "nothing_to_refund"
            skipped = tuple(
                replace(one, refunded_quantity=one.refunded_quantity + (number == at))
                for number, one in enumerate(now.lines)
            )
            now = replace(now, lines=skipped)
            continue
        check(now, plan)
        given_back[at] += plan.amount_minor
        now = after(now, plan)
    assert given_back == worth
    if now.balance_minor:
        plan = planned(now, SHIPPING)
        assert plan.shipping_minor == plan.amount_minor == now.balance_minor
        now = after(now, plan)
    assert now.balance_minor == 0
    assert all(one.left_minor == 0 for one in now.parts)


@given(orders(), st.data())
def test_whatever_is_asked_for_it_never_passes_what_was_taken(
    sold: SoldOrder, data: st.DataObject
) -> None:
    now, total = sold, 0
    item = st.sampled_from([*(one.sku for one in sold.lines), "nothing", UUID(int=1)])
    wanted = st.builds(UnitsOf, item=item, quantity=st.integers(1, 10))
    scopes = st.one_of(
        st.builds(RefundScope, amount_minor=st.integers(1, 3_000)),
        st.builds(RefundScope, units=st.lists(wanted, min_size=1, max_size=3).map(tuple)),
        st.just(SHIPPING),
    )
    for scope in data.draw(st.lists(scopes, max_size=8)):
        plan = plan_refund(now, scope)
        if isinstance(plan, RefundPlan):
            check(now, plan)
            total += plan.amount_minor
            now = after(now, plan)
    if now.balance_minor:
        plan = planned(now, WHOLE)
        check(now, plan)
        total += plan.amount_minor
        now = after(now, plan)
        assert all(one.refunded_quantity == one.quantity for one in now.lines)
    assert total == sold.total_minor
    assert refused(now, WHOLE).name == "nothing_to_refund"


@given(orders())
def test_the_whole_order_is_all_of_it(sold: SoldOrder) -> None:
    if not sold.total_minor:
        assert refused(sold, WHOLE).name == "nothing_to_refund"
        return
    plan = planned(sold, WHOLE)
    check(sold, plan)
    assert [one.amount_minor for one in plan.lines] == worth_of_lines(sold)
    assert sum(one.amount_minor for one in plan.lines) + plan.shipping_minor == sold.total_minor


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6).filter(any), st.data())
def test_a_split_stays_within_a_unit_of_each_share(lefts: list[int], data: st.DataObject) -> None:
    whole = sum(lefts)
    amount = data.draw(st.integers(1, whole))
    got = {one.payment_id: one.amount_minor for one in split_over_parts(amount, paid(*lefts))}
    assert sum(got.values()) == amount
    for part, left in enumerate(lefts, 1):
        share = got.get(UUID(int=part), 0)
        assert share <= left
        assert abs(share * whole - amount * left) < whole


def test_a_line_is_worth_its_net_price_and_its_tax() -> None:
    sold = order((line(1), line(2, quantity=1, subtotal_minor=999, tax_minor=80)))
    assert worth_of_lines(sold) == [3_140, 979]
    plan = planned(sold, units(2))
    assert [(one.line, one.quantity, one.amount_minor) for one in plan.lines] == [(1, 2, 2_093)]
    assert planned(after(sold, plan), units(1)).amount_minor == 3_140 - 2_093
    plan = planned(sold, RefundScope(units=(UnitsOf(item=UUID(int=2), quantity=1),), shipping=True))
    assert (plan.amount_minor, plan.shipping_minor) == (979 + 500, 500)


def test_old_orders_share_discount_and_tax_by_largest_remainder() -> None:
    lines = (
        line(1, quantity=1, subtotal_minor=1_000, discount_minor=0, tax_minor=None),
        line(2, quantity=1, subtotal_minor=2_000, discount_minor=0, tax_minor=None),
    )
    assert worth_of_lines(order(lines, tax_minor=100, discount_minor=300)) == [933, 1_867]


def test_a_variant_on_several_lines_is_taken_from_one_after_the_other() -> None:
    sold = order((line(1), line(2, sku="SKU-1", variant_id=UUID(int=1))))
    plan = planned(sold, units(4))
    assert [(one.line, one.quantity) for one in plan.lines] == [(1, 3), (2, 1)]
    assert refused(sold, units(7)).name == "line_already_refunded"


def test_refunds_go_back_in_proportion_to_what_is_left() -> None:
    sold = order((line(1),), parts=paid(3_000, 640))
    plan = planned(sold, RefundScope(amount_minor=1_000))
    assert [one.amount_minor for one in plan.parts] == [824, 176]
    plan = planned(after(sold, plan), WHOLE)
    assert [one.amount_minor for one in plan.parts] == [2_176, 464]


@pytest.mark.parametrize(
    ("scope", "name", "says"),
    [
        (
            RefundScope(amount_minor=3_641),
            "refund_above_balance",
            "36.41 USD, but 36.40 USD are left",
        ),
        (units(4), "line_already_refunded", "of 3 that were bought 3 are left"),
        (units(1, "OTHER"), "line_unknown", "'OTHER' is not in this order"),
        (units(1, UUID(int=9)), "line_unknown", "name a line of it"),
    ],
)
def test_what_cannot_be_refunded_is_refused_by_name(
    scope: RefundScope, name: str, says: str
) -> None:
    refusal = refused(order((line(1),)), scope)
    assert refusal.name == name
    assert says in refusal.detail


@pytest.mark.parametrize(
    ("bought", "says"), [(1, "the only SKU-1 was"), (3, "all 3 of SKU-1 were")]
)
def test_units_that_were_all_refunded_are_told_so(bought: int, says: str) -> None:
    sold = order((line(1, quantity=bought),))
    sold = after(sold, planned(sold, units(bought)))
    refusal = refused(sold, units(1))
    assert refusal.name == "line_already_refunded"
    assert refusal.detail == f"{says} refunded before; leave the line out"


def test_an_amount_of_which_nothing_is_left() -> None:
    sold = order((line(1),))
    refusal = refused(after(sold, planned(sold, WHOLE)), RefundScope(amount_minor=500))
    assert (refusal.name, refusal.balance_minor) == ("refund_above_balance", 0)
    assert refusal.detail == (
        "the refund comes to 5.00 USD, but nothing is left of what was captured"
    )


@pytest.mark.parametrize("status", ["pending", "in_review", "awaiting_payment", "failed"])
def test_only_what_was_sold_is_refunded(status: str) -> None:
    sold = order((line(1),), status=status)
    assert refused(sold, WHOLE).name == "order_not_refundable"


def test_lines_after_an_amount_may_be_above_the_balance() -> None:
    sold = order((line(1),))
    sold = after(sold, planned(sold, RefundScope(amount_minor=1_000)))
    assert refused(sold, units(3)).name == "refund_above_balance"
    assert planned(sold, units(2)).amount_minor == 2_093


def test_shipping_is_refunded_once() -> None:
    sold = order((line(1),))
    sold = after(sold, planned(sold, SHIPPING))
    assert refused(sold, SHIPPING).name == "shipping_already_refunded"
    assert refused(order((line(1),), shipping_minor=0), SHIPPING).name == "nothing_to_refund"


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"amount_minor": 0},
        {"amount_minor": 5, "shipping": True},
        {"whole": True, "amount_minor": 5},
        {"units": (UnitsOf(item="A", quantity=0),)},
    ],
)
def test_a_scope_that_means_nothing_is_a_fault_of_the_caller(scope: Any) -> None:
    with pytest.raises(ValueError, match="refund"):
        RefundScope(**scope)
