"""Training: our trees give scikit-learn's probabilities, are monotone, and are measured fairly."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, date, datetime
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from domain.boosted_trees import BoostedTrees
from domain.fraud import Scoring
from domain.fraud_features import FEATURES
from domain.fraud_model import document_of, model_of
from domain.fraud_policy import FraudPolicy
from gateways.fraud_csv import LabelledOrder
from serve_apps.fraud_picture import draw_curves
from serve_apps.fraud_training import (
    TrainingError,
    evaluate,
    fit,
    matrix_of,
    split_by_time,
    trained,
    trees_of,
)
from sim.fraud_orders import generated_orders
from storage.fraud_files import load_model

DAY = date(2026, 11, 26)


@pytest.fixture(scope="module")
def orders() -> list[LabelledOrder]:
    return list(generated_orders(12_000, seed=5, begin=datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.fixture(scope="module")
def classifier(orders: list[LabelledOrder]) -> HistGradientBoostingClassifier:
    return fit(orders[:8_000], seed=1)


def _any_rows(count: int) -> np.ndarray[Any, Any]:
    """Rows of every kind: usual and absurd numbers, zeros, and missing values anywhere."""
    rng = random.Random(11)
    numbers = (nan, 0.0, 1.0, 5.0, -1.0, 1e12)
    return np.array(
        [[rng.choice((*numbers, rng.lognormvariate(1, 3))) for _ in FEATURES] for _ in range(count)]
    )


def test_our_trees_give_scikit_learns_probabilities(
    orders: list[LabelledOrder], classifier: HistGradientBoostingClassifier
) -> None:
    trees, intercept = trees_of(classifier)
    ours = BoostedTrees(trees, features=len(FEATURES), intercept=intercept)
    for rows in (matrix_of(orders), _any_rows(5_000)):
        theirs = classifier.predict_proba(rows)[:, 1]
        assert np.abs(np.array(ours.probabilities(rows.tolist())) - theirs).max() < 1e-9
        assert abs(ours.probability(rows[0].tolist()) - theirs[0]) < 1e-9


def test_thresholds_themselves_go_where_scikit_learn_sends_them(
    classifier: HistGradientBoostingClassifier,
) -> None:
    trees, intercept = trees_of(classifier)
    ours = BoostedTrees(trees, features=len(FEATURES), intercept=intercept)
    rng = random.Random(1)
    edges: list[list[float]] = [[nan] for _ in FEATURES]
    for tree in trees:
        for node, feature in enumerate(tree.feature):
            if tree.left[node] >= 0:
                edges[feature].append(tree.threshold[node])
    rows = np.array([[rng.choice(of_one) for of_one in edges] for _ in range(3_000)])
    theirs = classifier.predict_proba(rows)[:, 1]
    assert np.abs(np.array(ours.probabilities(rows.tolist())) - theirs).max() < 1e-9


def test_a_file_gives_the_same_model_back(
    orders: list[LabelledOrder], classifier: HistGradientBoostingClassifier
) -> None:
    trees, intercept = trees_of(classifier)
    document = document_of(trees, intercept, day="2026-11-26", facts={})
    inputs = [one.order for one in orders[:500]]
    direct = BoostedTrees(trees, features=len(FEATURES), intercept=intercept)
    model = model_of(document)
    assert model.probabilities(inputs) == direct.probabilities(matrix_of(orders[:500]).tolist())
    assert [model(one) for one in inputs] == model.probabilities(inputs)
    other = document_of(trees[:-1], intercept, day="2026-11-26", facts={})
    assert other["version"] != document["version"], "the version names the trees"


def test_the_same_orders_give_the_same_model(orders: list[LabelledOrder]) -> None:
    once, _ = trained(orders, day=DAY, source="tests", seed=1)
    again, _ = trained(orders[::-1], day=DAY, source="tests", seed=1)
    assert once["trees"] == again["trees"]
    assert once["version"].startswith("2026-11-26.")


def test_the_latest_orders_are_held_out(orders: list[LabelledOrder]) -> None:
    train, held_out = split_by_time(orders[::-1], 0.25)
    assert (len(train), len(held_out)) == (9_000, 3_000)
    assert max(one.ordered_at for one in train) <= min(one.ordered_at for one in held_out)


def test_orders_without_enough_of_both_kinds_are_refused(orders: list[LabelledOrder]) -> None:
    with pytest.raises(TrainingError, match=r"to train on, .* give more orders"):
        split_by_time(orders[:50])
    with pytest.raises(TrainingError, match="0 are fraud"):
        evaluate([one for one in orders if not one.fraud], Scoring())
    honest_then = [dataclasses.replace(one, fraud=False) for one in orders[9_000:]]
    with pytest.raises(TrainingError, match="held out to measure with"):
        split_by_time([*orders[:9_000], *honest_then])


def test_the_evaluation_counts_what_the_policy_does(orders: list[LabelledOrder]) -> None:
    policy = FraudPolicy(review_from=25.0, decline_from=50.0)
    scoring = Scoring(policy=policy, model=load_model())
    measured = evaluate(orders, scoring)
    verdicts = scoring.score_batch([one.order for one in orders])
    stopped = [one.action != "approve" for one in verdicts]
    caught = sum(one.fraud and stop for one, stop in zip(orders, stopped, strict=True))
    review = measured.review
    assert review.true_positives == caught > 0
    assert review.precision == caught / sum(stopped)
    assert review.recall == caught / sum(one.fraud for one in orders)
    assert review.stopped_share == sum(stopped) / len(orders)
    assert sum(one.action == "decline" for one in verdicts) == (
        measured.decline.true_positives + measured.decline.false_positives
    )
    assert sum(row["orders"] for row in measured.calibration) == len(orders)


def test_the_model_ranks_better_than_the_scorecard(orders: list[LabelledOrder]) -> None:
    """The shipped model has not seen these: they are of another seed."""
    ours, alone, naive, naive_alone = evaluate(orders, Scoring(model=load_model())).rankings
    assert alone.average_precision > 2 * naive_alone.average_precision
    assert ours.average_precision > naive.average_precision
    assert alone.brier is not None
    assert naive_alone.brier is not None
    assert alone.brier < naive_alone.brier


def test_the_picture_is_the_same_each_time(orders: list[LabelledOrder], tmp_path: Path) -> None:
    measured = evaluate(orders, Scoring(model=load_model()))
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        draw_curves(measured, path, note="of the tests")
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    for told in ("recall", "precision", "model alone", "review from 30", "decline from 60"):
        assert told in text
    with pytest.raises(ValueError, match=r"must end in \.svg or \.png"):
        draw_curves(measured, tmp_path / "curve.gif", note="")
