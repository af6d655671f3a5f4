"""The fraud benchmark measures what it says: ours beside scikit-learn, which must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fraud
from benchmarks.figures import BenchOptions, find_benchmark


def test_a_short_run_has_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fraud, "QUICK_ORDERS", 3_000)
    options = BenchOptions(home=tmp_path, port=1, seconds=0.05, quick=True)
    result = find_benchmark("fraud").run(options)
    batch, one = result.tables
    assert [figure.name for figure in batch.figures] == [
        "checks, trees, reasons",
        "trees alone",
        "scikit-learn predict_proba",
        "checks and scorecard",
    ]
    for figure in (*batch.figures, *one.figures):
        assert figure.unit == "ms"
        assert 0 < figure.details["p50_ms"] <= figure.value
        assert figure.details["calls"] >= 1
    assert result.parameters["batch"] == 100


def test_trees_that_do_not_agree_are_not_measured() -> None:
    with pytest.raises(RuntimeError, match="nothing was measured"):
        fraud._must_agree([0.5], [0.5 + 1e-6])
