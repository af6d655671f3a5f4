"""The site: health that names the part at fault, the operators' figures, and the docs."""

from __future__ import annotations

import re
import time
from typing import Any

import orjson
import pytest

from domain.owners import Homes, pool_names
from serve_apps.overview import Overview
from serve_apps.site_app import OPEN_KEY, SELLING_APPS
from storage.metrics_board import STALE_AFTER_S
from storage.stock_views import StockViews
from tests.serve_apps.conftest import Shop, Shopper, assert_problem, until

pytestmark = pytest.mark.asyncio
POOL = pool_names(2)


async def _parts(shop: Shop) -> dict[str, str]:
    answer = await shop.client.get("/readyz")
    assert answer.status_code in (200, 503)
    return answer.json()["parts"]


async def _ready(shop: Shop) -> bool:
    return (await shop.client.get("/readyz")).status_code == 200


async def _fall_silent(shop: Shop, kind: str, beginning: str) -> None:
    """As if these had not reported for longer than a healthy part ever takes."""
    entries: dict[bytes, bytes] = await shop.redis.hgetall(f"metrics:{kind}")  # type: ignore[misc]
    for name, text in entries.items():
        if name.decode().startswith(beginning):
            figures = orjson.loads(text)
            figures["reported_at"] = time.time() - STALE_AFTER_S - 1
            await shop.redis.hset(f"metrics:{kind}", name, orjson.dumps(figures))  # type: ignore[misc,arg-type]


async def _in_overview(shop: Shop, name: str) -> dict[str, Any]:
    return next(own for own in (await _overview(shop))["owners"] if own["name"] == name)


async def _hand_to(shop: Shop, owner: str, sku: str) -> None:
    """As the hand-over writes it."""
    await shop.pool.execute(
        "UPDATE inventory SET owner_name = $1 WHERE inventory_id IN (SELECT inventory_id FROM"
        " inventory JOIN product_variants USING (variant_id) WHERE sku = $2)",
        *(owner, sku),
    )


async def _overview(shop: Shop) -> dict[str, Any]:
    answer = await shop.client.get("/api/v1/ops/overview")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_process_is_alive(shop: Shop) -> None:
    answer = await shop.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_shop_that_can_sell_is_ready_and_names_its_parts(shop: Shop) -> None:
    await until(lambda: _ready(shop))
    answer = (await shop.client.get("/readyz")).json()
    assert answer["status"] == "ready"
    assert set(answer["parts"]) == {
        *("postgres", "redis", "front_door"),
        *SELLING_APPS,
        *("owner pool-0", "owner pool-1"),
    }
    assert set(answer["parts"].values()) == {"ready"}


async def test_a_silent_owner_is_named(shop: Shop) -> None:
    await until(lambda: _ready(shop))
    await shop.stop_owner("pool-1")
    await _fall_silent(shop, "owners", "pool-1")
    answer = await shop.client.get("/readyz")
    problem = assert_problem(answer, 503, "not_ready")
    assert answer.headers["retry-after"]
    assert "owner pool-1" in problem["detail"]
    assert problem["parts"]["owner pool-1"] != "ready"
    assert problem["parts"]["owner pool-0"] == "ready"
    one = await _in_overview(shop, "pool-1")
    assert (one["alive"], one["state"]) == (False, "not_alive")


async def test_an_owner_of_the_pool_is_missed_however_long_it_is_gone(shop: Shop) -> None:
    await until(lambda: _ready(shop))
    await shop.stop_owner("pool-1")
    await shop.redis.hdel("metrics:owners", "pool-1")  # type: ignore[misc]
    await shop.pool.execute("UPDATE stock_owners SET started_at = now() - interval '1 hour'")
    one = await _in_overview(shop, "pool-1")
    assert (one["state"], one["epoch"]) == ("not_alive", 1)


async def test_a_dedicated_owner_is_shown_with_its_pair_from_its_start_to_its_stop(
    shop: Shop,
) -> None:
    await _hand_to(shop, "hot-0", "HOT")
    await shop.parts.journal.raise_epoch("hot-0", "node", 7)
    shown = await _in_overview(shop, "hot-0")
    assert (shown["kind"], shown["state"]) == ("dedicated", "starting")
    await shop.parts.metrics.publish("owners", "hot-0", {"epoch": 1, "queue": 0})
    shown = await _in_overview(shop, "hot-0")
    assert (shown["state"], shown["alive"]) == ("alive", True)
    assert shown["dedicated_pairs"] == [{"sku": "HOT", "warehouse": "EAST"}]
    assert (await _in_overview(shop, "pool-0"))["dedicated_pairs"] == []
    await _hand_to(shop, "", "HOT")
    await shop.parts.metrics.note_stopped("owners", "hot-0")
    shown = await _in_overview(shop, "hot-0")
    assert (shown["state"], shown["alive"], shown["dedicated_pairs"]) == ("stopped", False, [])
    assert "queue" not in shown


