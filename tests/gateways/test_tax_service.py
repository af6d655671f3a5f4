"""Tax rates from outside: asked in batches, remembered, and done without when there is no answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ports import Unavailable
from domain.tax import TaxAnswer, TaxQuestion
from domain.tax_rates import tax_of
from gateways.tax_service import HttpTaxes, TableTaxes, TaxServiceConfig
from tests.gateways.tax_server import SILENT, TaxServer, tax_server

pytestmark = pytest.mark.asyncio

NEW_YORK = TaxQuestion(country="US", state="NY", categories=("Shoes", "Books"))
TEXAS = TaxQuestion(country="US", state="TX", postal_code="73301", categories=("Shoes",))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TaxServer]:
    async with tax_server() as own:
        yield own


@contextlib.asynccontextmanager
async def asking(
    server: TaxServer, clock: Clock | None = None, **changes: Any
) -> AsyncIterator[HttpTaxes]:
    given = {"url": server.url, "timeout_s": 5.0, **changes}
    async with httpx.AsyncClient() as client:
        yield HttpTaxes(client, TaxServiceConfig(**given), monotonic=clock or Clock())


async def test_the_table_is_always_there() -> None:
    assert await TableTaxes().rates([NEW_YORK, TEXAS]) == [tax_of("US", "NY"), tax_of("US", "TX")]


async def test_each_line_gets_its_rate(server: TaxServer) -> None:
    async with asking(server, token="secret") as taxes:
        answers = await taxes.rates([NEW_YORK, TEXAS, NEW_YORK])
    new_york = TaxAnswer(rates_ppm=(88_750, 0), place="US-NY", source="service")
    texas = TaxAnswer(rates_ppm=(10_000,), place="US-TX", source="service")
    assert answers == [new_york, texas, new_york]
    assert len(server.calls) == 1
    assert server.calls[0][1] == {
        "country": "US",
        "state": "TX",
        "postal_code": "73301",
        "categories": ["Shoes"],
    }
    assert "bearer secret" in server.headers[0].lower()


async def test_many_questions_go_in_several_calls(server: TaxServer) -> None:
    questions = [TaxQuestion(country="US", state=str(n), categories=("Hat",)) for n in range(7)]
    async with asking(server, batch_max=3) as taxes:
        answers = await taxes.rates(questions)
    assert [one.place for one in answers] == [f"US-{n}" for n in range(7)]
    assert [len(call) for call in server.calls] == [3, 3, 1]


async def test_an_answer_is_good_for_a_while(server: TaxServer) -> None:
    clock = Clock()
    async with asking(server, clock, kept_s=60.0) as taxes:
        first = await taxes.rates([TEXAS])
        clock.now = 59.0
        assert await taxes.rates([TEXAS]) == first
        assert len(server.calls) == 1
        clock.now = 60.0
        await taxes.rates([TEXAS])
        assert len(server.calls) == 2


async def test_without_an_answer_in_time_the_table_is_used(server: TaxServer) -> None:
    server.behaves = lambda _: SILENT
    async with asking(server, timeout_s=0.05) as taxes:
        [answer] = await taxes.rates([TEXAS])
    assert answer == TaxAnswer(rates_ppm=(62_500,), place="US-TX", source="fallback")


async def test_or_nothing_is_sold(server: TaxServer) -> None:
    server.behaves = lambda _: SILENT
    async with asking(server, timeout_s=0.05, on_failure="refuse") as taxes:
        for _ in range(2):
            with pytest.raises(Unavailable, match="try again"):
                await taxes.rates([TEXAS])


async def test_nobody_waits_for_a_service_that_has_just_been_silent(server: TaxServer) -> None:
    clock = Clock()
    server.status = 500
    async with asking(server, clock, pause_s=5.0) as taxes:
        assert (await taxes.rates([TEXAS]))[0].source == "fallback"
        server.status = 200
        clock.now = 4.9
        assert (await taxes.rates([TEXAS]))[0].source == "fallback"
        assert len(server.calls) == 1
        clock.now = 5.0
        assert (await taxes.rates([TEXAS]))[0].source == "service"


async def test_what_is_remembered_outlives_a_failure(server: TaxServer) -> None:
    clock = Clock()
    async with asking(server, clock) as taxes:
        await taxes.rates([TEXAS])
        server.status = 503
        texas, new_york = await taxes.rates([TEXAS, NEW_YORK])
    assert (texas.source, new_york.source) == ("service", "fallback")


async def test_a_service_that_is_not_there(server: TaxServer) -> None:
    del server
    config = TaxServiceConfig(url="http://127.0.0.1:1/rates")
    async with httpx.AsyncClient() as client:
        [answer] = await HttpTaxes(client, config, monotonic=Clock()).rates([TEXAS])
    assert answer.source == "fallback"


@pytest.mark.parametrize(
    "said",
    [
        b"<html>",
        b"",
        b"[]",
        {},
        {"answers": []},
        {"answers": [{}]},
        {"answers": ["0.1"]},
        {"answers": [{"place": "X", "rates": []}]},
        {"answers": [{"place": "X", "rates": ["0.1", "0.1"]}]},
        {"answers": [{"place": "X", "rates": ["1.1"]}]},
        {"answers": [{"place": "X", "rates": ["-0.1"]}]},
        {"answers": [{"place": "X", "rates": ["0.1234567"]}]},
        {"answers": [{"place": "X", "rates": ["NaN"]}]},
        {"answers": [{"place": "X", "rates": ["1e999999999"]}]},
        {"answers": [{"place": "X", "rates": ["much"]}]},
        {"answers": [{"place": "X", "rates": [True]}]},
        {"answers": [{"place": "X", "rates": [None]}]},
        {"answers": [{"place": 5, "rates": ["0.1"]}]},
        {"answers": [{"place": "X", "rates": ["0.1"]}] * 2},
        b"9" * 1_000_001,
    ],
    ids=lambda said: str(said)[:60],
)
async def test_an_answer_that_is_none_is_no_answer(server: TaxServer, said: Any) -> None:
    server.behaves = lambda _: said
    async with asking(server) as taxes:
        [answer] = await taxes.rates([TEXAS])
    assert answer.source == "fallback"


@pytest.mark.parametrize("rate", ["0.1", 0.1, "1e-1", "0.100000"])
async def test_a_rate_may_be_text_or_a_number(server: TaxServer, rate: Any) -> None:
    server.behaves = lambda _: {"answers": [{"place": "X", "rates": [rate]}]}
    async with asking(server) as taxes:
        [answer] = await taxes.rates([TEXAS])
    assert answer == TaxAnswer(rates_ppm=(100_000,), place="X", source="service")
