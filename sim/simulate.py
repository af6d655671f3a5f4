"""Many simulated hours: seeds spread over processes, and what they came to.

A seed that fails is told as a short story and replays exactly.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from sim.engine_auditor import Violation
from sim.engine_story import Event, Heard
from sim.engine_world import Facts, Outcome, simulate
from sim.mutants import MUTANTS, mutated

STORY_LINES_MAX = 40
VIOLATIONS_SHOWN_MAX = 5
SEEDS_PER_MUTANT_MAX = 60
MUTANT_HOURS = 0.2
BATCH_WITHIN = 40  # runs between two looks at the clock, where there is a limit of time


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a seed, its hours, and a mutant or none."""

    seed: int
    hours: float
    mutant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to, without its events."""

    facts: Facts
    violations: tuple[str, ...]
    story: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantResult:
    """How a mutant fared: the seed that caught it, or None, and by which promises."""

    name: str
    about: str
    caught_by: int | None
    promises: tuple[str, ...]
    seeds: int


def story_of(outcome: Outcome) -> tuple[str, ...]:
    """The first violation and what led to it: the events about its ids, and the troubles."""
    if not outcome.violations:
        return ()
    first = outcome.violations[0]
    lines = [f"seed {outcome.facts.seed}, {outcome.facts.hours:g} h: {_sentence(first)}"]
    about = set(first.about)
    own = [one for one in outcome.events if about & set(one.about)]
    around = [one for one in outcome.events if not one.about]
    if own:
        begin, end = own[0].at - 30.0, own[-1].at + 5.0
        around = [one for one in around if begin <= one.at <= end]
    chosen = [*own[-(STORY_LINES_MAX // 2) :], *around[-(STORY_LINES_MAX // 2 - 2) :]]
    lines += [_line(one) for one in sorted(chosen, key=lambda one: one.at)]
    return tuple(lines[:STORY_LINES_MAX])


def _line(event: Event | Heard) -> str:
    return f"  {event.at:10.3f} s  {event.text}"


def _sentence(violation: Violation) -> str:
    about = " ".join(one.lstrip(b"\0").hex()[-8:] for one in violation.about)
    return f"{violation.promise}: {violation.text} [{about}]"


def play(job: Job) -> Summary:
    """Carry out one run, in this process."""
    _be_quiet()
    if job.mutant is None:
        outcome = simulate(job.seed, job.hours)
    else:
        with mutated(job.mutant):
            outcome = simulate(job.seed, job.hours)
    shown = outcome.violations[:VIOLATIONS_SHOWN_MAX]
    return Summary(
        facts=outcome.facts,
        violations=tuple(_sentence(one) for one in shown),
        story=story_of(outcome),
    )


def _be_quiet() -> None:
    """Warnings are the daily bread of a simulated day."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )


def play_all(jobs: Sequence[Job], workers: int | None = None) -> Iterator[Summary]:
    """The runs' summaries in order, over so many processes (default: one per core)."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(play, jobs)
        return
    with _pool(workers) as pool:
        yield from pool.map(play, jobs)


def try_mutant(name: str) -> MutantResult:
    """Run seeds on a mutant until one catches it."""
    about = (MUTANTS[name].__doc__ or "").strip()
    for seed in range(1, SEEDS_PER_MUTANT_MAX + 1):
        summary = play(Job(seed, MUTANT_HOURS, name))
        if summary.violations:
            promises = tuple(sorted({one.partition(":")[0] for one in summary.violations}))
            return MutantResult(
                name=name, about=about, caught_by=seed, promises=promises, seeds=seed
            )
    return MutantResult(
        name=name, about=about, caught_by=None, promises=(), seeds=SEEDS_PER_MUTANT_MAX
    )


def try_mutants(workers: int | None = None) -> list[MutantResult]:
    """All mutants, in the order of their table."""
    workers = min(workers or os.cpu_count() or 1, len(MUTANTS))
    with _pool(workers) as pool:
        return list(pool.map(try_mutant, MUTANTS))


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_be_quiet)


def report(summaries: Sequence[Summary], seconds: float) -> dict[str, Any]:
    """One document of many runs; `seconds` is how long they took."""
    failed = [one for one in summaries if one.violations]
    faults: dict[str, int] = {}
    for one in summaries:
        for fault, count in one.facts.faults.items():
            faults[fault] = faults.get(fault, 0) + count
    return {
        "ok": not failed,
        "seeds": len(summaries),
        "hours": round(sum(one.facts.hours for one in summaries), 3),
        "seconds": round(seconds, 1),
        "requests": sum(one.facts.requests for one in summaries),
        "held": sum(one.facts.held for one in summaries),
        "turns": sum(one.facts.turns for one in summaries),
        "hand_overs": sum(one.facts.hand_overs for one in summaries),
        "faults": dict(sorted(faults.items())),
        "failed": [
            {
                "seed": one.facts.seed,
                "hours": one.facts.hours,
                "violations": one.violations,
                "story": one.story,
            }
            for one in failed
        ],
        "digests": {str(one.facts.seed): one.facts.digest for one in summaries[:20]},
    }


def run_many(
    *,
    seed: int,
    seeds: int,
    hours: float,
    workers: int | None = None,
    mutant: str | None = None,
    within_s: float | None = None,
) -> dict[str, Any]:
    """Runs of `hours` each from `seed` on; the document of `report`.

    After `within_s` seconds no other runs are begun: then there are fewer than `seeds`.
    """
    begun = time.perf_counter()
    jobs = [Job(seed + number, hours, mutant) for number in range(seeds)]
    size = len(jobs) if within_s is None else BATCH_WITHIN
    summaries: list[Summary] = []
    for first in range(0, len(jobs), size):
        if summaries and within_s is not None and time.perf_counter() - begun >= within_s:
            break
        summaries += play_all(jobs[first : first + size], workers)
    summaries.sort(key=lambda one: one.facts.seed)
    return report(summaries, time.perf_counter() - begun)
