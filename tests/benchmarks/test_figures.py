"""The frame of the benchmarks: ratios, the JSON document, the table, the registry, the loop."""

from __future__ import annotations

import dataclasses
import io
import json
import types
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import rich.console

from benchmarks.figures import (
    BENCHMARKS,
    Benchmark,
    BenchOptions,
    BenchResult,
    Figure,
    MachineFacts,
    Table,
    UnknownBenchmarkError,
    closed_loop,
    find_benchmark,
    machine_facts,
    render,
)

_MACHINE = MachineFacts(
    cores=2,
    memory_bytes=24 * 2**30,
    python="3.11.7",
    postgres="18.4",
    fsync="on",
    synchronous_commit="on",
)


def _result() -> BenchResult:
    rates = Table(
        title="64 callers",
        figures=(
            Figure(name="stock client", value=40_000.0, unit="1/s", details={"p99_ms": 4.25}),
            Figure(name="slow peer", value=200.0, unit="1/s", peer_of="stock client"),
            Figure(name="fast peer", value=1_600.0, unit="1/s", peer_of="stock client"),
            Figure(
                name="beside", value=8_000.0, unit="1/s", peer_of="stock client", reference=True
            ),
        ),
    )
    waits = Table(
        title="waiting",
        figures=(
            Figure(name="ours", value=5.0, unit="ms", better="lower"),
            Figure(name="theirs", value=20.0, unit="ms", better="lower", peer_of="ours"),
        ),
    )
    return BenchResult(
        name="hot-pair",
        machine=_MACHINE,
        date=datetime(2026, 11, 27, 8, 30, tzinfo=UTC),
        parameters={"seconds": 3.0},
        tables=(rates, waits),
        notes=("measured [twice]",),
        audit={"ok": True, "promises": {}},
    )


def test_ratios_say_how_many_times_better_we_are_and_which_peer_is_strongest() -> None:
    ratios = {ratio.peer: ratio for ratio in _result().ratios()}
    assert {peer: ratio.ratio for peer, ratio in ratios.items()} == {
        "slow peer": 200.0,
        "fast peer": 25.0,
        "beside": 5.0,
        "theirs": 4.0,
    }
    assert [peer for peer, ratio in ratios.items() if ratio.strongest] == ["fast peer", "theirs"]


def test_a_peer_that_did_nothing_has_no_ratio() -> None:
    table = Table(
        title="t",
        figures=(
            Figure(name="ours", value=10.0, unit="1/s"),
            Figure(name="stuck", value=0.0, unit="1/s", peer_of="ours"),
        ),
    )
    assert [ratio.ratio for ratio in table.ratios()] == [None]


@pytest.mark.parametrize(
    "peer",
    [
        Figure(name="peer", value=1.0, unit="1/s", peer_of="nobody"),
        Figure(name="peer", value=1.0, unit="ms", peer_of="ours"),
    ],
)
def test_a_peer_stands_beside_a_figure_of_its_table_and_unit(peer: Figure) -> None:
    with pytest.raises(ValueError, match="add it to that table"):
        Table(title="t", figures=(Figure(name="ours", value=1.0, unit="1/s"), peer))


def test_the_document_is_plain_json_and_complete() -> None:
    document = json.loads(json.dumps(_result().as_json(), allow_nan=False))
    assert set(document) == {
        "name",
        "machine",
        "date",
        "parameters",
        "rows",
        "ratios",
        "notes",
        "audit",
    }
    assert document["date"] == "2026-11-27T08:30:00+00:00"
    assert document["machine"]["fsync"] == "on"
    assert [row["name"] for row in document["rows"]][:2] == ["stock client", "slow peer"]
    assert document["rows"][0]["details"] == {"p99_ms": 4.25}
    assert document["ratios"][1] == {
        "table": "64 callers",
        "figure": "stock client",
        "peer": "fast peer",
        "ratio": 25.0,
        "reference": False,
        "strongest": True,
    }
    assert document["audit"]["ok"] is True


