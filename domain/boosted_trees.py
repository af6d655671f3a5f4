"""Gradient-boosted trees with few leaves, evaluated for many rows at once without walking them.

How: leaves of a tree are numbered from left to right, at most eight, one bit each. A node whose
condition fails rules out the leaves on its left, one whose condition holds those on its right;
the lowest bit that is left is the leaf that a walk would reach. Which leaves the nodes of one
feature rule out depends only on how many of the feature's thresholds the value is above, so
all of it is looked up: one row per feature, `and`ed over the features. The idea is that of
QuickScorer (Lucchese and others, SIGIR 2015).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

LEAVES_MAX = 8  # one bit each in a byte
TREES_MAX = 2_000
FEATURES_MAX = 100
ODDS_SUM_MAX = 4_096.0
"""The most that all trees together may add or take away, in log-odds; keeps sums exact."""

_UNIT = 2.0**-40
"""Leaf values are whole multiples of this, so that their sums are exact in any order: a row
gets the same answer alone and in a batch. It is under 1e-12 of log-odds per tree."""
_ODDS_MAX = 36.0
"""Log-odds are cut off here: beyond it a float cannot tell the probability from 1."""
_ALL_LEAVES = 0xFF


class TreeError(ValueError):
    """Trees that cannot be evaluated; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree, a column per property of its nodes; node 0 is the root.

    An inner node sends a row to `left` if its feature's value is at most `threshold`, or if the
    value is missing and `missing_left` is set; otherwise to `right`. A leaf has `left` = -1.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    missing_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    """Log-odds that a leaf adds; unused in inner nodes."""


@dataclass(frozen=True, slots=True)
class _Split:
    """An inner node and the leaves below it, as bits."""

    tree: int
    threshold: float
    missing_left: bool
    left_leaves: int
    right_leaves: int


