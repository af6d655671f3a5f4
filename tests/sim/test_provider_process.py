"""The provider's server when something of what it needs is not there."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncpg
import pytest

from sim.provider_process import (
    BooksLostError,
    ProviderOptions,
    run_until_stopped,
    serving,
    until_lost,
)

pytestmark = pytest.mark.asyncio


class Books:
    """A pool that answers as often as it is told to, then no more."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self.asked = asyncio.Event()

    async def execute(self, *_: Any) -> str:
        self._answers -= 1
        if self._answers < 0:
            self.asked.set()
            raise asyncpg.CannotConnectNowError("the database system is shutting down")
        return "SELECT 1"


async def test_a_provider_ends_with_the_shop_whose_database_it_uses() -> None:
    books: Any = Books(answers=1)
    with pytest.raises(BooksLostError, match="the shop was closed"):
        await until_lost(books, lambda: True)


async def test_a_database_that_stays_away_is_not_waited_for_for_ever() -> None:
    books: Any = Books(answers=0)
    with pytest.raises(BooksLostError, match=r"did not answer for 0 s \(the database system"):
        await until_lost(books, lambda: False, lost_after_s=0.0)


async def test_a_database_that_is_started_again_is_waited_for() -> None:
    books: Any = Books(answers=0)
    watching = asyncio.create_task(until_lost(books, lambda: False))
    await books.asked.wait()
    assert not watching.done()
    watching.cancel()


async def test_the_server_stops_when_its_books_are_lost(pool: asyncpg.Pool) -> None:
    await pool.close()
    told: list[str] = []
    with pytest.raises(BooksLostError):
        await run_until_stopped(
            pool, ProviderOptions(), lambda one: told.append(one.base_url), is_closed=lambda: True
        )
    assert len(told) == 1


async def test_a_port_in_use_is_told_without_a_number(pool: asyncpg.Pool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="cannot listen") as caught:
            async with serving(pool, ProviderOptions(port=port)):
                pass
    said = str(caught.value)
    assert said.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert said.endswith("choose another port with --port")
