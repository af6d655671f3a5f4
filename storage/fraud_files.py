"""The files a shop scores fraud with: its policy (TOML or JSON) and its trained model (JSON).

A shop without files of its own has the shipped ones. The shipped model stands beside this
module; it was trained on generated orders (docs/fraud.md).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from domain.fraud import Scoring
from domain.fraud_model import ModelError, TrainedModel, model_of
from domain.fraud_policy import SHIPPED_POLICY, FraudPolicy, PolicyError, policy_of

SHIPPED_MODEL = Path(__file__).with_name("fraud_model.json")
FILE_BYTES_MAX = 32 * 1024 * 1024


class FraudFileError(ValueError):
    """A policy or model that cannot be used; the message names the file and what to mend."""


def load_scoring(policy: str | Path = "", model: str | Path = "") -> Scoring:
    """What to score with; an empty path stands for the shipped policy or model."""
    return Scoring(policy=load_policy(policy), model=load_model(model))


def load_policy(path: str | Path = "") -> FraudPolicy:
    """The policy in a file, `.json` or else TOML. Raises FraudFileError."""
    if not str(path):
        return SHIPPED_POLICY
    try:
        return policy_of(_document(Path(path)))
    except PolicyError as error:
        raise FraudFileError(f"the fraud policy {path} cannot be used: {error}") from None


def load_model(path: str | Path = "") -> TrainedModel:
    """The model in a file. Raises FraudFileError."""
    where = Path(path) if str(path) else SHIPPED_MODEL
    try:
        return model_of(_document(where, as_json=True))
    except ModelError as error:
        raise FraudFileError(f"the fraud model {where} cannot be used: {error}") from None


def write_model(path: Path, document: Mapping[str, Any]) -> None:
    """Put a model's file in place, whole or not at all."""
    # One tree a line: a difference between two models can be read.
    trees = ",\n".join(orjson.dumps(tree).decode() for tree in document["trees"])
    head = orjson.dumps({**document, "trees": []}, option=orjson.OPT_INDENT_2).decode()
    text = head.replace('"trees": []', f'"trees": [\n{trees}\n]')
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _document(path: Path, *, as_json: bool = False) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > FILE_BYTES_MAX:
            raise FraudFileError(f"{path} has {size:,} bytes; {FILE_BYTES_MAX:,} are the most")
        text = path.read_text(encoding="utf-8")
        is_json = as_json or path.suffix == ".json"
        document = orjson.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise FraudFileError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, FraudFileError):
            raise
        kind = "JSON" if as_json or path.suffix == ".json" else "TOML"
        raise FraudFileError(f"{path} is not valid {kind}: {error}") from None
    if not isinstance(document, dict):
        raise FraudFileError(f"{path} holds {type(document).__name__}; it must be a table")
    return document
