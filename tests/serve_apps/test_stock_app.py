"""The operators' reads of the stock: owners with figures, pages of pairs, placements."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.placement import Place
from domain.ports import Unavailable
from serve_apps.stock_app import LIMIT_MAX
from tests.house.test_house_rules import ROOT
from tests.serve_apps.conftest import Shop, assert_problem, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOCK = "/api/v1/stock"


async def _get(shop: Shop, path: str, **query: Any) -> dict[str, Any]:
    answer = await shop.client.get(f"{STOCK}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _pair_id(shop: Shop, sku: str, warehouse: str) -> UUID:
    found = await shop.parts.placements.find_pair(sku, warehouse)
    assert found is not None
    return found


async def test_owners_tell_what_they_do_and_which_pairs_are_hot(standing_shop: Shop) -> None:
    shop = standing_shop
    assert (await (await shop.shopper("HOT")).checkout()).status_code == 201

    async def reported() -> list[dict[str, Any]] | None:
        owners = (await _get(shop, "owners"))["owners"]
        hot = [pair for owner in owners for pair in owner["hot_pairs"]]
        return owners if any(pair["sku"] == "HOT" for pair in hot) else None

    owners = await until(reported)
    assert [owner["name"] for owner in owners] == ["pool-0", "pool-1"]
    for owner in owners:
        assert (owner["kind"], owner["alive"], owner["epoch"]) == ("pool", True, 1)
        assert owner["queue"] >= 0
        assert owner["commit_ms_p99"] >= owner["commit_ms_p50"] >= 0
        assert owner["pid"] > 0
        assert owner["started_at"].endswith("Z")
    [hot] = [pair for owner in owners for pair in owner["hot_pairs"] if pair["sku"] == "HOT"]
    assert hot["warehouse"] == "EAST"
    assert hot["requests_per_s"] > 0
    pair = await _get(shop, "pairs/HOT/EAST")
    assert pair["requests_per_s"] > 0


async def test_everything_that_is_told_is_documented(standing_shop: Shop) -> None:
    told = (ROOT / "docs" / "http.md").read_text()
    owner = await _get(standing_shop, "owners/pool-0")
    pair = await _get(standing_shop, "pairs/HOT/EAST")
    assert [name for name in (*owner, *pair) if f"`{name}`" not in told] == []


@pytest.mark.asyncio(loop_scope="function")  # with a shop of its own: it adds an owner
async def test_a_dedicated_pair_leads_to_its_owner_and_back(shop: Shop) -> None:
    pair = await _pair_id(shop, "HOT", "EAST")
    await shop.pool.execute(
        "UPDATE inventory SET owner_name = 'hot-0' WHERE inventory_id = $1", pair
    )
    for _ in range(2):
        epoch = await shop.parts.journal.raise_epoch("hot-0", "node", 7)
    hot = [{"inventory_id": pair.hex, "requests_per_s": 70.0}]
    figures = {"queue": 3, "turn_size": 8.5, "commit_ms_p50": 1.5, "commit_ms_p99": 4.0}
    await shop.parts.metrics.publish(
        "owners", "hot-0", {**figures, "epoch": epoch, "hot_pairs": hot}
    )
    [shown] = (await _get(shop, "pairs", sku="HOT"))["pairs"]
    assert (shown["owner"], shown["dedicated"], shown["owner_epoch"]) == ("hot-0", True, 2)
    assert shown["requests_per_s"] == 70
    owner = await _get(shop, "owners/hot-0")
    assert (owner["kind"], owner["state"], owner["epoch"]) == ("dedicated", "alive", 2)
    assert owner["dedicated_pairs"] == [{"sku": "HOT", "warehouse": "EAST"}]
    assert {name: owner[name] for name in figures} == figures
    assert [one["sku"] for one in owner["hot_pairs"]] == ["HOT"]
    await shop.pool.execute("UPDATE inventory SET owner_name = '' WHERE inventory_id = $1", pair)
    await shop.parts.metrics.note_stopped("owners", "hot-0")
    owner = await _get(shop, "owners/hot-0")
    assert (owner["state"], owner["alive"], owner["queue"]) == ("stopped", False, None)
    assert owner["hot_pairs"] == owner["dedicated_pairs"] == []


async def test_one_owner_has_its_generations(standing_shop: Shop) -> None:
    owner = await _get(standing_shop, "owners/pool-0")
    assert [one["epoch"] for one in owner["generations"]] in ([], [1])
    assert owner["dedicated_pairs"] == []


@pytest.mark.parametrize("path", ["owners/pool-99", "owners/x", "pairs/NONE/EAST", "pairs/HOT/X"])
async def test_what_is_not_there_is_not_found(standing_shop: Shop, path: str) -> None:
    assert_problem(await standing_shop.client.get(f"{STOCK}/{path}"), 404, "not_found")


async def test_following_the_links_gives_every_pair_once(standing_shop: Shop) -> None:
    shop = standing_shop
    everything = await shop.pool.fetchval("SELECT count(*) FROM inventory")
    seen: list[tuple[str, str]] = []
    path: str | None = f"{STOCK}/pairs?limit=2"
    while path is not None:
        answer = await shop.client.get(path)
        page = answer.json()
        assert len(page["pairs"]) <= 2
        seen += [(pair["sku"], pair["warehouse"]) for pair in page["pairs"]]
        following = answer.links.get("next")
        assert bool(following) == (page["next_cursor"] is not None)
        path = following["url"] if following else None
    assert len(seen) == len(set(seen)) == everything


async def test_filters_narrow_and_stay_in_the_link(standing_shop: Shop) -> None:
    shop = standing_shop
    [pair] = (await _get(shop, "pairs", sku="HOT"))["pairs"]
    assert (pair["warehouse"], pair["product_id"]) == ("EAST", shop.product_of["HOT"])
    assert pair["on_hand"] == pair["available"] + pair["reserved"]
    assert not pair["dedicated"]
    of_owner = (await _get(shop, "pairs", owner=pair["owner"], limit=LIMIT_MAX))["pairs"]
    assert {one["owner"] for one in of_owner} == {pair["owner"]}
    of_product = (await _get(shop, "pairs", product_id=pair["product_id"]))["pairs"]
    assert [one["sku"] for one in of_product] == ["HOT"]
    assert (await _get(shop, "pairs", owner="hot-7"))["pairs"] == []
    answer = await shop.client.get(f"{STOCK}/pairs", params={"warehouse": "EAST", "limit": 1})
    assert "warehouse=EAST" in answer.links["next"]["url"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", str(LIMIT_MAX + 1)),
        ("limit", "many"),
        ("cursor", "cursor_1"),
        ("cursor", "prod_01h455vb4pex5vsknk084sn02q"),
        ("owner", "somebody"),
        ("owner", "pool-99"),
        ("product_id", "7"),
        ("sku", "A\x00"),
        ("sku", ""),
        ("warehouse", "W" * 201),
    ],
)
async def test_bad_input_is_named(standing_shop: Shop, name: str, value: str) -> None:
    answer = await standing_shop.client.get(f"{STOCK}/pairs", params={name: value})
    problem = assert_problem(answer, 422, "validation")
    assert [error["field"] for error in problem["errors"]] == [name]


async def test_a_pair_with_its_history(standing_shop: Shop) -> None:
    pair = await _get(standing_shop, "pairs/LAPTOP/WEST")
    assert (pair["sku"], pair["warehouse"]) == ("LAPTOP", "WEST")
    assert pair["handovers"] == []
    assert pair["open_reservations"] >= 0


async def test_a_sku_may_have_a_slash(standing_shop: Shop) -> None:
    answer = await standing_shop.client.get(f"{STOCK}/pairs/A%2FB/EAST")
    assert "'A/B'" in assert_problem(answer, 404, "not_found")["detail"]


async def test_placements_show_who_wants_what(standing_shop: Shop) -> None:
    shop = standing_shop
    pair = await _pair_id(shop, "LAPTOP", "EAST")
    await shop.parts.placements.wish(uuid4(), pair, Place.DEDICATED, actor="ann", reason="sale")
    [placed] = (await _get(shop, "placements"))["placements"]
    assert (placed["sku"], placed["warehouse"], placed["place"]) == ("LAPTOP", "EAST", "dedicated")
    assert (placed["actor"], placed["reason"], placed["until_at"]) == ("ann", "sale", None)
    assert placed["is_dedicated"] is False


class _Away:
    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object, **__: object) -> None:
            raise Unavailable("nobody listens")

        return refuse


@pytest.mark.parametrize("part", ["_metrics", "_views"])
@pytest.mark.parametrize("path", ["owners", "owners/pool-0", "pairs", "pairs/HOT/EAST"])
async def test_a_store_that_is_away_is_a_problem_and_no_fault(
    standing_shop: Shop, monkeypatch: pytest.MonkeyPatch, part: str, path: str
) -> None:
    monkeypatch.setattr(standing_shop.apps["site"].state.stock, part, _Away())
    assert_problem(await standing_shop.client.get(f"{STOCK}/{path}"), 503, "busy")
