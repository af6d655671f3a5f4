"""Policies and models from files: the shipped ones, a shop's own, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from domain.fraud_features import FEATURES
from domain.fraud_policy import SHIPPED_POLICY
from storage.fraud_files import (
    FILE_BYTES_MAX,
    SHIPPED_MODEL,
    FraudFileError,
    load_model,
    load_policy,
    load_scoring,
    write_model,
)


def shipped() -> dict[str, Any]:
    return orjson.loads(SHIPPED_MODEL.read_bytes())


def test_a_shop_without_files_has_the_shipped_ones() -> None:
    scoring = load_scoring()
    assert scoring.policy is SHIPPED_POLICY
    assert scoring.model_version == shipped()["version"]


def test_the_shipped_model_says_what_it_was_trained_on() -> None:
    trained = shipped()["trained"]
    assert trained["generated"] is True
    assert trained["source"] == "100,000 generated orders"
    assert trained["held_out"]["model_version"] == shipped()["version"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("policy.toml", "name = 'ours'\n[checks.high_velocity]\nabove = 9\n"),
        ("policy.json", '{"name": "ours", "checks": {"high_velocity": {"above": 9}}}'),
    ],
)
def test_a_policy_in_toml_or_json(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    policy = load_policy(tmp_path / name)
    assert (policy.name, policy.checks[0].above) == ("ours", 9)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("policy.toml", "name = ", "policy.toml is not valid TOML"),
        ("policy.json", "{", "policy.json is not valid JSON"),
        ("policy.json", "[]", "policy.json holds list"),
        ("policy.toml", "weight = 1", "the fraud policy .*policy.toml cannot be used: .*'weight'"),
    ],
)
def test_a_bad_policy_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FraudFileError, match=says):
        load_policy(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "pickle"}, "format is 'pickle'"),
        ({"features": ["moon"]}, "train it again"),
        ({"features": [feature.name for feature in FEATURES[::-1]]}, "train it again"),
        ({"version": ""}, "its version is ''"),
        ({"version": 3}, "its version is 3"),
        ({"trained": None}, "does not say what it was trained on"),
        ({"trees": []}, "0 trees"),
        ({"trees": [{}]}, "its trees cannot be read"),
        ({"trees": None}, "its trees cannot be read"),
        ({"trees": [{"feature": "x"}]}, "its trees cannot be read"),
        ({"intercept": None}, "its trees cannot be read"),
        ({"intercept": "many"}, "its trees cannot be read"),
    ],
)
def test_a_bad_model_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(orjson.dumps(shipped() | change))
    with pytest.raises(FraudFileError, match=says) as refused:
        load_model(path)
    assert str(path) in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FraudFileError, match=r"cannot read .*nowhere"):
        load_policy(tmp_path / "nowhere.toml")
    with pytest.raises(FraudFileError, match="cannot read"):
        load_model(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FraudFileError, match="not valid JSON"):
        load_model(tmp_path / "bytes.json")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(FraudFileError, match="are the most"):
        load_model(large)


def test_a_model_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write_model(path, shipped())
    assert path.read_bytes() == SHIPPED_MODEL.read_bytes()
    assert load_model(path) == load_model()
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]
