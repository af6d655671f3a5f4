"""The payments benchmark: its orders are what they say, and its tables put figures side by side."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import orjson

from benchmarks.figures import find_benchmark
from benchmarks.order_load import (
    COUPON,
    EVERYTHING_ON,
    LINES_MAX,
    NO_PROMOTIONS,
    ONE_LINE,
    draw_lines,
    order_request,
    promotions,
)
from benchmarks.payments import STRIPE, Seen, closed_table, cpu_table
from benchmarks.process_cpu import REST, part_of, read_clocks, spent_between
from domain.promotions import check
from serve_apps.checkout_request import CheckoutRequest
from sim.load import LoadResult


def _seen(orders: int, cpu_s: dict[str, float]) -> Seen:
    load = LoadResult(
        requests=orders + 3,
        by_status={201: orders, 202: 1, 503: 2},
        by_problem={"busy": 2},
        by_failure={},
        errors=2,
        requests_per_second=0.0,
        latency_ms_p50=10.0,
        latency_ms_p99=20.0,
        latency_ms_max=30.0,
        duration_s=2.0,
    )
    return Seen(load=load, cpu_s=cpu_s)


def test_it_can_be_found() -> None:
    assert find_benchmark("payments").module == "benchmarks.payments"


def test_lines_are_different_variants_and_never_too_many() -> None:
    rng = random.Random(1)
    sizes = {len(draw_lines(rng, LINES_MAX, 100)) for _ in range(300)}
    assert sizes == {1, 2, 3, 4, 5}
    assert len(draw_lines(rng, 1, 100)) == 1


def test_requests_are_ones_that_the_checkout_takes() -> None:
    rng = random.Random(1)
    bodies = {
        mix.name: [
            orjson.loads(order_request(rng, mix, cart_id="cart_1", token="t").body)
            for _ in range(50)
        ]
        for mix in (EVERYTHING_ON, NO_PROMOTIONS, ONE_LINE)
    }
    for body in [body for of_mix in bodies.values() for body in of_mix]:
        CheckoutRequest.model_validate_json(orjson.dumps(body))
    everything = bodies[EVERYTHING_ON.name]
    assert all(body["coupons"] == [COUPON] and body["contact"] for body in everything)
    assert 0 < sum("billing_address" in body for body in everything) < len(everything)
    assert all("coupons" not in body for body in bodies[NO_PROMOTIONS.name])
    assert all("contact" not in body for body in bodies[ONE_LINE.name])


def test_the_promotions_make_sense() -> None:
    coupon, automatic = promotions(datetime.now(UTC))
    assert check(coupon).uses_max
    assert check(automatic).code is None


def test_processes_belong_to_parts_by_their_titles() -> None:
    assert part_of("ray::ServeReplica:checkout:checkout") == "checkout replica"
    assert part_of("ray::ServeReplica:cart:cart") == REST
    assert part_of("ray::_Owner.__init__") == "stock owners"
    assert part_of("ray::_Caretaker") == "caretaker"
    assert part_of("postgres: doorbuster shop [local] idle") == "Postgres"
    assert part_of("/usr/lib/bin/postgres -D /data") == "Postgres"
    assert part_of("/opt/ray/haproxy -f haproxy.cfg") == "HAProxy"
    assert part_of("/opt/bin/redis-server unixsocket:/x") == "Redis"


def test_only_what_was_spent_in_between_counts(tmp_path: Path) -> None:
    before = {1: ("a", 5.0), 2: ("b", 1.0), 3: ("a", 2.0)}
    after = {1: ("a", 6.0), 2: ("b", 4.0), 4: ("a", 0.5)}
    assert spent_between(before, after) == {"b": 3.0, "a": 1.5}
    assert read_clocks(tmp_path, {}) == {}


def test_everything_on_stands_beside_the_others() -> None:
    seen = {
        EVERYTHING_ON.name: _seen(100, {"Postgres": 0.05, "checkout replica": 0.2}),
        ONE_LINE.name: _seen(200, {"Postgres": 0.04, "checkout replica": 0.2}),
        STRIPE: _seen(50, {"Postgres": 0.1, "payment provider": 0.3}),
    }
    table = closed_table(64, seen)
    assert [figure.value for figure in table.figures] == [50.0, 100.0, 25.0]
    assert [ratio.ratio for ratio in table.ratios()] == [0.5, 2.0]
    assert table.figures[0].details["not_confirmed"] == 1
    assert table.figures[0].details["errors"] == 2
    spent = {figure.name: figure for figure in cpu_table(64, seen).figures}
    assert list(spent) == ["checkout replica", "Postgres", "payment provider"]
    assert spent["Postgres"].value == 500.0
    assert spent["Postgres"].details == {"plain_us": 200.0, "stripe_us": 2_000.0}
