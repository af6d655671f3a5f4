"""A latency histogram of fixed memory: log-spaced buckets, at most 1 % off, mergeable."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, log

FLOOR_MS = 0.001
"""Anything at or below one microsecond falls into the first bucket."""

CEILING_MS = 3_600_000.0
"""Anything at or above one hour falls into the last bucket."""

GROWTH = 1.02
"""Upper edge over lower edge of a bucket; its geometric middle is within 1 % of both edges."""

_BUCKETS_PER_E = 1.0 / log(GROWTH)
_OFFSET = 1.0 - log(FLOOR_MS) * _BUCKETS_PER_E
_BUCKETS = int(log(CEILING_MS) * _BUCKETS_PER_E + _OFFSET) + 2
_LAYOUT = 1
"""Marks published lists, so that a process of another version is refused instead of misread."""
_HEADER_LENGTH = 3


class LatencyHistogram:
    """Counts durations in milliseconds; about 9 kB, about a quarter of a microsecond a record.

    Not thread-safe: one event loop or one thread owns it. Histograms of several owners are put
    together with `merge`, which loses nothing.
    """

    __slots__ = ("_counts", "_max_ms", "_sum_ms")

    def __init__(self) -> None:
        self._counts: list[int] = [0] * _BUCKETS
        self._max_ms = 0.0
        self._sum_ms = 0.0

    def record(self, ms: float) -> None:
        """Counts one duration in milliseconds; ValueError for a negative one or NaN."""
        if FLOOR_MS < ms < CEILING_MS:
            self._counts[int(log(ms) * _BUCKETS_PER_E + _OFFSET)] += 1
        elif ms >= CEILING_MS:
            self._counts[-1] += 1
        elif ms >= 0.0:
            self._counts[0] += 1
        else:
            raise ValueError(
                f"a duration of {ms} ms cannot be recorded; measure with a monotonic clock"
            )
        self._sum_ms += ms
        if ms > self._max_ms:  # noqa: PLR1730 -- a call of max() costs twice the comparison
            self._max_ms = ms

    def quantile(self, q: float) -> float:
        """The duration in ms that the fraction `q` (0..1) of all records does not exceed.

        Nearest rank, within 1 % between `FLOOR_MS` and `CEILING_MS`; `quantile(1)` is the exact
        maximum; 0.0 while nothing is recorded. ValueError for `q` outside 0..1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
        count = self.count
        if count == 0:
            return 0.0
        rank = max(1, ceil(q * count))
        if rank == count:
            return self._max_ms
        seen = 0
        for index, bucket in enumerate(self._counts):
            seen += bucket
            if seen >= rank:
                return min(_middle_ms(index), self._max_ms)
        raise AssertionError("the buckets hold fewer records than they count")

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self._counts)

    @property
    def max_ms(self) -> float:
        """The longest duration in ms, exactly; 0.0 while nothing is recorded."""
        return self._max_ms

    @property
    def sum_ms(self) -> float:
        """All durations together, in ms, exactly."""
        return self._sum_ms

    @property
    def mean_ms(self) -> float:
        """The average duration in ms; 0.0 while nothing is recorded."""
        count = self.count
        return self._sum_ms / count if count else 0.0

    def merge(self, other: LatencyHistogram) -> None:
        """Adds all records of `other` to this one."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._sum_ms += other._sum_ms
        self._max_ms = max(self._max_ms, other._max_ms)

    def reset(self) -> None:
        """Forgets every record, so that the next window starts from nothing."""
        self._counts = [0] * _BUCKETS
        self._max_ms = 0.0
        self._sum_ms = 0.0

    def to_list(self) -> list[float]:
        """A JSON-ready list: layout, max ms, sum ms, then index and count of each filled bucket."""
        flat: list[float] = [_LAYOUT, self._max_ms, self._sum_ms]
        for index, bucket in enumerate(self._counts):
            if bucket:
                flat += (index, bucket)
        return flat

    @classmethod
    def from_list(cls, flat: Sequence[float]) -> LatencyHistogram:
        """Reads what `to_list` wrote; ValueError when it is of another layout or damaged."""
        if len(flat) < _HEADER_LENGTH or flat[0] != _LAYOUT or len(flat) % 2 == 0:
            raise ValueError(
                f"not a latency histogram of layout {_LAYOUT} ({len(flat)} numbers); "
                "let all processes run the same version"
            )
        histogram = cls()
        histogram._max_ms = float(flat[1])
        histogram._sum_ms = float(flat[2])
        for at in range(_HEADER_LENGTH, len(flat), 2):
            index, bucket = int(flat[at]), int(flat[at + 1])
            if not 0 <= index < _BUCKETS or bucket < 1:
                raise ValueError(f"a latency histogram has no bucket {index} with {bucket} records")
            histogram._counts[index] = bucket
        return histogram


def _middle_ms(index: int) -> float:
    """The geometric middle of a bucket, in ms."""
    if index == 0:
        return FLOOR_MS
    return min(exp((index + 0.5 - _OFFSET) / _BUCKETS_PER_E), CEILING_MS)
