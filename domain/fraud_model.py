"""A trained model of fraud: boosted trees over the features of an order, and its file's content.

Plain data, no code: a file can be read, compared and kept by anyone. What it says of its own
training is `ModelFacts`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from domain.boosted_trees import BoostedTrees, Tree, TreeError
from domain.fraud_features import FEATURES, FraudInput, features

FORMAT = "doorbuster-fraud-model/1"
TEXT_LENGTH_MAX = 500
_COLUMNS = ("feature", "threshold", "missing_left", "left", "right", "value")
_FEATURE_NAMES = tuple(feature.name for feature in FEATURES)


class ModelError(ValueError):
    """A model's file that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """Gives the probability that an order is fraud. Call it with one order, or with many."""

    version: str
    """Names the trees: equal versions give equal answers."""
    trees: BoostedTrees = field(compare=False, repr=False)
    facts: Mapping[str, Any] = field(compare=False, repr=False, default_factory=dict[str, Any])
    """What the file says of the training: data, date, rows, figures. For reading only."""

    def __call__(self, order: FraudInput) -> float:
        """One order's probability of fraud, above 0 and below 1."""
        return self.trees.probability(features(order))

    def probabilities(self, orders: Sequence[FraudInput]) -> list[float]:
        """Each order's probability; the same as one by one, and faster."""
        return self.trees.probabilities([features(order) for order in orders])


def model_of(document: Mapping[str, Any]) -> TrainedModel:
    """The model that a file's content describes. Raises ModelError."""
    if document.get("format") != FORMAT:
        raise ModelError(
            f"its format is {document.get('format')!r}, not {FORMAT!r};"
            " make it with `doorbuster fraud train`"
        )
    names = document.get("features")
    if names != list(_FEATURE_NAMES):
        raise ModelError(
            f"it was trained on the features {names}; this release has"
            f" {', '.join(_FEATURE_NAMES)}: train it again"
        )
    version, facts = document.get("version"), document.get("trained")
    if not isinstance(version, str) or not 0 < len(version) <= TEXT_LENGTH_MAX:
        raise ModelError(f"its version is {version!r}; train it again")
    if not isinstance(facts, Mapping):
        raise ModelError("it does not say what it was trained on; train it again")
    try:
        trees = [_tree(one) for one in document["trees"]]
        boosted = BoostedTrees(
            trees, features=len(_FEATURE_NAMES), intercept=float(document["intercept"])
        )
    except TreeError as error:
        raise ModelError(str(error)) from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"its trees cannot be read ({error!r}); train it again") from None
    return TrainedModel(version=version, trees=boosted, facts=cast(Mapping[str, Any], facts))


def document_of(
    trees: Sequence[Tree], intercept: float, *, day: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of a model's file, for `model_of`; its version is `day` and a digest of the trees.

    A threshold of infinity, which JSON cannot say, is written as null.
    """
    rows = [_columns(tree) for tree in trees]
    # A digest of the text: floats are written so that they read back the same.
    text = json.dumps([intercept, rows, _FEATURE_NAMES])
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return {
        "format": FORMAT,
        "version": f"{day}.{digest}",
        "trained": dict(facts),
        "features": list(_FEATURE_NAMES),
        "intercept": intercept,
        "trees": rows,
    }


def _columns(tree: Tree) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: list(getattr(tree, name)) for name in _COLUMNS}
    columns["threshold"] = [None if math.isinf(edge) else edge for edge in tree.threshold]
    columns["missing_left"] = [int(goes) for goes in tree.missing_left]
    return columns


def _tree(columns: Mapping[str, Sequence[Any]]) -> Tree:
    return Tree(
        feature=tuple(int(one) for one in columns["feature"]),
        threshold=tuple(math.inf if one is None else float(one) for one in columns["threshold"]),
        missing_left=tuple(bool(one) for one in columns["missing_left"]),
        left=tuple(int(one) for one in columns["left"]),
        right=tuple(int(one) for one in columns["right"]),
        value=tuple(float(one) for one in columns["value"]),
    )
