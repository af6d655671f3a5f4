"""What the engine's benchmarks draw, fill and put together."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass

import asyncpg
import pytest

from benchmarks.callers import CallerFailedError, Reserve, Seen, caller_processes, merge
from benchmarks.engine import draw, draw_pairs, fill, pair_id
from domain.histogram import LatencyHistogram


def test_zipf_picks_fall_as_one_over_the_rank() -> None:
    seen = Counter(draw(random.Random(3), 1_000, 1.0, 200_000))
    harmonic = sum(1 / rank for rank in range(1, 1_001))
    for rank in (1, 2, 5, 10):
        assert seen[rank - 1] == pytest.approx(200_000 / rank / harmonic, rel=0.05)


def test_even_picks_reach_every_pair() -> None:
    seen = Counter(draw(random.Random(3), 10, 0.0, 10_000))
    assert set(seen) == set(range(10))
    assert max(seen.values()) < 1.2 * min(seen.values())


def test_the_same_seed_draws_the_same_pairs() -> None:
    first, second, other = (draw_pairs(seed, 50, 1.0) for seed in (1, 1, 2))
    drawn = [[next(picks) for _ in range(100)] for picks in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def _seen(*ms: float, refused: int = 0) -> Seen:
    histogram = LatencyHistogram()
    for one in ms:
        histogram.record(one)
    return Seen(accepted=len(ms), refused=refused, latencies=histogram.to_list())


def test_what_the_processes_saw_is_put_together() -> None:
    measured = merge([_seen(1.0, 1.0, 1.0), _seen(1.0, 9.0, refused=2)], 4, 2.0, stock=100)
    assert (measured.accepted, measured.refused, measured.false_refusals) == (5, 2, 2)
    assert measured.durable_per_second == 2.5
    assert measured.p50_ms == pytest.approx(1.0, rel=0.02)
    assert measured.p99_ms == 9.0


def test_a_rate_without_stock_is_no_rate() -> None:
    with pytest.raises(ValueError, match="measure with more stock"):
        merge([_seen(1.0, 1.0)], 4, 2.0, stock=5)


@dataclass(frozen=True)
class _Counting:
    """A target that takes no time; every process counts for itself."""

    fails: bool = False

    def open(self, process: int) -> contextlib.AbstractAsyncContextManager[Reserve]:
        return self._open(process)

    @contextlib.asynccontextmanager
    async def _open(self, process: int):
        if self.fails:
            raise RuntimeError(f"process {process} cannot")

        async def reserve() -> bool:
            return True

        yield reserve


def test_callers_in_other_processes_begin_together_and_end() -> None:
    with caller_processes(2) as group:
        began = time.monotonic()
        measured = group.measure(
            _Counting(), processes=2, callers=4, seconds=0.05, stock=10**9, warm_up_s=0.01
        )
        assert time.monotonic() - began < 30
        assert measured.accepted > 0
        assert measured.refused == 0
        with pytest.raises(CallerFailedError, match="cannot"):
            group.measure(_Counting(fails=True), processes=1, callers=1, seconds=0.1, stock=9)
        processes = group.processes
    assert [process.is_alive() for process in processes] == [False, False]


@pytest.mark.asyncio
async def test_filled_pairs_are_where_the_ids_say_and_the_ledger_explains_them(
    pool: asyncpg.Pool,
) -> None:
    await fill(pool, 0, 150, stock=7)
    await fill(pool, 150, 260, stock=7)
    ids = {row["inventory_id"].bytes for row in await pool.fetch("SELECT * FROM inventory")}
    assert ids == {pair_id(number) for number in range(260)}
    lost = await pool.fetchval(
        "SELECT count(*) FROM inventory i LEFT JOIN product_variants v USING (variant_id)"
        " LEFT JOIN products p ON p.product_id = i.product_id AND v.product_id = p.product_id"
        " LEFT JOIN warehouses w USING (warehouse_id) LEFT JOIN sellers s USING (seller_id)"
        " LEFT JOIN stock_movements m ON m.inventory_id = i.inventory_id AND m.balance = i.quantity"
        " WHERE w.code IS NULL OR s.name IS NULL OR m.kind IS DISTINCT FROM 'received'"
    )
    assert lost == 0
