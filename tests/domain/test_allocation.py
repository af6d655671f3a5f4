"""Parts of an amount add up to it, stay close to their share, and do not depend on the order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from domain.allocation import allocate

WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=20).filter(any)


@given(st.integers(0, 10**12), WEIGHTS)
def test_parts_add_up_and_are_within_a_unit_of_their_share(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights, range(len(weights)))
    whole = sum(weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * whole - total * weight) < whole
        assert weight or not part


@given(WEIGHTS, st.data())
def test_no_part_is_above_its_weight(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    parts = allocate(total, weights, range(len(weights)))
    assert all(part <= weight for part, weight in zip(parts, weights, strict=True))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 50), min_size=1, max_size=9).filter(any))
def test_a_part_is_the_same_wherever_it_stands(total: int, weights: list[int]) -> None:
    keys = list(range(len(weights)))
    shuffled = keys[:]
    random.Random(total).shuffle(shuffled)
    moved = allocate(total, [weights[key] for key in shuffled], shuffled)
    assert [moved[shuffled.index(key)] for key in keys] == allocate(total, weights, keys)


def test_nothing_is_split_over_nothing() -> None:
    assert allocate(0, [0, 0], [1, 2]) == [0, 0]


def test_units_that_are_left_go_to_the_largest_fractions() -> None:
    assert allocate(10, [1, 1, 1], [3, 1, 2]) == [3, 4, 3]
    assert allocate(100, [333, 333, 334], [1, 2, 3]) == [33, 33, 34]
