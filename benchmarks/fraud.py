"""A batch of 100 orders scored for fraud, beside scikit-learn's own evaluation of the same trees.

Ours is all of it: features, five checks, trees, reasons, verdicts. scikit-learn's is
`predict_proba` alone, on a matrix that is ready, with one thread: on 100 rows more threads only
wait for each other. The trees are fitted anew on generated orders, as the shipped model's were.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import psutil
from threadpoolctl import threadpool_limits

from benchmarks.figures import BenchOptions, BenchResult, Figure, MachineFacts, Table
from domain.fraud import FraudInput, score, score_batch
from domain.fraud_model import document_of, model_of
from serve_apps.fraud_training import AGREEMENT, fit, matrix_of, trees_of
from sim.fraud_orders import generated_orders

BATCH = 100
ORDERS = 40_000
QUICK_ORDERS = 10_000
SEED = 1
WARM_UP_CALLS = 50
TARGET_P99_MS = 5.0
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def run(options: BenchOptions) -> BenchResult:
    """Fit, check that all agree, measure; RuntimeError if ours and theirs do not."""
    count = QUICK_ORDERS if options.quick else ORDERS
    orders = list(generated_orders(count, seed=SEED, begin=_BEGIN))
    classifier = fit(orders, seed=SEED)
    trees, intercept = trees_of(classifier)
    model = model_of(document_of(trees, intercept, day=date.min.isoformat(), facts={}))
    batches = [
        [one.order for one in orders[begin : begin + BATCH]]
        for begin in range(0, len(orders) - BATCH + 1, BATCH)
    ]
    matrices = [
        matrix_of(orders[begin : begin + BATCH])
        for begin in range(0, len(orders) - BATCH + 1, BATCH)
    ]

    def theirs(place: int) -> Sequence[float]:
        return classifier.predict_proba(matrices[place])[:, 1].tolist()

    with threadpool_limits(1), _orders_kept_aside():
        for place, batch in enumerate(batches[:10]):
            _must_agree(model.probabilities(batch), theirs(place))
        measured = [
            ("checks, trees, reasons", lambda place: score_batch(batches[place], model=model)),
            ("trees alone", lambda place: model.probabilities(batches[place])),
            ("scikit-learn predict_proba", theirs),
            ("checks and scorecard", lambda place: score_batch(batches[place])),
        ]
        of_batch = [_figure(name, work, len(batches), options.seconds) for name, work in measured]
        singles: list[FraudInput] = [order for batch in batches for order in batch]
        of_one = [
            _figure(name, work, len(singles), options.seconds)
            for name, work in (
                ("one order", lambda place: score(singles[place], model=model)),
                ("one order, scorecard", lambda place: score(singles[place])),
            )
        ]
    return BenchResult(
        name="fraud",
        machine=_machine(),
        date=datetime.now(UTC),
        parameters={
            "batch": BATCH,
            "orders": len(orders),
            "trees": len(trees),
            "seconds": options.seconds,
            "target_p99_ms": TARGET_P99_MS,
        },
        tables=(
            Table(
                title=f"p99 of a batch of {BATCH}, {len(trees)} trees",
                figures=_beside(of_batch, references=(1, 3)),
            ),
            Table(title="p99 of one order", figures=_beside(of_one, references=(1,))),
        ),
        notes=(
            "cpu: the processor's time alone, without what other programs took in between",
            f"aimed at: under {TARGET_P99_MS:g} ms p99 for checks, trees and reasons",
            "scikit-learn is given features that are ready, one thread, and does the trees alone",
        ),
    )


@contextlib.contextmanager
def _orders_kept_aside() -> Iterator[None]:
    """The thousands of orders of the benchmark itself are not for the collector to walk."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    """Milliseconds of each call: on the clock, and of the processor alone.

    They differ by what other programs of the machine took in between.
    """

    name: str
    wall_ms: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])


def _figure(name: str, work: Callable[[int], object], places: int, seconds: float) -> _Spent:
    """What each call took, one after the other for `seconds`."""
    for place in range(WARM_UP_CALLS):
        work(place % places)
    spent = _Spent(name=name)
    closes_at = time.perf_counter() + seconds
    for place in itertools.cycle(range(places)):
        began_cpu = time.thread_time()
        began = time.perf_counter()
        work(place)
        now = time.perf_counter()
        spent.wall_ms.append((now - began) * 1_000)
        spent.cpu_ms.append((time.thread_time() - began_cpu) * 1_000)
        if now >= closes_at:
            break
    return spent


def _beside(measured: Sequence[_Spent], *, references: tuple[int, ...]) -> tuple[Figure, ...]:
    return tuple(
        Figure(
            name=spent.name,
            value=_quantile(spent.wall_ms, 0.99),
            unit="ms",
            better="lower",
            peer_of=None if place == 0 else measured[0].name,
            reference=place in references,
            details={
                "p50_ms": _quantile(spent.wall_ms, 0.5),
                "cpu_p50_ms": _quantile(spent.cpu_ms, 0.5),
                "cpu_p99_ms": _quantile(spent.cpu_ms, 0.99),
                "calls": len(spent.wall_ms),
            },
        )
        for place, spent in enumerate(measured)
    )


def _quantile(spent: list[float], share: float) -> float:
    return sorted(spent)[min(len(spent) - 1, int(len(spent) * share))]


def _must_agree(ours: Sequence[float], theirs: Sequence[float]) -> None:
    apart = max(abs(own - their) for own, their in zip(ours, theirs, strict=True))
    if apart > AGREEMENT:
        raise RuntimeError(f"our trees are {apart:.2g} off scikit-learn's; nothing was measured")


def _machine() -> MachineFacts:
    return MachineFacts(
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        postgres="not used",
        fsync="–",
        synchronous_commit="–",
    )