def test_the_table_shows_figures_ratios_machine_and_audit() -> None:
    console = rich.console.Console(file=io.StringIO(), width=160, record=True)
    console.print(render(_result()))
    text = " ".join(console.export_text().split())  # the caption wraps
    for shown in ("64 callers", "40,000", "25.0×", "p99 ms", "4.25", "4.0×", "24 GiB"):
        assert shown in text
    assert "fsync on" in text
    assert "measured [twice]" in text
    assert "audit: clean" in text


def test_benchmarks_are_listed_without_importing_them() -> None:
    assert {name: one.module for name, one in BENCHMARKS.items()} == {
        "hot-pair": "benchmarks.hot_pair",
        "pairs": "benchmarks.many_pairs",
        "scale": "benchmarks.scale",
        "failover": "benchmarks.failover",
        "owners": "benchmarks.many_owners",
        "checkout": "benchmarks.checkout",
        "fraud": "benchmarks.fraud",
        "payments": "benchmarks.payments",
    }
    assert find_benchmark("checkout").summary


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(
        UnknownBenchmarkError, match="'hot'; choose one of: checkout, failover, fraud,"
    ):
        find_benchmark("hot")


def test_a_benchmark_is_imported_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[BenchOptions] = []
    expected = _result()

    def run(options: BenchOptions) -> BenchResult:
        given.append(options)
        return expected

    module = types.ModuleType("benchmarks.measured_elsewhere")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    options = BenchOptions(home=Path("home"), port=8000, seconds=1.0, quick=True)
    benchmark = Benchmark(name="elsewhere", module=module.__name__, summary="")
    assert benchmark.run(options) is expected
    assert given == [options]


@pytest.mark.asyncio
async def test_machine_facts_name_the_database_and_its_durability(pool: asyncpg.Pool) -> None:
    facts = await machine_facts(pool)
    assert facts.postgres.startswith("18")
    assert facts.fsync == "off"  # the tests' own server; the shop's says on
    assert facts.cores >= 1
    assert facts.memory_bytes > 2**28


@pytest.mark.asyncio
async def test_the_loop_counts_acceptances_and_false_refusals() -> None:
    answers = iter([True, False, True])
    calls = 0

    async def reserve() -> bool:
        nonlocal calls
        calls += 1
        return next(answers, True)

    measured = await closed_loop(
        reserve,
        concurrency=1,
        seconds=0.05,
        stock=10**9,
        warm_up_s=0.0,
        pause_after_refusal_s=0.0,
    )
    assert measured.accepted + measured.refused == calls
    assert measured.refused == measured.false_refusals == 1
    assert 0 < measured.durable_per_second * 0.05 <= measured.accepted
    assert 0.0 < measured.p50_ms <= measured.p99_ms


@pytest.mark.asyncio
async def test_a_refusal_of_a_sold_out_product_is_not_a_false_one() -> None:
    left = 3

    async def reserve() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    measured = await closed_loop(
        reserve,
        concurrency=2,
        seconds=0.02,
        stock=3,
        warm_up_s=0.0,
        pause_after_refusal_s=0.001,
    )
    assert measured.accepted == 3
    assert measured.refused > 0
    assert measured.false_refusals == 0


@pytest.mark.asyncio
async def test_an_error_of_a_call_ends_the_run() -> None:
    async def reserve() -> bool:
        raise OSError("the database went away")

    with pytest.raises(ExceptionGroup) as raised:
        await closed_loop(reserve, concurrency=2, seconds=30.0, stock=1)
    assert raised.group_contains(OSError, match="went away")


def test_a_narrow_terminal_cuts_no_number() -> None:
    details = {"p50_ms": 221.0, "p99_ms": 5_335.1, "errors": 2_139, "not_confirmed": 9}
    figures = tuple(
        Figure(name=name, value=1_281, unit="orders/s", details=details, peer_of=peer)
        for name, peer in (("everything on", None), ("without coupons", "everything on"))
    )
    console = rich.console.Console(file=io.StringIO(), width=80, record=True)
    result = dataclasses.replace(_result(), tables=(Table(title="load", figures=figures),))
    console.print(render(result))
    text = console.export_text()
    assert "…" not in text
    for shown in ("everything", "1,281", "orders/s", "221", "5,335", "2,139", "confirmed"):
        assert shown in text
