"""Training a model of fraud on labelled orders, and measuring it on those it has not seen.

Trained with scikit-learn's histogram gradient boosting; every feature is held to be monotone, so
that more of it never lowers the probability. What comes out is plain data for
`domain/fraud_model.py`, and is checked against scikit-learn before it is given away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from threadpoolctl import threadpool_limits

from domain.boosted_trees import LEAVES_MAX, Tree
from domain.fraud import BATCH_MAX, Scoring
from domain.fraud_features import FEATURES, FraudInput, features
from domain.fraud_model import TrainedModel, document_of, model_of
from domain.fraud_policy import SHIPPED_POLICY, FraudPolicy
from gateways.fraud_csv import GENERATED, LabelledOrder

HELD_OUT_SHARE = 0.25
SIDE_MIN = 20
"""Orders of either kind that each part needs; with fewer, no figure means anything."""
CUT_OFFS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
AGREEMENT = 1e-9
"""How far our probability may be from scikit-learn's."""

TREES = 120
LEARNING_RATE = 0.06
LEAF_ORDERS_MIN = 40
LEAF_PENALTY = 5.0
BINS_OF_CALIBRATION = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class TrainingError(ValueError):
    """Orders that no model can be trained on or measured with; says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """What comes of stopping every order from this risk score on."""

    risk_score: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        """The share of fraud among what is stopped; None if nothing is."""
        stopped = self.true_positives + self.false_positives
        return self.true_positives / stopped if stopped else None

    @property
    def recall(self) -> float:
        """The share of all fraud that is stopped."""
        return self.true_positives / (self.true_positives + self.false_negatives)

    @property
    def stopped_share(self) -> float:
        """The share of all orders that are stopped."""
        stopped = self.true_positives + self.false_positives
        return stopped / (stopped + self.false_negatives + self.true_negatives)

    def as_json(self) -> dict[str, Any]:
        """Counts and shares as plain values."""
        shares = {
            "precision": self.precision,
            "recall": self.recall,
            "stopped_share": self.stopped_share,
        }
        return {**asdict(self), **shares}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How well one number orders the held-out orders by risk."""

    name: str
    values: NDArray[np.float64]
    average_precision: float
    roc_auc: float
    brier: float | None
    """Mean squared error of a probability; None for a score that is none."""

    def as_json(self) -> dict[str, Any]:
        """The figures without the values."""
        return {
            "name": self.name,
            "average_precision": self.average_precision,
            "roc_auc": self.roc_auc,
            "brier": self.brier,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A scoring measured on labelled orders."""

    model_version: str
    policy: FraudPolicy
    fraud: NDArray[np.bool_]
    rankings: tuple[Ranking, ...]
    """The risk score first, then the model alone, then the same with the scorecard as model."""
    cut_offs: tuple[CutOff, ...]
    review: CutOff
    decline: CutOff
    calibration: tuple[Mapping[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        orders, fraud = len(self.fraud), int(self.fraud.sum())
        share = fraud / orders
        return {
            "model_version": self.model_version,
            "policy": self.policy.name,
            "orders": orders,
            "fraud": fraud,
            "fraud_share": share,
            "brier_of_a_constant": share * (1 - share),
            "rankings": [ranking.as_json() for ranking in self.rankings],
            "at_review": self.review.as_json(),
            "at_decline": self.decline.as_json(),
            "cut_offs": [cut_off.as_json() for cut_off in self.cut_offs],
            "calibration": [dict(row) for row in self.calibration],
        }


def split_by_time(
    orders: Sequence[LabelledOrder], held_out_share: float = HELD_OUT_SHARE
) -> tuple[list[LabelledOrder], list[LabelledOrder]]:
    """The earlier orders to train on, the latest to measure with. Raises TrainingError.

    By time, not by lot: a model is used on orders that come after those it was trained on.
    """
    ordered = sorted(orders, key=lambda one: one.ordered_at)
    first_held = len(ordered) - round(len(ordered) * held_out_share)
    train, held_out = ordered[:first_held], ordered[first_held:]
    need_both_kinds(train, "to train on")
    need_both_kinds(held_out, "held out to measure with")
    return train, held_out


def need_both_kinds(orders: Sequence[LabelledOrder], which: str) -> None:
    """Raises TrainingError if there is too little fraud, or too little else."""
    fraud = sum(one.fraud for one in orders)
    if min(fraud, len(orders) - fraud) < SIDE_MIN:
        raise TrainingError(
            f"of the {len(orders):,} orders {which}, {fraud:,} are fraud and"
            f" {len(orders) - fraud:,} are not; each must be {SIDE_MIN} at least: give more orders"
        )


def fit(orders: Sequence[LabelledOrder], *, seed: int) -> HistGradientBoostingClassifier:
    """The boosted trees for these orders."""
    classifier = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=LEARNING_RATE,
        max_leaf_nodes=LEAVES_MAX,
        min_samples_leaf=LEAF_ORDERS_MIN,
        l2_regularization=LEAF_PENALTY,
        monotonic_cst=[1] * len(FEATURES),
        early_stopping=False,  # pyright: ignore[reportArgumentType]  # bool is documented
        random_state=seed,
    )
    # More threads save half a second at best; on a busy machine they wait for each other, for half
    # a minute. One thread also adds up in one order, so that the same orders give the same trees.
    with threadpool_limits(1):
        return classifier.fit(matrix_of(orders), labels_of(orders))


def matrix_of(orders: Sequence[LabelledOrder]) -> NDArray[np.float64]:
    """Orders × features; NaN for what is not known."""
    return np.array([features(one.order) for one in orders], dtype=np.float64)


def labels_of(orders: Sequence[LabelledOrder]) -> NDArray[np.bool_]:
    """True for fraud."""
    return np.array([one.fraud for one in orders], dtype=np.bool_)


def trees_of(classifier: HistGradientBoostingClassifier) -> tuple[list[Tree], float]:
    """The trees of a fitted classifier, and the intercept in log-odds."""
    trees: list[Tree] = []
    for (predictor,) in classifier._predictors:  # scikit-learn has no public way to them
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        trees.append(
            Tree(
                feature=tuple(np.where(leaf, 0, nodes["feature_idx"]).tolist()),
                threshold=tuple(np.where(leaf, 0.0, nodes["num_threshold"]).tolist()),
                missing_left=tuple((nodes["missing_go_to_left"].astype(bool) & ~leaf).tolist()),
                left=tuple(np.where(leaf, -1, nodes["left"].astype(np.int64)).tolist()),
                right=tuple(np.where(leaf, -1, nodes["right"].astype(np.int64)).tolist()),
                value=tuple(np.where(leaf, nodes["value"], 0.0).tolist()),
            )
        )
    return trees, float(np.ravel(classifier._baseline_prediction)[0])


def trained(
    orders: Sequence[LabelledOrder],
    *,
    day: date,
    source: str,
    seed: int,
    held_out_share: float = HELD_OUT_SHARE,
    policy: FraudPolicy = SHIPPED_POLICY,
) -> tuple[dict[str, Any], Evaluation]:
    """A model's file and what it is worth on the held-out orders. Raises TrainingError.

    `day` and `source` (where the orders come from) are written into the file.
    """
    train, held_out = split_by_time(orders, held_out_share)
    classifier = fit(train, seed=seed)
    trees, intercept = trees_of(classifier)
    # Once without, to measure; then with what was measured. The version stays: it names the trees.
    model = model_of(document_of(trees, intercept, day=day.isoformat(), facts={}))
    _check_agreement(classifier, model, held_out)
    evaluation = evaluate(held_out, Scoring(policy=policy, model=model))
    facts = {
        "day": day.isoformat(),
        "source": source,
        "generated": are_generated(orders),
        "orders": len(orders),
        "fraud": int(labels_of(orders).sum()),
        "trained_on": {
            "orders": len(train),
            "from": train[0].ordered_at.isoformat(),
            "to": train[-1].ordered_at.isoformat(),
        },
        "seed": seed,
        "trees": len(trees),
        "held_out": evaluation.as_json(),
    }
    return document_of(trees, intercept, day=day.isoformat(), facts=facts), evaluation


def are_generated(orders: Sequence[LabelledOrder]) -> bool:
    """True if any of them was placed by nobody."""
    return any(one.order_id.startswith(GENERATED) for one in orders)


def _check_agreement(
    classifier: HistGradientBoostingClassifier, model: TrainedModel, orders: Sequence[LabelledOrder]
) -> None:
    with threadpool_limits(1):
        theirs = classifier.predict_proba(matrix_of(orders))[:, 1]
    ours = np.array(model.probabilities([one.order for one in orders]))
    if (apart := float(np.abs(theirs - ours).max())) > AGREEMENT:
        raise RuntimeError(
            f"the exported trees are {apart:.2g} off scikit-learn's answer; this release does not"
            " fit the installed scikit-learn: install the locked version"
        )


def evaluate(orders: Sequence[LabelledOrder], scoring: Scoring) -> Evaluation:
    """Measure a scoring on labelled orders, beside the scorecard. Raises TrainingError."""
    need_both_kinds(orders, "to measure with")
    fraud = labels_of(orders)
    inputs = [one.order for one in orders]
    policy = scoring.policy
    risk, chances = _scores(inputs, scoring)
    naive, naive_chances = _scores(inputs, Scoring(policy=policy))
    return Evaluation(
        model_version=scoring.model_version,
        policy=policy,
        fraud=fraud,
        rankings=(
            _ranking("checks and model", risk, fraud, is_probability=False),
            _ranking("model alone", chances, fraud, is_probability=True),
            _ranking("checks and scorecard", naive, fraud, is_probability=False),
            _ranking("scorecard alone", naive_chances, fraud, is_probability=True),
        ),
        cut_offs=tuple(_cut_off(risk, fraud, place) for place in CUT_OFFS),
        review=_cut_off(risk, fraud, policy.review_from),
        decline=_cut_off(risk, fraud, policy.decline_from),
        calibration=_calibration(chances, fraud),
    )


def _scores(
    orders: Sequence[FraudInput], scoring: Scoring
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The risk score of each order, and what its model alone says."""
    model = scoring.model
    scores: list[float] = []
    chances: list[float] = []
    for begin in range(0, len(orders), BATCH_MAX):
        batch = orders[begin : begin + BATCH_MAX]
        scores += [verdict.risk_score for verdict in scoring.score_batch(batch)]
        if isinstance(model, TrainedModel):
            chances += model.probabilities(batch)
        else:
            chances += [model(order) for order in batch]
    return np.array(scores), np.array(chances)


def _ranking(
    name: str, values: NDArray[np.float64], fraud: NDArray[np.bool_], *, is_probability: bool
) -> Ranking:
    return Ranking(
        name=name,
        values=values,
        average_precision=float(average_precision_score(fraud, values)),
        roc_auc=float(roc_auc_score(fraud, values)),
        brier=float(brier_score_loss(fraud, values)) if is_probability else None,
    )


def _cut_off(risk: NDArray[np.float64], fraud: NDArray[np.bool_], place: float) -> CutOff:
    stopped = risk >= place
    return CutOff(
        risk_score=place,
        true_positives=int((stopped & fraud).sum()),
        false_positives=int((stopped & ~fraud).sum()),
        false_negatives=int((~stopped & fraud).sum()),
        true_negatives=int((~stopped & ~fraud).sum()),
    )


def _calibration(
    chances: NDArray[np.float64], fraud: NDArray[np.bool_]
) -> tuple[Mapping[str, float], ...]:
    """By ranges of the model's probability: orders, its mean, and the share that was fraud."""
    rows: list[Mapping[str, float]] = []
    for low, high in pairwise(BINS_OF_CALIBRATION):
        inside = (chances >= low) & (chances < (math.inf if high == 1.0 else high))
        if count := int(inside.sum()):
            rows.append(
                {
                    "from": low,
                    "to": high,
                    "orders": count,
                    "told": float(chances[inside].mean()),
                    "was": float(fraud[inside].mean()),
                }
            )
    return tuple(rows)
