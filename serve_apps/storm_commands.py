"""`doorbuster storm`: many checkouts while the provider fails and processes die, then the audit."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import structlog
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from sim.payment_storm import PaymentStorm, StormPlan, StormResult
from storage.embedded import EmbeddedPostgres, ServerStartError
from storage.postgres import migrate, open_pool

POOL_MAX = 12
FRESH_SEED_MAX = 2**31
_STDOUT = "-"
_errors = Console(stderr=True)

storm_app = typer.Typer()

_Checkouts = Annotated[int, typer.Option(min=1, max=10_000_000, help="How many purchases.")]
_FaultRate = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of the provider's calls that go wrong.")
]
_Seed = Annotated[
    int | None, typer.Option(min=0, help="Of carts, cards and faults. [default: a fresh one]")
]
_Concurrency = Annotated[int, typer.Option(min=1, max=5_000, help="Buyers at once.")]
_Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="One JSON document on stdout, or in FILE."),
]


@storm_app.command()
def storm(
    checkouts: _Checkouts = 10_000,
    fault_rate: _FaultRate = 0.05,
    seed: _Seed = None,
    concurrency: _Concurrency = 192,
    json: _Json = None,
) -> None:
    """Check out many times while the payment provider fails and processes die; audit the end.

    On a database of its own, which is gone afterwards. Exit status 1 on any violation.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seed = secrets.randbelow(FRESH_SEED_MAX) if seed is None else seed
    plan = StormPlan(checkouts=checkouts, fault_rate=fault_rate, seed=seed, concurrency=concurrency)
    _errors.print(f"seed {seed}", highlight=False)
    try:
        result = _on_a_database_of_its_own(plan)
    except (ServerStartError, OSError) as error:
        _fail(str(error))
    if json is not None:
        _write(result.as_json(), json)
    _show(result, _errors if json == _STDOUT else Console())
    raise typer.Exit(0 if result.ok else 1)


def _on_a_database_of_its_own(plan: StormPlan) -> StormResult:
    with tempfile.TemporaryDirectory(prefix="doorb-storm-", ignore_cleanup_errors=True) as home:
        postgres = EmbeddedPostgres(Path(home))
        try:
            postgres.start()
            postgres.ensure_database()
            return asyncio.run(_run(postgres.url(), plan))
        finally:
            postgres.stop()


async def _run(url: str, plan: StormPlan) -> StormResult:
    await migrate(url)
    pool = await open_pool(url, max_size=POOL_MAX, application="doorbuster storm", by_key=True)
    try:
        with Progress(console=_errors, transient=True) as bar:
            task = bar.add_task("checkouts", total=plan.checkouts)
            return await PaymentStorm(pool, plan).run(lambda more: bar.advance(task, more))
    finally:
        await pool.close()


def _show(result: StormResult, console: Console) -> None:
    document = result.as_json()

    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"

    lines = {
        "checkouts": f"{result.plan.checkouts:,} in {result.seconds:,.0f} s,"
        f" settled {result.settled_s:,.0f} s later",
        "buyers": f"{listed(document['told'])}; {result.hang_ups:,} hung up,"
        f" {result.repeats:,} requests repeated",
        "orders": listed(result.orders),
        "unwound": listed(result.failures),
        "recovery": listed(result.recovered),
        "faults": listed(document["faults"]),
        "deaths": listed(result.deaths),
    }
    for name, told in lines.items():
        console.print(f"{name:<10} {told}", highlight=False)
    broken = list(result.violations)
    for verdict in result.report.verdicts:
        broken += [f"{verdict.promise.id}: {one}" for one in verdict.violations]
    for one in broken:
        console.print(f"[red]{escape(one)}[/]", highlight=False, soft_wrap=True)
    console.print("[green]every promise held[/]" if result.ok else "[red]promises were broken[/]")


def _write(document: dict[str, Any], where: str) -> None:
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if where == _STDOUT:
        sys.stdout.buffer.write(text)
        return
    try:
        Path(where).write_bytes(text)
    except OSError as error:
        _fail(f"cannot write {where}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
