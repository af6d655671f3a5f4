"""The commands beside a running shop, and what is left when it has stopped."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import orjson
import pytest

from storage.embedded import socket_folder
from tests.shop.running import Shop, eventually, run_command

pytestmark = [pytest.mark.shop, pytest.mark.timeout(180)]

_CATALOG = """Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,\
Variant SKU,Variant Grams,Variant Inventory Qty,Variant Price
quokka-lamp,Quokka Lamp,<p>It glows.</p>,Wombat & Sons,Lighting,lamp,true,Title,Default Title,\
QUOKKA-1,900,12,39.50
"""


def test_a_second_up_says_that_it_runs_already(shop: Shop) -> None:
    pid = shop.run_file().pid
    for detach in (["--detach"], []):
        done = shop.command("up", *detach)
        assert done.returncode == 1
        assert "runs already" in done.stderr
        assert "Traceback" not in done.stderr
    assert shop.run_file().pid == pid
    assert shop.is_ready()


def test_a_shop_on_a_taken_port_leaves_the_other_alone(shop: Shop, tmp_path: Path) -> None:
    done = run_command("up", "--home", str(tmp_path / "other"), "--port", str(shop.port))
    assert done.returncode == 1
    assert f"port {shop.port} is in use" in done.stderr
    assert shop.is_ready()


def test_status_is_one_document(shop: Shop) -> None:
    done = shop.command("status", "--json")
    assert done.returncode == 0
    document = orjson.loads(done.stdout)
    assert document["running"] is document["ready"] is True
    assert document["url"] == shop.url
    assert set(document["parts"].values()) == {"ready"}


def test_an_import_shows_up_in_search(shop: Shop, http: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text(_CATALOG)
    done = shop.command("import", str(path), "--json")
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert (report["products"], report["variants"], report["rejected"]) == (1, 1, [])

    def found() -> list[str]:
        answer = http.get("/api/v1/products/search", params={"q": "quokka"})
        return [one["name"] for one in answer.json()["results"]]

    assert eventually(found, within_s=5, what="the lamp is found") == ["Quokka Lamp"]
    again = shop.command("import", str(path), "--json")
    assert again.returncode == 0
    with_twice = http.get("/api/v1/products/search", params={"q": "quokka"}).json()
    assert with_twice["total_results"] == 1
    assert with_twice["results"][0]["in_stock"]


# The last of this tier: it closes the shop that the others use.
def test_down_leaves_nothing_behind(shop: Shop) -> None:
    assert shop.processes()
    assert socket_folder(shop.home).exists()
    done = shop.command("down")
    assert done.returncode == 0, done.stderr
    assert shop.processes() == []
    assert not socket_folder(shop.home).exists()
    assert not (shop.home / "run.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", shop.port)) != 0
    assert shop.command("status").returncode == 1
    assert shop.command("down").returncode == 1
    closed = shop.command("audit", "--json")
    assert closed.returncode == 0, closed.stdout
    assert orjson.loads(closed.stdout)["ok"]
    assert shop.processes() == []
