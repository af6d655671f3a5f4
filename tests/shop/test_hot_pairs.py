"""A pair is promoted and demoted by hand while buyers check it out: nobody notices."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.shop.running import Shop, check_out, fill_basket, run_command

# Starts a process of its own per hand-over and takes its time: with the fault tier.
pytestmark = [pytest.mark.shop, pytest.mark.fault, pytest.mark.timeout(180)]

STOCK = 100_000
"""More than is bought meanwhile."""


def _stock(shop: Shop, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = ("--home", str(shop.home))
    return run_command("stock", name, *arguments, *home, environment=shop.environment)


def _buy(shop: Shop, product_id: str, enough: threading.Event) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=shop.url, timeout=20) as http:
        while not enough.is_set():
            answers.append(check_out(http, fill_basket(http, product_id)))
    return answers


def test_buyers_do_not_notice_that_a_pair_is_promoted_and_demoted(shop: Shop) -> None:
    hot = asyncio.run(shop.stock_up(STOCK))
    with httpx.Client(base_url=shop.url, timeout=10) as http:
        [pair] = http.get("/api/v1/stock/pairs", params={"sku": hot.sku}).json()["pairs"]
        path = f"/api/v1/stock/pairs/{hot.sku}/{pair['warehouse']}"
        enough = threading.Event()
        with ThreadPoolExecutor(1) as buyers:
            bought = buyers.submit(_buy, shop, hot.product_id, enough)
            try:
                promoted = _stock(shop, "promote", hot.sku, pair["warehouse"])
                meanwhile = http.get(path).json()
                demoted = _stock(shop, "demote", hot.sku, pair["warehouse"])
            finally:
                enough.set()
            answers = bought.result()
        assert promoted.returncode == 0, promoted.stderr
        assert demoted.returncode == 0, demoted.stderr
        assert "hot-" in promoted.stdout
        assert meanwhile["dedicated"]
        after = http.get(path).json()
    assert after["owner"] == pair["owner"]
    assert len(after["handovers"]) == 2
    assert answers
    assert {answer.status_code for answer in answers} == {201}
    assert hot.sku in _stock(shop, "placements").stdout
    report = shop.audit([answer.json()["order_id"] for answer in answers])
    assert report["ok"], report
