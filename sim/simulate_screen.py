"""What `doorbuster simulate` shows."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape

from sim.mutants import MUTANTS
from sim.simulate import run_many, try_mutants

FRESH_SEED_MAX = 2**31


def run_and_show(
    *,
    seed: int | None,
    hours: float,
    seeds: int,
    workers: int | None,
    mutant: str | None,
    mutants: bool,
    within_s: float | None = None,
    console: Console,
    print_json: Callable[[Any], None] | None,
) -> str | None:
    """Run, show, and say what is wrong, if anything is."""
    if mutants:
        return _mutants(workers, console, print_json)
    if mutant is not None and mutant not in MUTANTS:
        return f"there is no mutant {mutant}; there are {', '.join(MUTANTS)}"
    first = secrets.randbelow(FRESH_SEED_MAX) if seed is None else seed
    document = run_many(
        seed=first, seeds=seeds, hours=hours, workers=workers, mutant=mutant, within_s=within_s
    )
    document = {"seed": first, **document}
    if print_json is not None:
        print_json(document)
    console.print(
        f"seeds {first} to {first + document['seeds'] - 1}: {document['hours']:,g} hours of sale in"
        f" {document['seconds']:,.0f} s; {document['requests']:,} answers,"
        f" {document['held']:,} reservations held, {document['turns']:,} turns,"
        f" {document['hand_overs']:,} hand-overs",
        highlight=False,
    )
    troubles = ", ".join(f"{count:,} {name}" for name, count in document["faults"].items())
    console.print(f"trouble: {troubles or 'none'}", highlight=False)
    for failed in document["failed"][:3]:
        for line in failed["story"]:
            console.print(escape(line), highlight=False, soft_wrap=True)
    if document["ok"]:
        console.print("[green]every promise held[/]")
        return None
    broken = ", ".join(str(one["seed"]) for one in document["failed"][:10])
    return f"{len(document['failed'])} seeds broke a promise: {broken}"


def _mutants(
    workers: int | None, console: Console, print_json: Callable[[Any], None] | None
) -> str | None:
    results = try_mutants(workers)
    if print_json is not None:
        print_json(
            {
                "ok": all(one.caught_by is not None for one in results),
                "mutants": [
                    {
                        "name": one.name,
                        "about": one.about,
                        "caught_by_seed": one.caught_by,
                        "promises": one.promises,
                    }
                    for one in results
                ],
            }
        )
    for one in results:
        fate = (
            f"caught by seed {one.caught_by} ({', '.join(one.promises)})"
            if one.caught_by is not None
            else f"[red]survived {one.seeds} seeds[/]"
        )
        console.print(f"{one.name:<40} {fate}", highlight=False)
    survived = [one.name for one in results if one.caught_by is None]
    return f"not caught: {', '.join(survived)}" if survived else None
