"""Trees looked up give what a walk gives, alone and in a batch; trees that make no sense are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.boosted_trees import LEAVES_MAX, BoostedTrees, Tree, TreeError, logistic

FEATURES = 3
THRESHOLDS = (-1.0, 0.0, 0.5, 2.0, inf)
STUMP = Tree(
    feature=(0, 0, 0),
    threshold=(0.5, 0.0, 0.0),
    missing_left=(True, False, False),
    left=(1, -1, -1),
    right=(2, -1, -1),
    value=(0.0, -1.0, 2.0),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree of any shape with up to LEAVES_MAX leaves."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("feature", "threshold", "missing_left", "left", "right", "value")
    }

    def add(feature: int, threshold: float, missing_left: bool, value: float) -> int:
        row = (feature, threshold, missing_left, -1, -1, value)
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
        return len(columns["value"]) - 1

    def grow(leaves: int) -> int:
        if leaves == 1:
            return add(0, 0.0, False, draw(st.floats(-3, 3)))
        node = add(
            draw(st.integers(0, FEATURES - 1)),
            draw(st.sampled_from(THRESHOLDS)),
            draw(st.booleans()),
            0.0,
        )
        on_the_left = draw(st.integers(1, leaves - 1))
        columns["left"][node] = grow(on_the_left)
        columns["right"][node] = grow(leaves - on_the_left)
        return node

    grow(draw(st.integers(1, LEAVES_MAX)))
    return Tree(**{name: tuple(column) for name, column in columns.items()})


def walk(tree: Tree, row: Sequence[float]) -> float:
    node = 0
    while tree.left[node] >= 0:
        value = row[tree.feature[node]]
        left = tree.missing_left[node] if isnan(value) else value <= tree.threshold[node]
        node = tree.left[node] if left else tree.right[node]
    return tree.value[node]


values = st.sampled_from([*THRESHOLDS[:-1], nan, -inf, inf, 1e300]) | st.floats(allow_nan=True)
rows = st.tuples(*[values] * FEATURES)


@given(st.lists(trees(), min_size=1, max_size=5), st.lists(rows, max_size=8))
def test_a_look_up_gives_what_a_walk_gives(
    ensemble: list[Tree], batch: list[tuple[float, ...]]
) -> None:
    boosted = BoostedTrees(ensemble, features=FEATURES, intercept=-1.0)
    for row in batch:
        walked = -1.0 + sum(walk(tree, row) for tree in ensemble)
        assert boosted.log_odds(row) == pytest.approx(walked, abs=1e-10)


@given(st.lists(trees(), min_size=1, max_size=9), st.lists(rows, max_size=8))
def test_a_row_gets_the_same_alone_and_in_a_batch(
    ensemble: list[Tree], batch: list[tuple[float, ...]]
) -> None:
    boosted = BoostedTrees(ensemble, features=FEATURES, intercept=0.1)
    backwards = BoostedTrees(ensemble[::-1], features=FEATURES, intercept=0.1)
    alone = [boosted.probability(row) for row in batch]
    assert boosted.probabilities(batch) == alone
    assert backwards.probabilities(batch) == alone, "nor does the order of the trees matter"


def test_what_is_at_the_threshold_goes_left() -> None:
    boosted = BoostedTrees([STUMP], features=1, intercept=0.0)
    assert [boosted.log_odds([x]) for x in (0.5, 0.5000001, nan)] == [-1.0, 2.0, -1.0]


def test_a_probability_is_never_certain() -> None:
    assert 0 < logistic(-1e9) < 1e-12
    assert 1 - 1e-12 < logistic(1e9) < 1
    assert logistic(0.0) == 0.5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"value": (0.0, nan, 1.0)}, "a leaf is nan"),
        ({"value": (0.0, 5_000.0, 1.0)}, "a leaf is 5000"),
        ({"value": ()}, "different lengths"),
        ({"left": (0, -1, -1)}, "node 0 leads to 0"),
        ({"right": (3, -1, -1)}, "leads to 1 and 3"),
        ({"feature": (9, 0, 0)}, "compares feature 9"),
        ({"threshold": (nan, 0.0, 0.0)}, "with nan"),
    ],
)
def test_a_tree_that_makes_no_sense_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TreeError, match=says):
        BoostedTrees([dataclasses.replace(STUMP, **changes)], features=1, intercept=0.0)


def test_ensembles_have_bounds() -> None:
    wide = 2 * LEAVES_MAX + 1
    many_leaves = Tree(
        feature=(0,) * wide,
        threshold=(0.0,) * wide,
        missing_left=(False,) * wide,
        left=(-1,) * wide,
        right=(-1,) * wide,
        value=(0.0,) * wide,
    )
    inner = 6  # each leads to the next on both sides: 64 ways to one leaf
    shared = Tree(
        feature=(0,) * (inner + 1),
        threshold=(0.0,) * (inner + 1),
        missing_left=(False,) * (inner + 1),
        left=(*range(1, inner + 1), -1),
        right=(*range(1, inner + 1), -1),
        value=(0.0,) * (inner + 1),
    )
    large = dataclasses.replace(STUMP, value=(0.0, 4_000.0, 0.0))
    for trees_, intercept, says in (
        ([], 0.0, "0 trees"),
        ([STUMP] * 2_001, 0.0, "2,001 trees"),
        ([STUMP], inf, "intercept is inf"),
        ([many_leaves], 0.0, "17 nodes"),
        ([shared], 0.0, "more than 8 leaves"),
        ([large, large], 0.0, "add up to 8,000"),
    ):
        with pytest.raises(TreeError, match=says):
            BoostedTrees(trees_, features=1, intercept=intercept)
