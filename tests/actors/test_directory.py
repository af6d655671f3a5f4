"""The directory: pairs go where heat and wishes want them, while buyers go on buying."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from actors.directory import Directory
from actors.routing import Routing
from actors.stock_client import StockClient, StockClientConfig
from domain.placement import Place, PlacementPolicy, Wish
from domain.stock import ReserveStatus
from tests.actors.hosts import POOL, MemoryHeat, MemoryHost, MemoryPlacements, a_directory
from tests.actors.memory import Clock, MemoryJournal
from tests.actors.owners import a_pair, release, reserve

pytestmark = pytest.mark.asyncio
POLICY = PlacementPolicy(promote_per_s=100, demote_per_s=10, cool_for_s=60, dedicated_max=2)


@dataclass
class World:
    """A pool, a directory over it, and a buyer's client."""

    clock: Clock
    journal: MemoryJournal
    host: MemoryHost
    book: MemoryPlacements
    heat: MemoryHeat
    stock: StockClient
    directory: Directory


@contextlib.asynccontextmanager
async def _world() -> AsyncIterator[World]:
    clock = Clock()
    journal = MemoryJournal(clock.unix)
    host, book, heat = MemoryHost(journal, clock), MemoryPlacements(journal), MemoryHeat()
    quick = StockClientConfig(retry_first_s=0.001, retry_max_s=0.001)
    clients = [
        StockClient(host, Routing(POOL), monotonic=clock.unix, config=quick) for _ in range(2)
    ]
    directory = a_directory(
        host,
        clients[0],
        journal=journal,
        book=book,
        heat=heat,
        monotonic=clock.unix,
        policy=POLICY,
        starting_s=5,
        idle_s=10,
    )
    async with host.open():
        yield World(clock, journal, host, book, heat, clients[1], directory)


async def test_a_hot_pair_gets_an_owner_and_goes_back_when_it_has_cooled() -> None:
    async with _world() as w:
        pair = a_pair(w.journal, 100)
        w.heat.heat = {pair: 500.0}
        await w.directory.place()
        assert w.journal.rows[pair].owner == "hot-0"
        [answer] = await w.stock.ask([reserve(pair)])
        assert answer.status == ReserveStatus.HELD
        w.heat.heat = {pair: 5.0}
        await w.directory.place()
        w.clock.advance(59)
        await w.directory.place()
        assert w.journal.rows[pair].owner == "hot-0"
        w.clock.advance(2)
        await w.directory.place()
        assert w.journal.rows[pair].owner == ""
        [answer] = await w.stock.ask([reserve(pair)])
        assert answer == (ReserveStatus.HELD, 98)
        assert "hot-0" in w.host.owners
        assert w.heat.stopped == []
        w.clock.advance(11)
        await w.directory.place()
        assert "hot-0" not in w.host.owners
        assert w.heat.stopped == ["hot-0"]
        assert (w.directory.promoted_total, w.directory.demoted_total) == (1, 1)


async def test_buyers_go_on_buying_across_hand_overs() -> None:
    async with _world() as w:
        pair = a_pair(w.journal, 10_000)
        held = 0
        done, bought = asyncio.Event(), asyncio.Semaphore(0)

        async def buyer() -> None:
            nonlocal held
            while not done.is_set():
                wanted = reserve(pair)
                [first] = await w.stock.ask([wanted])
                [repeat] = await w.stock.ask([wanted])
                assert first.status == repeat.status == ReserveStatus.HELD
                [gone] = await w.stock.ask([release(wanted)])
                assert gone.status == 0
                [kept] = await w.stock.ask([reserve(pair)])
                assert kept.status == ReserveStatus.HELD
                held += 1
                bought.release()

        buyers = [asyncio.create_task(buyer()) for _ in range(20)]
        for _ in range(10):
            for place in (Place.DEDICATED, Place.POOL):
                w.book.said = [Wish(pair, place)]
                await w.directory.place()
                assert bool(w.journal.rows[pair].owner) == (place is Place.DEDICATED)
                for _ in range(20):
                    await bought.acquire()
        done.set()
        await asyncio.gather(*buyers)
        assert w.journal.now_of(pair) == (10_000 - held, held)
        assert w.directory.promoted_total == w.directory.demoted_total == 10


async def test_wishes_come_before_heat_and_within_the_limit() -> None:
    async with _world() as w:
        pairs = [a_pair(w.journal, 10) for _ in range(3)]
        w.book.said = [Wish(pairs[0], Place.DEDICATED), Wish(pairs[1], Place.POOL)]
        w.heat.heat = {pairs[1]: 9_000.0, pairs[2]: 200.0}
        await w.directory.place()
        assert [w.journal.rows[one].owner for one in pairs] == ["hot-0", "", "hot-1"]
        hotter = a_pair(w.journal, 10)
        w.heat.heat[hotter] = 5_000.0
        await w.directory.place()
        assert w.journal.rows[hotter].owner == ""
        assert w.directory.waiting == 1


async def test_pairs_of_an_owner_that_is_gone_come_home() -> None:
    async with _world() as w:
        pair = a_pair(w.journal, 5)
        w.book.said = [Wish(pair, Place.DEDICATED)]
        await w.directory.place()
        wanted = reserve(pair)
        await w.stock.ask([wanted])
        await w.host.stop("hot-0")
        w.book.said = []
        await w.directory.place()
        assert w.journal.rows[pair].owner == ""
        assert w.directory.reclaimed_total == 1
        assert w.heat.stopped == []  # it died: nobody may take that for a stop
        assert await w.stock.ask([wanted, reserve(pair)]) == [
            (ReserveStatus.HELD, 4),
            (ReserveStatus.HELD, 3),
        ]


async def test_an_owner_that_hangs_is_replaced_and_one_that_starts_is_not() -> None:
    async with _world() as w:
        w.host.hung.add("pool-1")
        await w.directory.watch()
        assert w.host.replaced == []
        await w.directory.watch()
        assert w.host.replaced == ["pool-1"]
        w.host.hung.add("pool-1")  # it takes its time to start
        for _ in range(3):
            await w.directory.watch()
        assert w.host.replaced == ["pool-1"]
        w.clock.advance(6)
        for _ in range(2):
            await w.directory.watch()
        assert w.host.replaced == ["pool-1", "pool-1"]
        assert w.directory.replaced_total == 2
