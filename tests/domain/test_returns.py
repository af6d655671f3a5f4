"""Goods come back to the pairs that they left, and never more of them than left."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.refunds import RefundPlan, RefundRefusal, RefundScope, UnitsOf, plan_refund
from domain.returns import CameBack, PlannedReturn, TakenFrom, instruction_of, plan_returns
from tests.domain.test_refunds import line, order

MUG, TEE = UUID(int=1), UUID(int=2)
EAST, WEST, FAR = (UUID(int=at) for at in (10, 11, 12))
SOLD = order((line(1), line(2)))


def taken(pair: UUID, quantity: int, variant: UUID = MUG, returned: int = 0) -> TakenFrom:
    return TakenFrom(inventory_id=pair, variant_id=variant, quantity=quantity, returned=returned)


def back(quantity: int, number: int = 1) -> CameBack:
    return CameBack(line=number, variant_id=UUID(int=number), quantity=quantity)


def to(pair: UUID, quantity: int, number: int = 1) -> PlannedReturn:
    return PlannedReturn(line=number, inventory_id=pair, quantity=quantity)


def planned(scope: RefundScope, *sources: TakenFrom) -> tuple[PlannedReturn, ...]:
    plan = plan_refund(replace(SOLD, taken=sources), scope)
    assert isinstance(plan, RefundPlan), plan
    return plan.returns


def test_units_go_first_to_the_pair_that_has_most_left_to_get_back() -> None:
    sources = (taken(EAST, 3, returned=2), taken(WEST, 2), taken(FAR, 9, TEE))
    assert plan_returns([back(1)], sources) == (to(WEST, 1),)
    assert plan_returns([back(3)], sources) == (to(WEST, 2), to(EAST, 1))
    assert plan_returns([back(4)], sources) == back(4)


def test_two_lines_of_one_variant_share_what_left() -> None:
    both = [back(1), CameBack(line=3, variant_id=MUG, quantity=1)]
    assert plan_returns(both, [taken(EAST, 2)]) == (to(EAST, 1), to(EAST, 1, 3))
    assert plan_returns(both, [taken(EAST, 1)]) == both[1]


def test_nothing_goes_back_unless_the_refund_says_so() -> None:
    sources = (taken(EAST, 3), taken(EAST, 3, TEE))
    for scope in (RefundScope(whole=True), RefundScope(units=(UnitsOf(item="SKU-1", quantity=1),))):
        assert planned(scope, *sources) == ()


@pytest.mark.parametrize("item", ["SKU-1", MUG])
def test_each_line_says_for_itself_whether_it_came_back(item: str | UUID) -> None:
    units = (
        UnitsOf(item=item, quantity=1, restock=True),
        UnitsOf(item=item, quantity=1),
        UnitsOf(item="SKU-2", quantity=2),
    )
    assert planned(RefundScope(units=units), taken(EAST, 3)) == (to(EAST, 1),)


def test_all_that_is_left_of_a_whole_order_can_come_back() -> None:
    sources = (taken(EAST, 3), taken(WEST, 3, TEE))
    whole = planned(RefundScope(whole=True, restock=True), *sources)
    assert whole == (to(EAST, 3), to(WEST, 3, 2))


def test_what_never_left_a_pair_or_was_refunded_before_cannot_come_back() -> None:
    units = (UnitsOf(item="SKU-1", quantity=2),)
    refusal = plan_refund(
        replace(SOLD, taken=(taken(EAST, 1),)), RefundScope(units=units, restock=True)
    )
    assert isinstance(refusal, RefundRefusal)
    assert refusal.name == "restock_not_possible"
    assert "2 of SKU-1 are to go back into stock, but only 1 that left it" in refusal.detail
    empty = replace(SOLD, lines=tuple(replace(one, refunded_quantity=3) for one in SOLD.lines))
    refusal = plan_refund(empty, RefundScope(whole=True, restock=True))
    assert isinstance(refusal, RefundRefusal)
    assert refusal.name == "restock_not_possible"


@pytest.mark.parametrize("scope", [{"amount_minor": 5}, {"shipping": True}])
def test_an_amount_and_the_shipping_are_no_goods(scope: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="only units of lines go back into stock"):
        RefundScope(**scope, restock=True)  # pyright: ignore[reportArgumentType]


def test_a_return_is_the_same_movement_whenever_it_is_asked_for() -> None:
    names = {
        instruction_of(refund, to(pair, 1, number))
        for refund in (MUG, TEE)
        for pair in (EAST, WEST)
        for number in (1, 2)
    }
    assert len(names) == 8
    assert instruction_of(MUG, to(EAST, 1)) == instruction_of(MUG, to(EAST, 2))


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 5), st.sampled_from([MUG, TEE])), max_size=5
    ),
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2])), min_size=1, max_size=4),
)
def test_no_pair_gets_more_than_it_gave(
    sources: list[tuple[int, int, UUID]], wanted: list[tuple[int, int]]
) -> None:
    pairs = [
        taken(UUID(int=at), quantity, variant, min(returned, quantity))
        for at, (quantity, returned, variant) in enumerate(sources, 100)
    ]
    units = [back(quantity, number) for quantity, number in wanted]
    planned = plan_returns(units, pairs)
    left = {
        variant: sum(one.left for one in pairs if one.variant_id == variant)
        for variant in (MUG, TEE)
    }
    asked = {
        variant: sum(one.quantity for one in units if one.variant_id == variant) for variant in left
    }
    if isinstance(planned, CameBack):
        assert asked[planned.variant_id] > left[planned.variant_id]
        return
    for pair in pairs:
        got = sum(one.quantity for one in planned if one.inventory_id == pair.inventory_id)
        assert got <= pair.left
    assert sum(one.quantity for one in planned) == sum(asked.values())