class BoostedTrees:
    """The sum of trees and its logistic function. Raises TreeError for trees it cannot take."""

    __slots__ = ("_base", "_first_leaf", "_lists", "_offsets", "_rows", "_thresholds", "_values")

    def __init__(self, trees: Sequence[Tree], *, features: int, intercept: float) -> None:
        if not 0 < len(trees) <= TREES_MAX or not 0 < features <= FEATURES_MAX:
            raise TreeError(
                f"{len(trees):,} trees over {features} features; between 1 and {TREES_MAX:,}"
                f" trees and between 1 and {FEATURES_MAX} features can be used"
            )
        if not math.isfinite(intercept):
            raise TreeError(f"the intercept is {intercept}; it must be a finite number")
        splits: list[list[_Split]] = [[] for _ in range(features)]
        values = np.zeros((len(trees), _ALL_LEAVES + 1))
        for number, tree in enumerate(trees):
            leaves = _Leaves(number, tree, splits)
            for still in range(1, _ALL_LEAVES + 1):
                lowest = (still & -still).bit_length() - 1
                if lowest < len(leaves.values):
                    values[number, still] = leaves.values[lowest]
        if (most := float(np.abs(values).max(axis=1).sum())) > ODDS_SUM_MAX:
            raise TreeError(f"the trees may add up to {most:,.0f}; {ODDS_SUM_MAX:,.0f} can be used")
        self._base = intercept
        self._values = values.ravel()
        self._first_leaf = np.arange(len(trees), dtype=np.int64) * (_ALL_LEAVES + 1)
        self._thresholds = [
            np.array(sorted({split.threshold for split in one}), dtype=np.float64) for one in splits
        ]
        self._lists = [[float(edge) for edge in edges] for edges in self._thresholds]
        tables = [
            _ruled_out(one, edges, len(trees))
            for one, edges in zip(splits, self._lists, strict=True)
        ]
        starts = np.cumsum([0, *(len(table) for table in tables)])
        self._offsets = [int(start) for start in starts[:-1]]
        self._rows = np.concatenate(tables)

    def log_odds(self, row: Sequence[float]) -> float:
        """The sum for one row of features; NaN is a missing value."""
        places = [
            # NaN is the only number that is not itself.
            offset + (bisect_left(edges, x) if x == x else len(edges) + 1)  # noqa: PLR0124
            for x, edges, offset in zip(row, self._lists, self._offsets, strict=True)
        ]
        still = np.bitwise_and.reduce(self._rows[places], axis=0)
        return self._base + float(self._values[self._first_leaf + still].sum())

    def log_odds_of_all(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """The sum for each row (rows × features, NaN is missing): the same as one by one."""
        columns = np.array(rows, dtype=np.float64).T
        places = np.empty((len(rows), len(self._offsets)), dtype=np.int64)
        for number, edges in enumerate(self._thresholds):
            x = columns[number]
            rank = cast("NDArray[np.intp]", np.searchsorted(edges, x, side="left"))
            rank[np.isnan(x)] = len(edges) + 1
            places[:, number] = rank + self._offsets[number]
        still = self._rows[places[:, 0]]
        for number in range(1, len(self._offsets)):
            still &= self._rows[places[:, number]]
        return self._base + self._values[self._first_leaf + still].sum(axis=1)

    def probability(self, row: Sequence[float]) -> float:
        """The probability for one row, above 0 and below 1."""
        return logistic(self.log_odds(row))

    def probabilities(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The probability for each row."""
        return [logistic(odds) for odds in self.log_odds_of_all(rows).tolist()] if rows else []


def logistic(log_odds: float) -> float:
    """The probability that log-odds stand for, kept off 0 and 1."""
    return 1.0 / (1.0 + math.exp(-max(-_ODDS_MAX, min(_ODDS_MAX, log_odds))))


class _Leaves:
    """A tree's leaves from left to right; its inner nodes are added to `splits` by feature."""

    def __init__(self, number: int, tree: Tree, splits: list[list[_Split]]) -> None:
        self.values: list[float] = []
        self._number = number
        self._tree = tree
        self._splits = splits
        columns = (tree.feature, tree.threshold, tree.missing_left, tree.left, tree.right)
        if not tree.value or any(len(column) != len(tree.value) for column in columns):
            raise self._mistake("its columns are empty or of different lengths")
        if len(tree.value) > 2 * LEAVES_MAX - 1:
            raise self._mistake(f"it has {len(tree.value)} nodes; {2 * LEAVES_MAX - 1} can be used")
        self._add(0)

    def _add(self, node: int) -> int:
        """Adds what is below a node; gives its leaves as bits."""
        tree = self._tree
        if tree.left[node] < 0:
            value = tree.value[node]
            if not abs(value) <= ODDS_SUM_MAX:
                raise self._mistake(f"a leaf is {value}; it must be a number up to ±4,096")
            # Two nodes that share a child would count its leaves twice.
            if len(self.values) == LEAVES_MAX:
                raise self._mistake(f"it has more than {LEAVES_MAX} leaves")
            self.values.append(round(value / _UNIT) * _UNIT)
            return 1 << (len(self.values) - 1)
        left, right = tree.left[node], tree.right[node]
        # Children come after their node: so every walk ends.
        if not (node < left < len(tree.value) and node < right < len(tree.value)):
            raise self._mistake(f"node {node} leads to {left} and {right}")
        feature, threshold = tree.feature[node], tree.threshold[node]
        if not 0 <= feature < len(self._splits) or math.isnan(threshold):
            raise self._mistake(f"node {node} compares feature {feature} with {threshold}")
        left_leaves = self._add(left)
        right_leaves = self._add(right)
        self._splits[feature].append(
            _Split(self._number, threshold, tree.missing_left[node], left_leaves, right_leaves)
        )
        return left_leaves | right_leaves

    def _mistake(self, what: str) -> TreeError:
        return TreeError(f"tree {self._number} cannot be used: {what}")


def _ruled_out(splits: list[_Split], edges: list[float], trees: int) -> NDArray[np.uint8]:
    """For a value above k edges, row k: which leaves of each tree remain; last, for a missing one.

    Shape: (edges + 2) × trees.
    """
    table = np.full((len(edges) + 2, trees), _ALL_LEAVES, dtype=np.uint8)
    for split in splits:
        place = bisect_left(edges, split.threshold)
        goes_left = np.uint8(_ALL_LEAVES & ~split.right_leaves)
        goes_right = np.uint8(_ALL_LEAVES & ~split.left_leaves)
        table[: place + 1, split.tree] &= goes_left
        table[place + 1 : -1, split.tree] &= goes_right
        table[-1, split.tree] &= goes_left if split.missing_left else goes_right
    return table
