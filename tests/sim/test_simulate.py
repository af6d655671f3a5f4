"""The simulator: clean on the engine, exact on a seed, and merciless to every mutant."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sim.engine_world import simulate
from sim.mutants import MUTANTS
from sim.simulate import Job, play, run_many, try_mutant

SEEDS = (1, 2, 3, 7, 27, 29, 59)
HOURS = 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_keeps_its_promises(seed: int) -> None:
    summary = play(Job(seed, HOURS))
    assert summary.violations == (), "\n".join(summary.story)
    assert summary.facts.held > 0
    assert summary.facts.turns > 0


def test_a_seed_replays_exactly_in_another_process() -> None:
    code = (
        "from sim.simulate import *; import json;"
        "print(json.dumps([play(Job(seed, 0.1)).facts.digest for seed in (5, 6)]))"
    )
    digests = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                check=True,
                timeout=60,
            ).stdout
        )
        for hash_seed in ("1", "2")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2


@pytest.mark.parametrize("name", list(MUTANTS))
def test_every_mutant_is_caught(name: str) -> None:
    result = try_mutant(name)
    assert result.caught_by is not None, result.about


def test_every_kind_of_trouble_comes() -> None:
    document = run_many(seed=1, seeds=12, hours=0.1, workers=1)
    assert document["ok"]
    assert set(document["faults"]) == {
        "clock_jump",
        "commit_unheard",
        "crash",
        "cut_from_callers",
        "cut_from_database",
        "hand_over_unheard",
        "hand_overs",
        "heat_wave",
        "node_lost",
        "outage",
        "pause",
        "succession",
    }


def test_owners_are_struck_between_commit_and_answer() -> None:
    outcomes = [simulate(seed, 0.1) for seed in range(1, 6)]
    told = [event.text for outcome in outcomes for event in outcome.events]
    assert any(text.startswith("a turn was committed, and") for text in told)
    assert any(text.startswith("a hand-over was committed, and") for text in told)


def test_a_failure_is_told_as_a_story() -> None:
    summary = play(Job(1, 0.2, "released_whatever_its_state"))
    assert summary.violations
    assert 1 < len(summary.story) <= 40
    assert "seed 1" in summary.story[0]


def test_many_seeds_make_one_document() -> None:
    document = run_many(seed=1, seeds=2, hours=0.05, workers=1)
    assert document["ok"]
    assert document["seeds"] == 2
    assert document["hours"] == 0.1
    assert set(document["digests"]) == {"1", "2"}
