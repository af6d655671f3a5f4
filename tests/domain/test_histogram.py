"""The latency histogram: within 1 %, mergeable without loss, published and read back."""

from __future__ import annotations

from math import ceil, nan

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.histogram import CEILING_MS, FLOOR_MS, LatencyHistogram

durations = st.lists(
    st.floats(min_value=FLOOR_MS, max_value=CEILING_MS, allow_nan=False), min_size=1, max_size=200
)


def _filled(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(values=durations, q=st.floats(min_value=0.0, max_value=1.0))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(
    values: list[float], q: float
) -> None:
    exact = sorted(values)[max(1, ceil(q * len(values))) - 1]
    assert _filled(values).quantile(q) == pytest.approx(exact, rel=0.01)


@given(first=durations, second=durations)
def test_merging_is_recording_both(first: list[float], second: list[float]) -> None:
    merged = _filled(first)
    merged.merge(_filled(second))
    both = _filled(first + second)
    assert merged.to_list()[3:] == both.to_list()[3:]
    assert (merged.count, merged.max_ms) == (both.count, both.max_ms)
    assert merged.sum_ms == pytest.approx(both.sum_ms)


@given(values=durations)
def test_what_is_published_is_read_back(values: list[float]) -> None:
    histogram = _filled(values)
    wire = orjson.loads(orjson.dumps(histogram.to_list()))
    assert LatencyHistogram.from_list(wire).to_list() == histogram.to_list()


def test_nothing_recorded_reads_as_zero_and_reset_forgets() -> None:
    histogram = _filled([5.0, 7.0])
    assert (histogram.count, histogram.max_ms, histogram.mean_ms) == (2, 7.0, 6.0)
    histogram.reset()
    assert (histogram.count, histogram.quantile(0.99), histogram.mean_ms) == (0, 0.0, 0.0)


@pytest.mark.parametrize("ms", [0.0, FLOOR_MS, FLOOR_MS * 1.001, CEILING_MS * 0.9999, 1e15])
def test_the_ends_of_the_range_have_a_bucket(ms: float) -> None:
    histogram = _filled([ms])
    assert (histogram.count, histogram.quantile(1.0)) == (1, ms)


@pytest.mark.parametrize("ms", [-0.001, nan])
def test_an_impossible_duration_is_refused(ms: float) -> None:
    with pytest.raises(ValueError, match="monotonic"):
        LatencyHistogram().record(ms)


def test_an_impossible_quantile_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LatencyHistogram().quantile(1.5)


@pytest.mark.parametrize(
    "flat",
    [[], [2, 1.0, 1.0], [1, 1.0, 1.0, 5], [1, 1.0, 1.0, 9_999, 1], [1, 1.0, 1.0, 5, -1]],
)
def test_a_damaged_list_is_refused(flat: list[float]) -> None:
    with pytest.raises(ValueError, match="histogram"):
        LatencyHistogram.from_list(flat)