async def test_a_dedicated_owner_that_died_is_shown_as_that(shop: Shop) -> None:
    await _hand_to(shop, "hot-0", "HOT")
    await shop.parts.journal.raise_epoch("hot-0", "node", 7)
    await shop.parts.metrics.publish("owners", "hot-0", {"epoch": 1})
    await _fall_silent(shop, "owners", "hot-0")
    assert (await _in_overview(shop, "hot-0"))["state"] == "not_alive"
    await shop.parts.journal.reclaim("hot-0")
    shown = await _in_overview(shop, "hot-0")
    assert (shown["state"], shown["dedicated_pairs"]) == ("not_alive", [])


async def test_an_owner_that_never_came_is_named(shop: Shop) -> None:
    await shop.stop_owner("pool-0")
    await shop.redis.hdel("metrics:owners", "pool-0")  # type: ignore[misc]
    assert (await _parts(shop))["owner pool-0"] != "ready"


@pytest.mark.parametrize("app", SELLING_APPS)
async def test_an_app_without_a_replica_is_named(shop: Shop, app: str) -> None:
    await until(lambda: _ready(shop))

    async def named() -> bool:
        await _fall_silent(shop, "replicas", app)  # its reporter goes on, so again and again
        return (await _parts(shop))[app] != "ready"

    await until(named)
    assert (await _parts(shop))["postgres"] == "ready"


async def test_a_shop_that_was_not_opened_is_not_ready(shop: Shop) -> None:
    await shop.redis.delete(OPEN_KEY)
    problem = assert_problem(await shop.client.get("/readyz"), 503, "not_ready")
    assert problem["parts"]["front_door"] != "ready"


async def test_a_database_that_is_gone_is_named(shop: Shop) -> None:
    service = shop.apps["site"].state.site
    kept = service._pool
    try:
        service._pool = _Gone()
        problem = assert_problem(await shop.client.get("/readyz"), 503, "not_ready")
    finally:
        service._pool = kept
    assert problem["parts"]["postgres"].startswith("not reached")
    assert problem["parts"]["redis"] == "ready"
    assert (await shop.client.get("/healthz")).status_code == 200


async def test_redis_that_is_gone_is_named(shop: Shop) -> None:
    service = shop.apps["site"].state.site
    kept = service._metrics
    try:
        service._metrics = _Gone()
        problem = assert_problem(await shop.client.get("/readyz"), 503, "not_ready")
    finally:
        service._metrics = kept
    assert problem["parts"]["redis"].startswith("not reached")


class _Gone:
    """A server that refuses connections."""

    async def _refuse(self, *_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("nobody listens")

    read = fetchval = fetch = _refuse


async def test_figures_that_cannot_be_read_are_a_problem_and_no_fault(shop: Shop) -> None:
    service = shop.apps["site"].state.site
    parts = shop.parts
    views = StockViews(parts.pool, Homes(POOL))
    service.overview = Overview(parts.pool, _Gone(), parts.orders, views, POOL)  # type: ignore[arg-type]
    assert_problem(await shop.client.get("/api/v1/ops/overview"), 503, "busy")
    lost = StockViews(_Gone(), Homes(POOL))  # type: ignore[arg-type]
    service.overview = Overview(parts.pool, parts.metrics, parts.orders, lost, POOL)
    assert_problem(await shop.client.get("/api/v1/ops/overview"), 503, "busy")


OVERVIEW: dict[str, Any] = {
    "time": str,
    "owners": [
        {
            **dict.fromkeys(("name", "node"), str),
            **dict.fromkeys(("pid", "epoch", "pairs", "open_reservations", "queue"), int),
            **dict.fromkeys(("uptime_s", "turns_per_s", "turn_size"), float),
            **dict.fromkeys(("commit_ms_p50", "commit_ms_p99", "reservations_per_s"), float),
            "alive": bool,
            **dict.fromkeys(("kind", "state"), str),
            "dedicated_pairs": list,
        }
    ],
    "hot_pairs": [
        {
            **dict.fromkeys(("inventory_id", "sku", "product_id", "name", "warehouse"), str),
            **dict.fromkeys(("available", "reserved"), int),
            "requests_per_s": float,
        }
    ],
    "checkout": {
        **dict.fromkeys(("orders_per_s", "confirmed_per_s", "rejected_per_s"), float),
        **dict.fromkeys(("in_flight", "confirmed_total", "rejected_total"), int),
    },
    "replicas": [{"app": str, "replica": str, "node": str, "pid": int, "uptime_s": float}],
    "outbox": {"pending": int},
    "recovery": {"pending_orders": int, "finished_total": int, "unwound_total": int},
}


def assert_fits(value: Any, shape: Any, path: str = "$") -> None:
    """Every field of the shape is there and has its type; others may be there too."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        for name, inner in shape.items():
            assert name in value, f"{path}.{name} is missing"
            assert_fits(value[name], inner, f"{path}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        assert value, f"{path} is empty"
        for number, one in enumerate(value):
            assert_fits(one, shape[0], f"{path}[{number}]")
    elif shape is float:
        assert isinstance(value, int | float), f"{path} is {value!r}"
        assert not isinstance(value, bool), path
    else:
        assert type(value) is shape, f"{path} is {value!r}, not {shape.__name__}"


async def test_the_overview_shows_what_was_sold(shop: Shop) -> None:
    shoppers = [await shop.shopper("HOT") for _ in range(5)]
    for shopper in shoppers:
        assert (await shopper.checkout()).status_code == 201
    assert (await (await shop.shopper("VASE", 9)).checkout()).status_code == 409

    async def shown() -> dict[str, Any] | None:
        overview = await _overview(shop)
        figures = overview["checkout"]  # published once a second, not with every order
        done = (figures["confirmed_total"], figures["rejected_total"]) == (5, 1)
        return overview if done and overview["hot_pairs"] else None

    overview = await until(shown)
    assert_fits(overview, OVERVIEW)
    assert overview["checkout"]["rejected_total"] == 1
    for name in ("p50_ms", "p99_ms"):  # of the last second, in which nothing may have happened
        assert overview["checkout"][name] is None or overview["checkout"][name] > 0
    assert overview["outbox"]["pending"] == 5  # no relay runs here
    assert overview["recovery"]["pending_orders"] == 0
    assert [owner["name"] for owner in overview["owners"]] == ["pool-0", "pool-1"]
    assert all(owner["epoch"] == 1 and owner["alive"] for owner in overview["owners"])
    assert {shown["app"] for shown in overview["replicas"]} == {*SELLING_APPS, "site"}
    [hot] = [pair for pair in overview["hot_pairs"] if pair["sku"] == "HOT"]
    assert (hot["available"], hot["reserved"], hot["warehouse"]) == (15, 5, "EAST")
    assert hot["product_id"] == shop.product_of["HOT"]
    assert hot["requests_per_s"] > 0


async def test_an_idle_shop_has_figures_too(shop: Shop) -> None:
    await until(lambda: _ready(shop))
    overview = await _overview(shop)
    assert overview["hot_pairs"] == []
    assert overview["checkout"]["p50_ms"] is overview["checkout"]["p99_ms"] is None
    assert overview["checkout"]["in_flight"] == 0


async def test_times_end_with_z(shop: Shop) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", (await _overview(shop))["time"])
    shopper: Shopper = await shop.shopper("LAPTOP")
    order = await shopper.order((await shopper.checkout()).json()["order_id"])
    assert order["placed_at"].endswith("Z")


async def test_pages_and_docs_come_from_the_shop_itself(shop: Shop) -> None:
    for path in ("/", "/dashboard", "/docs"):
        page = await shop.client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        for reference in re.findall(r"""(?:src|href)=["']([^"']+)""", page.text):
            assert reference.startswith(("/", "#")), f"{path} refers to {reference}"
            assert not reference.startswith("//")
            if reference.startswith("/") and "." in reference:
                asset = await shop.client.get(reference)
                assert asset.status_code == 200, reference
                assert asset.content
    docs = (await shop.client.get("/docs")).text
    assert "/api/v1/openapi.json" in docs
    assert not re.findall(r"https?://", docs)
